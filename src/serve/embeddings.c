/* embeddings.c - POST /v1/embeddings, in the shape of OpenAI's API. A worker computes the vectors. */
#include "evener/embed.h"

#include <stdlib.h>
#include <string.h>

#include "serve/endpoints.h"
#include "serve/fields.h"
#include "serve/server.h"

#define MAX_TEXTS 2048 /* as OpenAI */

typedef struct {
	json_t *input;
	const char *model, *encoding_format;
	int64_t dimensions;
} embedding_fields;

#define FIELD(f) offsetof(embedding_fields, f)
static const field fields[] = {
	{"input", 1, FIELD_ANY, FIELD(input), 0, 0, NULL},
	{"model", 1, FIELD_TEXT, FIELD(model), 0, 0, NULL},
	{"encoding_format", 1, FIELD_TEXT, FIELD(encoding_format), 0, 0, NULL},
	{"dimensions", 1, FIELD_INT, FIELD(dimensions), 1, 1 << 24, NULL},
	{0},
};

typedef struct {
	exchange *x;
	evn_embed_text *texts;
	float *vectors; /* (n, dim) */
	size_t n;
	uint32_t dim;
	uint64_t n_tokens;
} embedding;

/* ---- what is asked for ----------------------------------------------------------------------------------------- */

static bool add_text(embedding *e, json_t *item, problem *p)
{
	int32_t *ids = NULL;
	size_t n = 0;
	evn_error err = {0};
	if (json_is_array(item)) {
		const bool ok = fields_ids(&ids, &n, "input", item, p);
		e->texts[e->n++] = (evn_embed_text){.ids = ids};
		if (!ok)
			return false;
	} else if (!json_is_string(item)) {
		return fields_wrong(p, "input", "a string, token ids, or an array of them", item);
	} else if (json_string_length(item) == 0) {
		return problem_set(p, 400, NULL, "input", "input: text %zu is empty", e->n + 1);
	} else {
		if (evn_tokenize(e->x->served->m.model, json_string_value(item), json_string_length(item), true, false, &ids,
						 &n, &err) != EVN_OK)
			return problem_from(p, "input", &err);
		e->texts[e->n++] = (evn_embed_text){.ids = ids};
	}
	e->texts[e->n - 1].n_ids = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
	e->n_tokens += n;
	return true;
}

/* A string, ids, or an array of either. */
static bool read_input(embedding *e, json_t *input, problem *p)
{
	const bool one = !json_is_array(input) || json_is_number(json_array_get(input, 0));
	const size_t n = one ? 1 : json_array_size(input);
	if (!input)
		return problem_set(p, 400, NULL, "input", "input: expected texts, found nothing");
	if (n == 0 || n > MAX_TEXTS)
		return problem_set(p, 400, NULL, "input", "input: %zu texts, expected 1 to %d", n, MAX_TEXTS);
	e->texts = calloc(n, sizeof *e->texts);
	e->vectors = malloc(n * e->dim * sizeof *e->vectors);
	if (!e->texts || !e->vectors)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (!add_text(e, one ? input : json_array_get(input, i), p))
			return false;
	for (size_t i = 0; i < n; i++)
		e->texts[i].vector = e->vectors + i * e->dim;
	return true;
}

static bool check(const embedding *e, const embedding_fields *f, problem *p)
{
	const char *form = f->encoding_format;
	if (strcmp(form, "float") != 0 && strcmp(form, "base64") != 0)
		return problem_set(p, 400, NULL, "encoding_format",
						   "encoding_format: expected float or base64, found '%.40s'", form);
	if (f->dimensions && f->dimensions != e->dim)
		return problem_set(p, 400, NULL, "dimensions", "dimensions: this model has %u, found %lld", e->dim,
						   (long long)f->dimensions);
	return true;
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

/* Little-endian f32 in base64. */
static json_t *base64_of(const float *v, uint32_t dim)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t bytes = (size_t)dim * 4;
	char *text = malloc((bytes + 2) / 3 * 4 + 1), *to = text;
	if (!text)
		return NULL;
	for (size_t i = 0; i < bytes; i += 3) {
		uint32_t three = 0;
		for (size_t k = 0; k < 3; k++) {
			uint32_t bits = 0;
			if (i + k < bytes)
				memcpy(&bits, &v[(i + k) / 4], sizeof bits);
			three = three << 8 | (bits >> (i + k) % 4 * 8 & 255);
		}
		for (size_t k = 0; k < 4; k++)
			*to++ = i + k > bytes ? '=' : digits[three >> (18 - 6 * k) & 63];
	}
	json_t *json = json_stringn(text, (size_t)(to - text));
	free(text);
	return json;
}

static json_t *numbers_of(const float *v, uint32_t dim)
{
	json_t *list = json_array();
	for (uint32_t i = 0; list && i < dim; i++)
		if (json_array_append_new(list, json_real((double)v[i])) != 0) {
			json_decref(list);
			list = NULL;
		}
	return list;
}

static json_t *answer(const embedding *e, bool as_base64)
{
	json_t *data = json_array();
	for (size_t i = 0; data && i < e->n; i++) {
		const float *v = e->texts[i].vector;
		json_t *item = json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding",
								 as_base64 ? base64_of(v, e->dim) : numbers_of(v, e->dim));
		if (json_array_append_new(data, item) != 0) {
			json_decref(data);
			data = NULL;
		}
	}
	return json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", data, "model", e->x->served->name,
					 "usage", "prompt_tokens", (json_int_t)e->n_tokens, "total_tokens", (json_int_t)e->n_tokens);
}

/* Nobody waits for the answer any more: the work ends. */
static bool go_on(void *user, const char *what, uint64_t done, uint64_t total)
{
	exchange *x = user;
	(void)what, (void)done, (void)total;
	pthread_mutex_lock(&x->lock);
	const bool wanted = !x->abandoned;
	pthread_mutex_unlock(&x->lock);
	return wanted;
}

static bool embed(embedding *e, json_t *root, problem *p)
{
	embedding_fields f = {.encoding_format = "float"};
	const evn_embed_options o = {.progress = go_on, .user = e->x};
	evn_error err = {0};
	if (!fields_read(fields, 1, root, &f, p) || !catalog_check(e->x, f.model, p))
		return false;
	e->dim = evn_model_get_info(e->x->served->m.model).dim;
	if (!check(e, &f, p) || !read_input(e, f.input, p))
		return false;
	if (evn_embed_texts(e->x->served->m.engine, &o, e->texts, e->n, &err) != EVN_OK)
		return problem_from(p, "input", &err);
	reply_json(&e->x->reply, 200, answer(e, strcmp(f.encoding_format, "base64") == 0));
	return true;
}

bool endpoint_embeddings(exchange *x)
{
	embedding e = {.x = x};
	problem p = {0};
	json_t *root = NULL;
	if (!fields_parse(&root, x->body.data, x->body.used, &p) || !embed(&e, root, &p))
		reply_problem(&x->reply, &p);
	for (size_t i = 0; i < e.n; i++)
		free((void *)(uintptr_t)e.texts[i].ids);
	free(e.texts);
	free(e.vectors);
	json_decref(root);
	return true;
}
