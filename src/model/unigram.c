#include "model/unigram.h"
#include "base/utf8.h"
#include "model/charsmap.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581, for a space */
#define MARK_BYTES 3u
#define UNKNOWN_PENALTY 10.0f /* an unknown character scores so much less than the least token */

struct evn_unigram {
	const evn_vocab *vocab;
	float *scores; /* by id */
	float least, most;
	evn_charsmap map;
	bool trims;            /* spaces at the ends are dropped, and runs of spaces become one */
	int32_t unknown;       /* the id */
	int32_t byte_ids[256]; /* of bytes of unknown characters; -1 if the vocabulary has not all of them */
	uint32_t longest;      /* the bytes of the longest token that can spell a text */
};

/* ---- loading --------------------------------------------------------------------------------------------------- */

static bool spells(const evn_vocab *v, uint32_t id)
{
	return v->types[id] == EVN_TOKEN_NORMAL || v->types[id] == EVN_TOKEN_USER_DEFINED;
}

static evn_status load_scores(evn_unigram *u, const evn_gguf *g, evn_error *err)
{
	const evn_vocab *v = u->vocab;
	const evn_gguf_value *scores;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.scores", EVN_GGUF_F32, &scores, err));
	if (!scores || scores->count != v->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.scores has %" PRIu64 " entries for %u tokens",
						v->file, scores ? scores->count : 0, v->n);
	u->scores = malloc(v->n * sizeof *u->scores);
	if (!u->scores)
		return evn_fail_memory(err, "tokenizer", v->n * sizeof *u->scores);
	u->least = FLT_MAX;
	u->most = -FLT_MAX;
	for (uint32_t id = 0; id < v->n; id++) {
		const uint32_t bits = (uint32_t)evn_load_le(scores->data + 4 * (size_t)id, 4);
		memcpy(&u->scores[id], &bits, sizeof bits);
		if (!isfinite(u->scores[id]))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.scores[%u] is not a number", v->file, id);
		if (v->types[id] == EVN_TOKEN_NORMAL) {
			u->least = fminf(u->least, u->scores[id]);
			u->most = fmaxf(u->most, u->scores[id]);
		}
		if (spells(v, id) && v->texts[id].length > u->longest)
			u->longest = (uint32_t)v->texts[id].length;
	}
	return EVN_OK;
}

static void load_bytes(evn_unigram *u)
{
	bool has_all = true;
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[8];
		snprintf(text, sizeof text, "<0x%02X>", byte);
		u->byte_ids[byte] = evn_vocab_find(u->vocab, text, 6);
		has_all &= u->byte_ids[byte] >= 0 && u->vocab->types[u->byte_ids[byte]] == EVN_TOKEN_BYTE;
	}
	if (!has_all)
		u->byte_ids[0] = -1;
}

static evn_status load(evn_unigram *u, const evn_gguf *g, evn_error *err)
{
	u->unknown = u->vocab->n > 2 ? 2 : 0; /* T5's order: <pad>, </s>, <unk> */
	EVN_TRY(evn_vocab_special(u->vocab, g, "tokenizer.ggml.unknown_token_id", &u->unknown, err));
	EVN_TRY(evn_gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &u->trims, err));
	EVN_TRY(load_scores(u, g, err));
	load_bytes(u);
	return evn_charsmap_load(&u->map, g, err);
}

evn_status evn_unigram_create(evn_unigram **out, const evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	evn_unigram *u = calloc(1, sizeof *u);
	*out = NULL;
	if (!u)
		return evn_fail_memory(err, "tokenizer", sizeof *u);
	u->vocab = v;
	const evn_status status = load(u, g, err);
	if (status == EVN_OK)
		*out = u;
	else
		evn_unigram_free(u);
	return status;
}

void evn_unigram_free(evn_unigram *u)
{
	if (!u)
		return;
	free(u->scores);
	free(u);
}

/* ---- normalising ----------------------------------------------------------------------------------------------- */

typedef struct {
	char *data;
	size_t n, room;
} bytes;

static evn_status put(bytes *b, const char *text, size_t n, evn_error *err)
{
	if (b->n + n > b->room) {
		const size_t room = 2 * (b->n + n) + 64;
		char *more = realloc(b->data, room);
		if (!more)
			return evn_fail_memory(err, "tokenizer", room);
		b->data = more;
		b->room = room;
	}
	memcpy(b->data + b->n, text, n);
	b->n += n;
	return EVN_OK;
}

static bool ends_with_mark(const bytes *b)
{
	return b->n >= MARK_BYTES && memcmp(b->data + b->n - MARK_BYTES, MARK, MARK_BYTES) == 0;
}

/* Appends characters, with marks for spaces. after_space: spaces before another one are dropped. */
static evn_status put_marked(const evn_unigram *u, bytes *out, evn_str text, bool *after_space, evn_error *err)
{
	for (size_t i = 0; i < text.length; i++) {
		const bool space = text.text[i] == ' ';
		if (!(space && *after_space))
			EVN_TRY(space ? put(out, MARK, MARK_BYTES, err) : put(out, text.text + i, 1, err));
		*after_space = space && u->trims;
	}
	return EVN_OK;
}

