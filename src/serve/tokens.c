/* tokens.c - POST /tokenize, /detokenize and /apply-template, with the fields of llama-server. */
#include "serve/endpoints.h"
#include "serve/generate.h"
#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	const char *content, *model;
	bool add_special, parse_special, with_pieces;
	json_t *tokens;
} token_fields;

enum { TOKENIZE = 1, DETOKENIZE = 2 };

static bool read_content(void *target, const char *name, json_t *v, problem *p)
{
	if (!json_is_string(v))
		return fields_wrong(p, name, "a string", v);
	((token_fields *)target)->content = json_string_value(v);
	return true;
}

#define FIELD(f) offsetof(token_fields, f)
static const field fields[] = {
	{"content", TOKENIZE, FIELD_ANY, 0, 0, 0, read_content},
	{"prompt", TOKENIZE, FIELD_ANY, 0, 0, 0, read_content}, /* vLLM's name */
	{"model", TOKENIZE | DETOKENIZE, FIELD_TEXT, FIELD(model), 0, 0, NULL},
	{"add_special", TOKENIZE, FIELD_BOOL, FIELD(add_special), 0, 0, NULL},
	{"parse_special", TOKENIZE, FIELD_BOOL, FIELD(parse_special), 0, 0, NULL},
	{"with_pieces", TOKENIZE, FIELD_BOOL, FIELD(with_pieces), 0, 0, NULL},
	{"tokens", DETOKENIZE, FIELD_ANY, FIELD(tokens), 0, 0, NULL},
	{0},
};

static json_t *piece_json(const evn_model *m, int32_t id)
{
	char *text = NULL;
	size_t bytes = 0;
	json_t *piece =
		evn_detokenize(m, &id, 1, true, &text, &bytes, NULL) == EVN_OK ? reply_text(text, bytes) : json_string("");
	free(text);
	return json_pack("{s:i, s:o}", "id", (int)id, "piece", piece);
}

static json_t *tokens_json(const evn_model *m, const int32_t *ids, size_t n, bool pieces)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, pieces ? piece_json(m, ids[i]) : json_integer(ids[i])) != 0) {
			json_decref(list);
			list = NULL;
		}
	return json_pack("{s:o}", "tokens", list);
}

static bool tokenize(exchange *x, json_t *root, problem *p)
{
	token_fields t = {.parse_special = true};
	int32_t *ids = NULL;
	size_t n = 0;
	evn_error e = {0};
	if (!fields_read(fields, TOKENIZE, root, &t, p) || !catalog_check(x, t.model, p))
		return false;
	if (!t.content)
		return problem_set(p, 400, NULL, "content", "content: expected a string, found nothing");
	const evn_model *m = x->served->m.model;
	if (evn_tokenize(m, t.content, strlen(t.content), t.add_special, t.parse_special, &ids, &n, &e) != EVN_OK)
		return problem_from(p, "content", &e);
	reply_json(&x->reply, 200, tokens_json(m, ids, n, t.with_pieces));
	free(ids);
	return true;
}

static bool detokenize(exchange *x, json_t *root, problem *p)
{
	token_fields t = {0};
	int32_t *ids = NULL;
	size_t n = 0, bytes = 0;
	char *text = NULL;
	evn_error e = {0};
	if (!fields_read(fields, DETOKENIZE, root, &t, p) || !catalog_check(x, t.model, p))
		return false;
	if (!t.tokens)
		return problem_set(p, 400, NULL, "tokens", "tokens: expected an array of token ids, found nothing");
	if (!json_is_array(t.tokens))
		return fields_wrong(p, "tokens", "an array of token ids", t.tokens);
	bool ok = fields_ids(&ids, &n, "tokens", t.tokens, p);
	if (ok && evn_detokenize(x->served->m.model, ids, n, true, &text, &bytes, &e) != EVN_OK)
		ok = problem_from(p, "tokens", &e);
	if (ok)
		reply_json(&x->reply, 200, json_pack("{s:o}", "content", reply_text(text, bytes)));
	free(text);
	free(ids);
	return ok;
}

static bool with_body(exchange *x, bool (*run)(exchange *x, json_t *root, problem *p))
{
	problem p = {0};
	json_t *root = NULL;
	if (!fields_parse(&root, x->body.data, x->body.used, &p) || !run(x, root, &p))
		reply_problem(&x->reply, &p);
	json_decref(root);
	return true;
}

static bool apply_template(exchange *x, json_t *root, problem *p)
{
	params o = {0};
	prompt made = {0};
	bool ok = params_read(&o, PARAMS_CHAT, root, &x->server->catalog.options.sampling, p) &&
			  catalog_check(x, o.model, p) && chat_make(x, &o, &made, p);
	if (ok)
		reply_json(&x->reply, 200, json_pack("{s:o}", "prompt", reply_text(made.text, strlen(made.text))));
	params_free(&o);
	free(made.ids);
	free(made.text);
	return ok;
}

bool endpoint_tokenize(exchange *x) { return with_body(x, tokenize); }

bool endpoint_detokenize(exchange *x) { return with_body(x, detokenize); }

bool endpoint_apply_template(exchange *x) { return with_body(x, apply_template); }
