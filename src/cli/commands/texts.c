#include "cli/commands/texts.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/commands/prompt.h"

const char *texts_name(const settings *s) { return s->prompt ? "-p" : s->prompt_file ? s->prompt_file : "stdin"; }

/* One newline may end the last line. */
static evn_status cut_lines(texts *t, size_t n_bytes, evn_error *err)
{
	size_t most = 1;
	for (size_t i = 0; i < n_bytes; i++)
		most += t->bytes[i] == '\n';
	t->lines = malloc(most * sizeof *t->lines);
	if (!t->lines)
		return evn_fail_memory(err, "the lines", most * sizeof *t->lines);
	for (char *at = t->bytes, *end = t->bytes + n_bytes, *next; at <= end; at = next) {
		next = memchr(at, '\n', (size_t)(end - at));
		char *stop = next ? next : end;
		next = stop + 1;
		stop -= stop > at && stop[-1] == '\r';
		*stop = '\0';
		if (at[strspn(at, " \t")] == '\0')
			return evn_fail(err, EVN_ERR_USAGE, "%s: line %zu is empty; each line is a text", texts_name(t->settings),
							t->n + 1);
		t->lines[t->n++] = at;
	}
	return EVN_OK;
}

evn_status texts_read_lines(texts *t, evn_error *err)
{
	size_t n_bytes;
	EVN_TRY(prompt_read(t->settings, true, &t->bytes, &n_bytes, err));
	return cut_lines(t, n_bytes, err);
}

static evn_status too_long(const texts *t, size_t line, uint32_t most, const char *how, evn_error *err)
{
	if (t->rgb)
		return evn_fail(err, EVN_ERR_LIMIT, "an image has %u rows, at most %u fit into the context (-c)",
						t->items[line].n_ids, most);
	return evn_fail(err, EVN_ERR_LIMIT, "%s: %s %zu has %u tokens, at most %u fit%s", texts_name(t->settings),
					t->bytes ? "line" : "record", line + 1, t->items[line].n_ids, most, how);
}

evn_status texts_tokenize(texts *t, const evn_model *m, evn_error *err)
{
	const evn_model_info info = evn_model_get_info(m);
	evn_image_form form;
	EVN_TRY(evn_model_image_form(m, &form, err));
	if (form.size)
		return evn_fail(err, EVN_ERR_USAGE, "%s reads images; give --image FILE", t->settings->model_path);
	const uint32_t context = t->settings->context ? (uint32_t)t->settings->context : info.n_ctx_train;
	t->dim = info.dim;
	t->items = calloc(t->n, sizeof *t->items);
	if (!t->items)
		return evn_fail_memory(err, "the lines", t->n * sizeof *t->items);
	for (size_t i = 0; i < t->n; i++) {
		int32_t *ids;
		size_t n;
		EVN_TRY(evn_tokenize(m, t->lines[i], strlen(t->lines[i]), true, false, &ids, &n, err));
		t->items[i] = (evn_embed_text){.ids = ids, .n_ids = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX};
		if (n > context)
			return too_long(t, i, context, " into the context (-c)", err);
	}
	return EVN_OK;
}

evn_status texts_make_vectors(texts *t, const evn_engine *e, evn_error *err)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->items[i].n_ids > evn_embed_longest(e))
			return too_long(t, i, evn_embed_longest(e), " into a step (-b)", err);
	const size_t room = t->n * t->dim * sizeof *t->vectors;
	t->vectors = malloc(room);
	if (!t->vectors)
		return evn_fail_memory(err, "the vectors", room);
	for (size_t i = 0; i < t->n; i++)
		t->items[i].vector = t->vectors + i * t->dim;
	return EVN_OK;
}

void texts_free(texts *t)
{
	for (size_t i = 0; i < t->n && t->items; i++)
		free((void *)(uintptr_t)t->items[i].ids);
	free(t->items);
	free(t->vectors);
	free(t->rgb);
	for (size_t i = 0; i < t->n && t->owns_lines; i++)
		free(t->lines[i]);
	if (t->bytes || t->owns_lines) /* else the lines are the caller's */
		free(t->lines);
	free(t->bytes);
}
