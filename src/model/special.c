/* special.c - searches the text for one special token after the other, the longest first. Most tokens are not in a
 * text at all. A table of the pairs of bytes in the text shows that without a search for each of thousands of
 * tokens. */
#include "model/special.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	uint64_t length;
	int32_t id;
} sized;

static int longest_first(const void *a, const void *b)
{
	const sized *x = a, *y = b;
	if (x->length != y->length)
		return x->length < y->length ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Files do not say which tokens take white space. As in llama.cpp, the models that need it are known by name. */
static bool strips_by_name(const evn_gguf *g)
{
	evn_str name = {"", 0};
	if (evn_gguf_string(g, "general.name", &name, NULL) != EVN_OK)
		return false;
	for (uint64_t i = 0; i + 4 <= name.length; i++) {
		const char *p = name.text + i;
		if ((p[0] | 0x20) == 'p' && (p[1] | 0x20) == 'h' && (p[2] | 0x20) == 'i' &&
			(p[3] == '3' || (p[3] == '-' && i + 5 <= name.length && p[4] == '3')))
			return true;
	}
	return false;
}

evn_status evn_special_load(evn_special *s, const evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	sized *order = malloc(v->n * sizeof *order);
	s->ids = malloc(v->n * sizeof *s->ids);
	s->strips_after = calloc(v->n, sizeof *s->strips_after);
	if (!order || !s->ids || !s->strips_after) {
		free(order);
		return evn_fail_memory(err, "tokenizer", v->n * sizeof *order);
	}
	for (uint32_t id = 0; id < v->n; id++) {
		bool special = v->types[id] == EVN_TOKEN_CONTROL || v->types[id] == EVN_TOKEN_USER_DEFINED ||
					   v->types[id] == EVN_TOKEN_UNKNOWN;
		if (special && v->texts[id].length > 0)
			order[s->n++] = (sized){v->texts[id].length, (int32_t)id};
	}
	qsort(order, s->n, sizeof *order, longest_first);
	bool strips = strips_by_name(g);
	for (uint32_t i = 0; i < s->n; i++) {
		evn_str text = v->texts[order[i].id];
		s->ids[i] = order[i].id;
		s->strips_after[i] =
			strips && !evn_str_is(text, "<unk>") && !evn_str_is(text, "<s>") && !evn_str_is(text, "<|endoftext|>");
	}
	free(order);
	return EVN_OK;
}

void evn_special_clear(evn_special *s)
{
	free(s->ids);
	free(s->strips_after);
	*s = (evn_special){0};
}

static evn_status add_fragment(evn_fragments *list, size_t begin, size_t end, int32_t id, evn_error *err)
{
	if (begin == end)
		return EVN_OK;
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 16;
		evn_fragment *data = realloc(list->data, capacity * sizeof *data);
		if (!data)
			return evn_fail_memory(err, "tokenizer", capacity * sizeof *data);
		list->data = data;
		list->capacity = capacity;
	}
	list->data[list->n++] = (evn_fragment){(uint32_t)begin, (uint32_t)end, id};
	return EVN_OK;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

typedef struct {
	int32_t id;
	evn_str text;
	bool strips_after;
	const uint8_t *foreign; /* of the text that is searched; NULL: the token counts everywhere */
} needle;

/* The next place of the token in [from, end) where it counts; SIZE_MAX: none. */
static size_t find_token(const needle *t, const char *text, size_t from, size_t end)
{
	size_t n = (size_t)t->text.length;
	for (const char *hit; (hit = memmem(text + from, end - from, t->text.text, n)); from++) {
		from = (size_t)(hit - text);
		if (!t->foreign || !memchr(t->foreign + from, 1, n))
			return from;
	}
	return SIZE_MAX;
}

static evn_status cut_fragment(const needle *t, const char *text, evn_fragment f, evn_fragments *out, evn_error *err)
{
	size_t at = f.begin;
	for (size_t begin; at < f.end && (begin = find_token(t, text, at, f.end)) != SIZE_MAX;) {
		EVN_TRY(add_fragment(out, at, begin, -1, err));
		at = begin + (size_t)t->text.length;
		EVN_TRY(add_fragment(out, begin, at, t->id, err));
		while (t->strips_after && at < f.end && is_space(text[at]))
			at++;
	}
	return add_fragment(out, at, f.end, -1, err);
}

static evn_status cut_fragments(const needle *t, const char *text, evn_fragments *list, evn_error *err)
{
	evn_fragments next = {0};
	evn_status status = EVN_OK;
	for (size_t i = 0; i < list->n && status == EVN_OK; i++) {
		evn_fragment f = list->data[i];
		status = f.id >= 0 ? add_fragment(&next, f.begin, f.end, f.id, err) : cut_fragment(t, text, f, &next, err);
	}
	free(list->data);
	*list = next;
	return status;
}

#define PAIR(p) ((unsigned)(uint8_t)(p)[0] << 8 | (uint8_t)(p)[1])

static bool may_hold(const bool *pairs, evn_str token)
{
	for (uint64_t i = 0; i + 2 <= token.length; i++)
		if (!pairs[PAIR(token.text + i)])
			return false;
	return true;
}

evn_status evn_special_split(const evn_special *s, const evn_vocab *v, const evn_special_text *t, evn_fragments *out,
							 evn_error *err)
{
	EVN_TRY(add_fragment(out, 0, t->n, -1, err));
	if (s->n == 0)
		return EVN_OK;
	bool *pairs = calloc(1u << 16, sizeof *pairs);
	if (!pairs)
		return evn_fail_memory(err, "tokenizer", 1u << 16);
	for (size_t i = 0; i + 2 <= t->n; i++)
		pairs[PAIR(t->text + i)] = true;
	evn_status status = EVN_OK;
	for (uint32_t i = 0; i < s->n && status == EVN_OK; i++) {
		int32_t id = s->ids[i];
		bool everywhere = v->types[id] == EVN_TOKEN_USER_DEFINED;
		needle token = {id, v->texts[id], s->strips_after[i], everywhere ? NULL : t->foreign};
		if (!t->parse_special && !everywhere)
			continue;
		if (may_hold(pairs, token.text) && memmem(t->text, t->n, token.text.text, (size_t)token.text.length))
			status = cut_fragments(&token, t->text, out, err);
	}
	free(pairs);
	return status;
}