/* Spaces are dropped before the first other character, too, and the one that is added is none of them. */
static evn_status normalise(const evn_unigram *u, const char *text, size_t n, bool space_before, bytes *out,
							evn_error *err)
{
	bool after_space = u->trims, begun = !space_before;
	for (size_t at = 0, taken; at < n; at += taken) {
		evn_str to = evn_charsmap_replace(&u->map, text + at, n - at, &taken);
		while (after_space && to.length && to.text[0] == ' ')
			to = (evn_str){to.text + 1, to.length - 1};
		if (!begun && to.length)
			EVN_TRY(put(out, MARK, MARK_BYTES, err));
		begun |= to.length > 0;
		EVN_TRY(put_marked(u, out, to, &after_space, err));
	}
	while (u->trims && ends_with_mark(out))
		out->n -= MARK_BYTES;
	return EVN_OK;
}

/* ---- the best path (Viterbi 1967) ------------------------------------------------------------------------------ */

/* The best way to spell the text up to here. */
typedef struct {
	float score;
	int32_t id;
	size_t begin; /* of the last token; SIZE_MAX: no way is known */
} place;

/* Sums are those of f32, so that ways of equal worth are told apart as sentencepiece does. */
static void offer(place *to, size_t begin, int32_t id, float score)
{
	if (to->begin == SIZE_MAX || score > to->score)
		*to = (place){score, id, begin};
}

static size_t character_at(const char *text, size_t n)
{
	size_t whole;
	const size_t length = evn_utf8_prefix(text, n, &whole);
	return length && length == whole ? length : 1;
}

/* A token that a user has defined is worth more than any other way to spell it. */
static float score_of(const evn_unigram *u, int32_t id, size_t length)
{
	return u->vocab->types[id] == EVN_TOKEN_USER_DEFINED ? (float)length * u->most - 0.1f : u->scores[id];
}

/* Offers all tokens that begin here. A character that is no token is unknown. */
static void step(const evn_unigram *u, const char *text, size_t n, size_t at, place *places)
{
	const size_t one = character_at(text + at, n - at);
	const float here = places[at].score;
	bool known = false;
	for (size_t length = one; at + length <= n && length <= u->longest;) {
		const int32_t id = evn_vocab_find(u->vocab, text + at, length);
		if (id >= 0 && spells(u->vocab, (uint32_t)id)) {
			offer(&places[at + length], at, id, score_of(u, id, length) + here);
			known |= length == one;
		}
		length += at + length < n ? character_at(text + at + length, n - at - length) : 1;
	}
	if (!known)
		offer(&places[at + one], at, u->unknown, u->least - UNKNOWN_PENALTY + here);
}

static evn_status push_bytes(const evn_unigram *u, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	for (size_t i = 0; i < n; i++)
		EVN_TRY(evn_ids_push(out, u->byte_ids[(uint8_t)text[i]], err));
	return EVN_OK;
}

/* Unknown characters side by side are one token, unless there are tokens for their bytes. Uses `begin` of the places
 * for the way forward. */
static evn_status push_path(const evn_unigram *u, const char *text, size_t n, place *places, evn_ids *out,
							evn_error *err)
{
	size_t end = n, next = SIZE_MAX;
	while (end) { /* begin becomes the end of the token that begins here */
		const size_t begin = places[end].begin;
		places[end].begin = next;
		next = end;
		end = begin;
	}
	bool after_unknown = false;
	for (size_t at = 0; at < n; at = next, next = places[at].begin) {
		const bool unknown = places[next].id == u->unknown;
		if (unknown && u->byte_ids[0] >= 0)
			EVN_TRY(push_bytes(u, text + at, next - at, out, err));
		else if (!(unknown && after_unknown))
			EVN_TRY(evn_ids_push(out, places[next].id, err));
		after_unknown = unknown;
	}
	return EVN_OK;
}

static evn_status spell(const evn_unigram *u, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	place *places = n < SIZE_MAX / sizeof *places - 1 ? malloc((n + 1) * sizeof *places) : NULL;
	if (!places)
		return evn_fail_memory(err, "tokenizer", (n + 1) * sizeof *places);
	for (size_t i = 0; i <= n; i++)
		places[i] = (place){.begin = SIZE_MAX};
	for (size_t at = 0; at < n; at += character_at(text + at, n - at))
		step(u, text, n, at, places);
	const evn_status s = push_path(u, text, n, places, out, err);
	free(places);
	return s;
}

evn_status evn_unigram_encode(const evn_unigram *u, const char *text, size_t n, bool space_before, evn_ids *out,
							  evn_error *err)
{
	bytes marked = {0};
	evn_status s = normalise(u, text, n, space_before, &marked, err);
	if (s == EVN_OK && marked.n)
		s = spell(u, marked.data, marked.n, out, err);
	free(marked.data);
	return s;
}
