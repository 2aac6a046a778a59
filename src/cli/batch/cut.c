/* cut.c - see cut.h. */
#include "cli/batch/cut.h"
#include "base/base.h"
#include "cli/batch/units.h"

#include <stdlib.h>

typedef struct {
	const char *text;
	size_t limit;
	const token_counter *counter;
	cut_text *out;
	size_t room;      /* of out->pieces */
	text_range piece; /* grows; empty: none is begun */
	size_t n_tokens;  /* of piece; the sum over its parts, an estimate */
} packer;

static evn_status count_tokens(const packer *p, text_range r, size_t *tokens, evn_error *err)
{
	return p->counter->count(p->counter->user, p->text + r.begin, r.end - r.begin, tokens, err);
}

static evn_status add_piece(packer *p, text_range r, evn_error *err)
{
	if (p->out->n == p->room) {
		size_t room = p->room ? 2 * p->room : 64;
		text_range *more = realloc(p->out->pieces, room * sizeof *more);
		if (!more)
			return evn_fail_memory(err, "the pieces", room * sizeof *more);
		p->out->pieces = more;
		p->room = room;
	}
	p->out->pieces[p->out->n++] = r;
	return EVN_OK;
}

/* The end of a part of r that exceeds the limit, or the end of r. A token has four bytes or so. */
static evn_status find_window(const packer *p, text_range r, size_t *end, evn_error *err)
{
	for (size_t bytes = 4 * p->limit + 64;; bytes *= 2) {
		size_t tokens;
		*end = r.end - r.begin > bytes ? r.begin + bytes : r.end;
		while (*end < r.end && ((unsigned char)p->text[*end] & 0xc0) == 0x80)
			++*end;
		if (*end == r.end)
			return EVN_OK;
		EVN_TRY(count_tokens(p, (text_range){r.begin, *end}, &tokens, err));
		if (tokens > p->limit)
			return EVN_OK;
	}
}

/* The last of the ends up to which r is within the limit; r.begin if not even the first is. */
static evn_status last_that_fits(const packer *p, text_range r, const size_t *ends, size_t n, size_t *end,
								 evn_error *err)
{
	size_t low = 0, high = n; /* ends[low - 1] fits, ends[high] does not */
	while (low < high) {
		size_t middle = low + (high - low) / 2, tokens;
		EVN_TRY(count_tokens(p, (text_range){r.begin, ends[middle]}, &tokens, err));
		if (tokens <= p->limit)
			low = middle + 1;
		else
			high = middle;
	}
	*end = low ? ends[low - 1] : r.begin;
	return EVN_OK;
}

static evn_status longest_that_fits(const packer *p, text_range r, size_t *end, evn_error *err)
{
	text_range window = r;
	EVN_TRY(find_window(p, r, &window.end, err));
	*end = r.begin;
	for (int words = 1; words >= 0 && *end == r.begin; words--) {
		size_t *ends, n;
		if (!find_ends(&ends, &n, p->text, window, words))
			return evn_fail_memory(err, "a piece", 0);
		evn_status status = last_that_fits(p, r, ends, n, end, err);
		if (status == EVN_OK && !words && *end == r.begin)
			*end = ends[0]; /* a character with more tokens than the limit */
		free(ends);
		if (status != EVN_OK)
			return status;
	}
	return EVN_OK;
}

/* Makes pieces of a text that is too long for one. What is left over is begun as a piece. */
static evn_status cut_long(packer *p, text_range r, evn_error *err)
{
	p->out->n_long++;
	for (;;) {
		size_t end;
		EVN_TRY(longest_that_fits(p, r, &end, err));
		if (end == r.end)
			break;
		EVN_TRY(add_piece(p, (text_range){r.begin, end}, err));
		r.begin = skip_space(p->text, r.end, end);
	}
	p->piece = r;
	return count_tokens(p, r, &p->n_tokens, err);
}

/* Ends the piece that grows. Its parts may have fewer tokens than they have together. */
static evn_status end_piece(packer *p, evn_error *err)
{
	size_t tokens;
	if (p->piece.end == p->piece.begin)
		return EVN_OK;
	EVN_TRY(count_tokens(p, p->piece, &tokens, err));
	if (tokens > p->limit && p->n_tokens <= p->limit)
		EVN_TRY(cut_long(p, p->piece, err));
	EVN_TRY(add_piece(p, p->piece, err));
	p->piece = (text_range){0};
	return EVN_OK;
}

static evn_status pack_unit(packer *p, text_range unit, evn_error *err)
{
	size_t tokens;
	if (p->piece.end > p->piece.begin) {
		EVN_TRY(count_tokens(p, (text_range){p->piece.end, unit.end}, &tokens, err));
		if (tokens <= p->limit && p->n_tokens + tokens <= p->limit) {
			p->piece.end = unit.end;
			p->n_tokens += tokens;
			return EVN_OK;
		}
		EVN_TRY(end_piece(p, err));
	}
	EVN_TRY(count_tokens(p, unit, &tokens, err));
	if (tokens > p->limit)
		return cut_long(p, unit, err);
	p->piece = unit;
	p->n_tokens = tokens;
	return EVN_OK;
}

evn_status text_cut(cut_text *out, const char *text, size_t bytes, cut_units units, size_t piece_tokens,
					const token_counter *counter, evn_error *err)
{
	packer p = {.text = text, .limit = piece_tokens, .counter = counter, .out = out};
	text_range unit = {0};
	*out = (cut_text){0};
	while (next_unit(&unit, text, bytes, unit.end, units)) {
		if (piece_tokens == 0 || units == CUT_WHOLE)
			EVN_TRY(add_piece(&p, unit, err));
		else
			EVN_TRY(pack_unit(&p, unit, err));
	}
	return end_piece(&p, err);
}

void cut_text_free(cut_text *c)
{
	free(c->pieces);
	*c = (cut_text){0};
}
