/* ask.c - see ask.h. */
#include "cli/batch/ask.h"
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

/* ---- raw ------------------------------------------------------------------------------------------------------- */

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
	q->prompt = (talk_prompt){.ids = list.ids, .n = list.n};
	if (status == EVN_OK && list.n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "the prompt is empty");
	return status;
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static evn_status ask_message(question *q, const asking *a, evn_error *err)
{
	json_t *messages = json_array();
	evn_status status = messages ? EVN_OK : evn_fail_memory(err, "a message", 0);
	if (status == EVN_OK && a->system)
		status = talk_add(messages, "system", a->system, strlen(a->system), err);
	if (status == EVN_OK)
		status = talk_add(messages, "user", q->filled.text, q->filled.bytes, err);
	if (status == EVN_OK)
		status = talk_make_prompt(&q->prompt, &a->talk, a->model, messages, err);
	json_decref(messages);
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
	free(q->prompt.ids);
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
		list.ids = malloc((q->prompt.n + 1) * sizeof *list.ids);
		list.n = q->prompt.n;
		if (list.ids)
			memcpy(list.ids, q->prompt.ids, q->prompt.n * sizeof *q->prompt.ids);
		status = list.ids ? append_ids(&list, a->model, label, strlen(label), false, false, err)
						  : evn_fail_memory(err, "a prompt", 0);
	}
	size_t same = 0; /* the label's first token may begin in the prompt */
	while (status == EVN_OK && same < q->prompt.n && same < list.n && q->prompt.ids[same] == list.ids[same])
		same++;
	*ids = list.ids;
	*n_ids = list.n;
	*from = same;
	if (status == EVN_OK && (same == 0 || same == list.n))
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "the label '%s' has no token of its own behind the prompt", label);
	return status;
}
