/* ask.c - see ask.h. */
#include "cli/batch/ask.h"
#include "base/base.h"
#include "evener/chat.h"

#include <stdlib.h>
#include <string.h>

/* ---- raw --------------------------------------------------------------------------------------------------------
 */

typedef struct {
	int32_t *ids;
	size_t n;
} id_list;

static evn_status append_ids(id_list *list, const evn_model *m, const char *text, size_t bytes, bool begins,
							 bool special, evn_error *err)
{
	int32_t *ids = NULL;
	size_t n = 0;
	EVN_TRY(evn_tokenize(m, text, bytes, begins, special, &ids, &n, err));
	int32_t *more = realloc(list->ids, (list->n + n + 1) * sizeof *more);
	if (more) {
		memcpy(more + list->n, ids, n * sizeof *ids);
		*list = (id_list){more, list->n + n};
	}
	free(ids);
	return more ? EVN_OK : evn_fail_memory(err, "a prompt", 0);
}

static evn_status looks_special(bool *looks, const evn_model *m, const char *text, size_t bytes, evn_error *err)
{
	id_list plain = {0}, parsed = {0};
	evn_status status = append_ids(&plain, m, text, bytes, false, false, err);
	if (status == EVN_OK)
		status = append_ids(&parsed, m, text, bytes, false, true, err);
	*looks = status == EVN_OK && (plain.n != parsed.n || memcmp(plain.ids, parsed.ids, plain.n * sizeof *plain.ids));
	free(plain.ids);
	free(parsed.ids);
	return status;
}

/* Text of a field that looks like a control token must stay text, while the template may have such tokens. The text
 * is tokenized as a whole, as words may go on from the template into a field, unless a field has such text. */
static evn_status tokenize_raw(id_list *out, const asking *a, const filled_text *f, const char *label, evn_error *err)
{
	bool apart = false;
	size_t at = 0, bytes = f->bytes + strlen(label);
	char *text = evn_format("%s%s", f->text, label);
	evn_status status = text ? EVN_OK : evn_fail_memory(err, "a prompt", bytes);
	for (size_t i = 0; i < f->n_fields && status == EVN_OK && !apart; i++)
		status =
			looks_special(&apart, a->model, text + f->fields[i].begin, f->fields[i].end - f->fields[i].begin, err);
	for (size_t i = 0; i < f->n_fields && status == EVN_OK && apart; i++) {
		text_range r = f->fields[i];
		status = append_ids(out, a->model, text + at, r.begin - at, at == 0, true, err);
		if (status == EVN_OK)
			status = append_ids(out, a->model, text + r.begin, r.end - r.begin, false, false, err);
		at = r.end;
	}
	if (status == EVN_OK)
		status = append_ids(out, a->model, text + at, bytes - at, at == 0, true, err);
	free(text);
	return status;
}

static evn_status ask_raw(question *q, const asking *a, evn_error *err)
{
	id_list list = {0};
	evn_status status = tokenize_raw(&list, a, &q->filled, "", err);
	q->ids = list.ids;
	q->n_ids = list.n;
	if (status == EVN_OK && list.n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "the prompt is empty");
	return status;
}

/* ---- messages ---------------------------------------------------------------------------------------------------
 */

static char *messages_json(const asking *a, const filled_text *f)
{
	json_t *user = json_pack("{s:s, s:s%}", "role", "user", "content", f->text, f->bytes);
	json_t *list = a->system ? json_pack("[{s:s, s:s}, o]", "role", "system", "content", a->system, user)
							 : json_pack("[o]", user);
	char *text = list ? json_dumps(list, JSON_COMPACT) : NULL;
	json_decref(list);
	return text;
}

bool opens_reasoning(const char *text)
{
	static const char tag[] = "<think>";
	size_t n = strlen(text);
	while (n > 0 && strchr(" \n\t", text[n - 1]))
		n--;
	return n >= sizeof tag - 1 && memcmp(text + n - (sizeof tag - 1), tag, sizeof tag - 1) == 0;
}

static evn_status ask_message(question *q, const asking *a, evn_error *err)
{
	char *messages = messages_json(a, &q->filled), *text = NULL;
	evn_status status = messages ? evn_chat_prompt(a->model, messages, NULL, &q->ids, &q->n_ids, &text, err)
								 : evn_fail_memory(err, "a message", q->filled.bytes);
	q->opens_reasoning = status == EVN_OK && opens_reasoning(text);
	free(messages);
	free(text);
	return status;
}

evn_status ask(question *q, const asking *a, const json_t *fields, evn_error *err)
{
	*q = (question){0};
	EVN_TRY(template_fill(&q->filled, &a->template, fields, err));
	return a->raw ? ask_raw(q, a, err) : ask_message(q, a, err);
}

void question_free(question *q)
{
	free(q->ids);
	filled_text_free(&q->filled);
	*q = (question){0};
}

evn_status ask_label(int32_t **ids, size_t *n_ids, size_t *from, const asking *a, const question *q,
					 const char *label, evn_error *err)
{
	id_list list = {0};
	evn_status status;
	if (a->raw) {
		status = tokenize_raw(&list, a, &q->filled, label, err);
	} else {
		list.ids = malloc((q->n_ids + 1) * sizeof *list.ids);
		list.n = q->n_ids;
		if (list.ids)
			memcpy(list.ids, q->ids, q->n_ids * sizeof *q->ids);
		status = list.ids ? append_ids(&list, a->model, label, strlen(label), false, false, err)
						  : evn_fail_memory(err, "a prompt", 0);
	}
	size_t same = 0; /* the label's first token may begin in the prompt */
	while (status == EVN_OK && same < q->n_ids && same < list.n && q->ids[same] == list.ids[same])
		same++;
	*ids = list.ids;
	*n_ids = list.n;
	*from = same;
	if (status == EVN_OK && (same == 0 || same == list.n))
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "the label '%s' has no token of its own behind the prompt", label);
	return status;
}
