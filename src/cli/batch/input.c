/* input.c - see input.h. */
#include "cli/batch/input.h"
#include "base/base.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/text.h"

#include <stdlib.h>
#include <string.h>

#define INPUT_MAX_BYTES ((size_t)1 << 30)

/* ---- texts ----------------------------------------------------------------------------------------------------- */

static evn_status count_by_model(void *user, const char *text, size_t bytes, size_t *tokens, evn_error *err)
{
	int32_t *ids = NULL;
	evn_status status = evn_tokenize(user, text, bytes, false, false, &ids, tokens, err);
	free(ids);
	return status;
}

static evn_status cut_pieces(batch_input *in, const settings *s, const evn_model *m, evn_error *err)
{
	const token_counter counter = {count_by_model, (void *)m};
	cut_text cut;
	evn_status status =
		text_cut(&cut, in->data, in->bytes, (cut_units)s->cut, (size_t)s->piece_tokens, &counter, err);
	in->pieces = cut.pieces;
	in->n = cut.n;
	if (status == EVN_OK && cut.n_long > 0)
		console_note("%s: %zu unit%s longer than %lld tokens, cut between words", in->name, cut.n_long,
					 cut.n_long == 1 ? " is" : "s are", (long long)s->piece_tokens);
	return status;
}

/* ---- objects --------------------------------------------------------------------------------------------------- */

static json_t *read_object(const batch_input *in, text_range r, json_error_t *why)
{
	return json_loadb(in->data + r.begin, r.end - r.begin, JSON_REJECT_DUPLICATES, why);
}

static bool is_openai(const json_t *object)
{
	return json_is_object(json_object_get(object, "body")) && json_is_string(json_object_get(object, "url"));
}

static evn_status check_object(batch_input *in, size_t line, text_range r, evn_error *err)
{
	json_error_t why;
	json_t *object = read_object(in, r, &why);
	evn_status status = EVN_OK;
	if (!object)
		status = evn_fail(err, EVN_ERR_USAGE, "%s:%zu:%d: not JSON: %s", in->name, line, why.column, why.text);
	else if (!json_is_object(object))
		status =
			evn_fail(err, EVN_ERR_USAGE, "%s:%zu:1: expected an object, such as {\"text\": ...}", in->name, line);
	else if (in->n == 0)
		in->format = is_openai(object) ? INPUT_OPENAI : INPUT_OBJECTS;
	else if (is_openai(object) != (in->format == INPUT_OPENAI))
		status = evn_fail(err, EVN_ERR_USAGE,
						  "%s:%zu:1: the first line is %s in OpenAI's batch format, this one is %s", in->name, line,
						  is_openai(object) ? "no request" : "a request", is_openai(object) ? "one" : "none");
	json_decref(object);
	return status;
}

static evn_status split_objects(batch_input *in, evn_error *err)
{
	size_t line = 1, n_lines = 1;
	for (size_t i = 0; i < in->bytes; i++)
		n_lines += in->data[i] == '\n';
	in->pieces = calloc(n_lines, sizeof *in->pieces);
	if (!in->pieces)
		return evn_fail_memory(err, in->name, n_lines * sizeof *in->pieces);
	for (size_t begin = 0; begin < in->bytes; line++) {
		const char *newline = memchr(in->data + begin, '\n', in->bytes - begin);
		text_range r = {begin, newline ? (size_t)(newline - in->data) : in->bytes};
		begin = r.end + 1;
		r.begin += strspn(in->data + r.begin, " \t\r");
		if (r.begin >= r.end)
			continue;
		EVN_TRY(check_object(in, line, r, err));
		in->pieces[in->n++] = r;
	}
	return EVN_OK;
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

typedef struct {
	int32_t priority;
	size_t piece;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
	const ranked *x = a, *y = b;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return (x->piece > y->piece) - (x->piece < y->piece);
}

static evn_status make_order(batch_input *in, evn_error *err)
{
	ranked *list = calloc(in->n, sizeof *list);
	in->order = calloc(in->n, sizeof *in->order);
	for (size_t i = 0; list && in->order && i < in->n; i++) {
		json_t *fields = in->format == INPUT_TEXT ? NULL : input_fields(in, i);
		list[i] = (ranked){input_priority(fields), i};
		json_decref(fields);
	}
	if (!list || !in->order) {
		free(list);
		return evn_fail_memory(err, in->name, in->n * sizeof *list);
	}
	qsort(list, in->n, sizeof *list, compare_ranked);
	for (size_t i = 0; i < in->n; i++)
		in->order[i] = list[i].piece;
	free(list);
	return EVN_OK;
}

evn_status input_read(batch_input *in, const settings *s, const evn_model *m, evn_error *err)
{
	const char *path = s->prompt_file, *dot = path ? strrchr(path, '.') : NULL;
	bool objects = dot && strcmp(dot, ".jsonl") == 0;
	*in = (batch_input){.name = path ? path : "standard input"};
	EVN_TRY(text_read(&in->data, &in->bytes, path, INPUT_MAX_BYTES, err));
	EVN_TRY(objects ? split_objects(in, err) : cut_pieces(in, s, m, err));
	if (in->n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "%s: %s", in->name, objects ? "has no object" : "has no text");
	return make_order(in, err);
}

void input_free(batch_input *in)
{
	free(in->data);
	free(in->pieces);
	free(in->order);
	*in = (batch_input){0};
}

json_t *input_fields(const batch_input *in, size_t piece)
{
	text_range r = in->pieces[piece];
	if (in->format == INPUT_TEXT)
		return json_pack("{s:o}", "text", json_bytes(in->data + r.begin, r.end - r.begin));
	return read_object(in, r, NULL);
}

int32_t input_priority(const json_t *fields)
{
	const json_t *body = json_object_get(fields, "body"), *own = json_object_get(fields, "priority");
	json_int_t value = json_integer_value(json_is_object(body) ? json_object_get(body, "priority") : own);
	return value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

size_t input_line(const batch_input *in, size_t piece)
{
	size_t line = 1;
	for (const char *at = in->data, *end = at + in->pieces[piece].begin; (at = memchr(at, '\n', (size_t)(end - at)));
		 at++)
		line++;
	return line;
}
