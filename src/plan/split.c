/* split.c - turns shares into ranges that fit into each rank's memory.
 *
 * The units of all blocks of a class are put on one line: the first unit of every block, then the second unit of
 * every block, and so on. The cumulative shares, in rank order, cut the line at the nearest whole units. In each
 * block the resulting ranges are contiguous, in rank order, and cover the block. A rank's ranges differ between
 * blocks by at most one unit. Its total is its share to within one unit (half a unit at either end).
 *
 * The blocks with the extra unit are distributed evenly, so that a rank with more to do in one layer catches up in
 * the next; ranks may be a little apart. The order of the blocks on the line is therefore van der Corput's: their
 * indices with the bits reversed (0, 4, 2, 6, 1, ...). Any number of blocks from its beginning is distributed
 * evenly. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIEW_ROWS 16u /* rows of a weight tile (EVN_TILE_ROWS in kernels/constants.h) */

/* The line of one class: the units of its blocks. */
typedef struct {
	uint32_t n_blocks, size, grain; /* a block: `size` elements in units of `grain`; the last may be smaller */
	const uint32_t *order;          /* the position of each block in the order */
	bool by_phase;
} line;

/* Sets order[block] to the number of blocks before it. */
static void van_der_corput(uint32_t *order, uint32_t n_blocks)
{
	uint32_t size = 1;
	while (size < n_blocks)
		size *= 2;
	for (uint32_t i = 0, block = 0, before = 0; i < size; i++) {
		if (block < n_blocks)
			order[block] = before++;
		uint32_t bit = size / 2; /* adds 1 to a number with reversed bits */
		for (; block & bit; bit /= 2)
			block ^= bit;
		block ^= bit;
	}
}

/* The whole units on the line before a fraction of its elements. Smaller units, if there are any, are at its end. */
static uint64_t line_cut(const line *l, double fraction)
{
	uint64_t n_full = (uint64_t)(l->size / l->grain) * l->n_blocks;
	double full_end = (double)n_full * l->grain;
	double at = fraction * l->size * l->n_blocks;
	if (at <= full_end)
		return (uint64_t)round(at / l->grain);
	return n_full + (uint64_t)round((at - full_end) / (l->size % l->grain));
}

/* The elements of one block before the cut. Unit u of the block is unit u * n_blocks + order of the line. */
static uint32_t cut_in_block(const line *l, uint64_t cut, uint32_t block)
{
	uint64_t n_units = (cut + l->n_blocks - 1 - l->order[block]) / l->n_blocks;
	uint64_t end = n_units * l->grain;
	return end < l->size ? (uint32_t)end : l->size;
}

/* The units of a line that belong to one rank. */
typedef struct {
	uint64_t begin, end;
} stretch;

/* Cuts a line for one rank after the other. */
typedef struct {
	const double *shares;
	double sum, upto; /* of all shares; of those before the next rank */
} cutter;

static cutter cutter_of(const double *shares, uint32_t n)
{
	cutter c = {.shares = shares};
	for (uint32_t i = 0; i < n; i++)
		c.sum += shares[i];
	return c;
}

/* The sum of the shares need not be 1. A share of 0 gives an empty stretch, and no unit of any block. */
static stretch next_stretch(cutter *c, const line *l)
{
	const double begin = c->upto;
	c->upto += *c->shares++;
	return (stretch){line_cut(l, begin / c->sum), line_cut(l, c->upto / c->sum)};
}

static evn_range range_in_block(const line *l, stretch s, uint32_t block)
{
	return (evn_range){cut_in_block(l, s.begin, block), cut_in_block(l, s.end, block)};
}

/* The smallest range that contains both. */
static evn_range hull(evn_range a, evn_range b)
{
	if (a.begin == a.end || b.begin == b.end)
		return a.begin == a.end ? b : a;
	return (evn_range){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

static evn_part part_of(evn_range decode, evn_range prompt)
{
	return (evn_part){.held = hull(decode, prompt), .used = {[EVN_DECODE] = decode, [EVN_PROMPT] = prompt}};
}

static void cut_ranges(evn_split *split, const line *lines, const double *shares, const double *prompt_shares)
{
	const uint32_t n = split->n_ranks;
	for (uint32_t k = 0; k < split->shape.n_classes; k++) {
		const line *l = &lines[k];
		cutter decodes = cutter_of(shares, n), prompts = cutter_of(prompt_shares, n);
		for (uint32_t r = 0; r < n; r++) {
			const stretch decode = next_stretch(&decodes, l);
			const stretch prompt = l->by_phase ? next_stretch(&prompts, l) : decode;
			for (uint32_t i = 0; i < l->n_blocks; i++)
				split->parts[k][(size_t)i * n + r] =
					part_of(range_in_block(l, decode, i), range_in_block(l, prompt, i));
		}
	}
}

typedef struct {
	char text[32];
} bytes_text;

static bytes_text text_of(double bytes)
{
	static const struct {
		double bytes;
		int decimals;
		const char *name;
	} units[] = {{1 << 30, 2, "GiB"}, {1 << 20, 1, "MiB"}, {1 << 10, 1, "KiB"}, {1, 0, "bytes"}};
	size_t i = 0;
	while (i < 3 && bytes < units[i].bytes)
		i++;
	bytes_text t;
	snprintf(t.text, sizeof t.text, "%.*f %s", units[i].decimals, bytes / units[i].bytes, units[i].name);
	return t;
}

/* ---- fitting into memory --------------------------------------------------------------------------------------- */

typedef struct {
	const evn_plan_shape *shape;
	const uint64_t *memory;
	const double *weights;
	uint32_t n_ranks;
	bool *capped;   /* (n_ranks) the rank's memory is full; from here on its share can only shrink */
	double *shares; /* (n_ranks) */
	double step;    /* the smallest change of a share that moves a unit, in the class with the most units */
} fitting;

static uint64_t fixed_bytes(const fitting *f) { return evn_plan_fixed_bytes(f->shape, f->n_ranks); }

/* Distributes what the capped ranks leave over the others, in proportion to their weights. False if there is no other
 * rank. */
static bool share_rest(fitting *f)
{
	double rest = 1, weight = 0;
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		rest -= f->capped[r] ? f->shares[r] : 0;
		weight += f->capped[r] ? 0 : f->weights[r];
	}
	if (weight <= 0)
		return false;
	for (uint32_t r = 0; r < f->n_ranks; r++)
		if (!f->capped[r])
			f->shares[r] = fmax(rest, 0) * f->weights[r] / weight;
	return true;
}

/* Shrinks the share of every rank that holds too much, by at least one step, so that the loop ends. True if it shrank
 * one. */
static bool shrink_shares(fitting *f, const evn_split *split)
{
	bool any = false;
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		uint64_t bytes = evn_split_bytes(split, r), fixed = fixed_bytes(f);
		if (bytes <= f->memory[r] || f->shares[r] <= 0)
			continue;
		double fits = (double)(f->memory[r] - fixed) / (double)(bytes - fixed);
		f->shares[r] = fmax(0, fmin(f->shares[r] * fits, f->shares[r] - f->step));
		f->capped[r] = true;
		any = true;
	}
	return any;
}

static evn_status does_not_fit(const fitting *f, evn_error *err)
{
	uint64_t fixed = fixed_bytes(f), room = 0;
	uint32_t n_usable = 0;
	double unplaced = 1;
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		unplaced -= f->shares[r];
		if (f->weights[r] <= 0 || f->memory[r] < fixed)
			continue;
		n_usable++;
		if (!evn_add_u64(room, f->memory[r] - fixed, &room))
			room = UINT64_MAX;
	}
	if (n_usable == 0)
		return evn_fail(err, EVN_ERR_LIMIT,
						"not enough device memory: %s are needed on each device beside its share of the model, and "
						"none may hold that much",
						text_of((double)fixed).text);
	double need = (double)evn_plan_bytes(f->shape);
	return evn_fail(
		err, EVN_ERR_LIMIT,
		"not enough device memory: weights and KV cache need %s, and %u %s may hold %s beside %s of scratch "
		"each: %s missing (a smaller context needs less)",
		text_of(need).text, n_usable, n_usable == 1 ? "device" : "devices", text_of((double)room).text,
		text_of((double)fixed).text, text_of(fmax(1, unplaced * need)).text);
}

/* Water-filling: a rank beyond its limit is reduced to it, and the rest goes to the other ranks, until all fit. */
static evn_status fit(evn_split *split, const line *lines, fitting *f, evn_error *err)
{
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		f->shares[r] = 0;
		f->capped[r] = f->memory[r] < fixed_bytes(f);
	}
	do {
		if (!share_rest(f))
			return does_not_fit(f, err);
		cut_ranges(split, lines, f->shares, f->shares);
	} while (shrink_shares(f, split));
	return EVN_OK;
}

/* ---- the split ------------------------------------------------------------------------------------------------- */

static evn_status check_class(const evn_plan_class *cut, evn_error *err)
{
	static const char *const names[] = {[EVN_CUT_ROWS] = "vocabulary rows",
										[EVN_CUT_HEADS] = "heads",
										[EVN_CUT_UNITS] = "feed-forward units",
										[EVN_CUT_EXPERTS] = "experts"};
	const char *name = names[cut->kind];
	if (!cut->n || !cut->grain || !cut->group)
		return evn_fail(err, EVN_ERR_USAGE,
						"cannot split blocks of %u %s in steps of %u with groups of %u: none may be 0", cut->n, name,
						cut->grain, cut->group);
	if (cut->n % cut->group)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split blocks of %u %s: expected a multiple of the group's %u",
						cut->n, name, cut->group);
	if (!(cut->read_fraction > 0 && cut->read_fraction <= 1))
		return evn_fail(err, EVN_ERR_USAGE, "a row uses %g of %s: expected more than 0 and at most 1",
						cut->read_fraction, name);
	return EVN_OK;
}

static evn_status check_shape(const evn_plan_shape *s, evn_error *err)
{
	if (s->n_classes < 1 || s->n_classes > EVN_PLAN_CLASSES)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split %u classes of blocks: expected 1 to %u", s->n_classes,
						EVN_PLAN_CLASSES);
	const evn_plan_class *vocab = &s->classes[EVN_PLAN_VOCAB];
	if (vocab->kind != EVN_CUT_ROWS || vocab->n_blocks != 1)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split a model whose first class of blocks is no vocabulary");
	for (uint32_t k = 0; k < s->n_classes; k++)
		EVN_TRY(check_class(&s->classes[k], err));
	return EVN_OK;
}

/* Scales the shares to weights of at most 1, so that their sum is finite. */
static evn_status check_shares(double *weights, uint32_t n, const double *shares, evn_error *err)
{
	double most = 0;
	for (uint32_t r = 0; r < n; r++) {
		if (!isfinite(shares[r]) || shares[r] < 0)
			return evn_fail(err, EVN_ERR_USAGE, "share of rank %u is %g: expected a number of at least 0", r,
							shares[r]);
		most = fmax(most, shares[r]);
	}
	if (most <= 0)
		return evn_fail(err, EVN_ERR_USAGE, "every share is 0: at least one must be more");
	for (uint32_t r = 0; r < n; r++)
		weights[r] = shares[r] / most;
	return EVN_OK;
}

static double most_units(const evn_plan_shape *s)
{
	double most = 0;
	for (uint32_t k = 0; k < s->n_classes; k++)
		most = fmax(most, (double)s->classes[k].n_blocks * s->classes[k].n / s->classes[k].grain);
	return most;
}

static evn_status make_parts(evn_split *split, evn_error *err)
{
	const evn_plan_shape *s = &split->shape;
	const size_t n = ((size_t)evn_plan_n_blocks(s) + 1) * split->n_ranks;
	evn_part *next = calloc(n, sizeof *next);
	if (!next)
		return evn_fail_memory(err, "plan", n * sizeof *next);
	for (uint32_t k = 0; k < s->n_classes; k++) {
		split->parts[k] = next;
		next += (size_t)s->classes[k].n_blocks * split->n_ranks;
	}
	return EVN_OK;
}

evn_status evn_split_make_empty(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, evn_error *err)
{
	*out = (evn_split){.shape = *s, .n_ranks = n_ranks};
	return make_parts(out, err);
}

/* lines has EVN_PLAN_CLASSES elements. *orders is the memory that they point to. */
static evn_status make_lines(line *lines, uint32_t **orders, const evn_plan_shape *s, evn_error *err)
{
	const size_t n = (size_t)evn_plan_n_blocks(s) + 1;
	uint32_t *next = *orders = malloc(n * sizeof *next);
	if (!next)
		return evn_fail_memory(err, "plan", n * sizeof *next);
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const evn_plan_class *cut = &s->classes[k];
		van_der_corput(next, cut->n_blocks);
		lines[k] = (line){cut->n_blocks, cut->n, cut->grain, next, cut->by_phase};
		next += cut->n_blocks;
	}
	return EVN_OK;
}

/* Makes whole groups the grain, so that no group is held twice. False if they were whole before. */
static bool keep_groups_whole(line *lines, const evn_plan_shape *s)
{
	bool any = false;
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const uint32_t group = s->classes[k].group;
		if (lines[k].grain % group == 0)
			continue;
		lines[k].grain *= group;
		any = true;
	}
	return any;
}

/* Cuts for both phases as asked for, if there is room. */
static bool fit_both(evn_split *split, const line *lines, const fitting *f, const double *prompt_weights)
{
	bool fits = true;
	cut_ranges(split, lines, f->weights, prompt_weights);
	for (uint32_t r = 0; r < f->n_ranks; r++)
		fits &= evn_split_bytes(split, r) <= f->memory[r];
	split->one_layout = !fits;
	return fits;
}

static evn_status make_ranges(evn_split *split, line *lines, fitting *f, const double *prompt_weights, evn_error *err)
{
	bool differ = memcmp(f->weights, prompt_weights, f->n_ranks * sizeof *prompt_weights) != 0;
	if (differ && fit_both(split, lines, f, prompt_weights))
		return EVN_OK;
	evn_status status = fit(split, lines, f, err);
	if (status == EVN_ERR_LIMIT && f->n_ranks > 1 && keep_groups_whole(lines, f->shape))
		status = fit(split, lines, f, err);
	return status;
}

/* What is allocated while a split is made, n_ranks long each. */
typedef struct {
	double *weights, *prompt_weights, *shares;
	bool *capped;
} per_rank;

static evn_status make_split(evn_split *split, per_rank *r, const evn_plan_shape *s, const uint64_t *memory,
							 evn_error *err)
{
	line lines[EVN_PLAN_CLASSES];
	uint32_t *orders = NULL;
	fitting f = {.shape = s,
				 .memory = memory,
				 .weights = r->weights,
				 .n_ranks = split->n_ranks,
				 .capped = r->capped,
				 .shares = r->shares,
				 .step = 1 / most_units(s)};
	evn_status status = make_lines(lines, &orders, s, err);
	if (status == EVN_OK)
		status = make_parts(split, err);
	if (status == EVN_OK)
		status = make_ranges(split, lines, &f, r->prompt_weights, err);
	free(orders);
	if (status != EVN_OK)
		evn_split_free(split);
	return status;
}

evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err)
{
	*out = (evn_split){0};
	EVN_TRY(check_shape(s, err));
	if (n_ranks < 1 || n_ranks > EVN_PLAN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split over %u ranks: expected 1 to %u", n_ranks,
						EVN_PLAN_MAX_RANKS);
	double *numbers = calloc(3 * (size_t)n_ranks, sizeof *numbers);
	per_rank r = {numbers, numbers + n_ranks, numbers + 2 * (size_t)n_ranks, calloc(n_ranks, sizeof *r.capped)};
	evn_status status = numbers && r.capped ? EVN_OK : evn_fail_memory(err, "plan", 0);
	if (status == EVN_OK)
		status = check_shares(r.weights, n_ranks, shares, err);
	if (status == EVN_OK)
		status = check_shares(r.prompt_weights, n_ranks, prompt_shares ? prompt_shares : shares, err);
	if (status == EVN_OK) {
		evn_split split = {.shape = *s, .n_ranks = n_ranks};
		status = make_split(&split, &r, s, memory, err);
		*out = split;
	}
	free(numbers);
	free(r.capped);
	return status;
}

/* The first 1 / divisor of a range, in whole grains and at least one. */
static evn_range first_part(evn_range r, uint32_t divisor, uint32_t grain)
{
	uint32_t len = (uint32_t)evn_round_up(evn_range_len(r) / divisor, grain);
	len = len ? len : grain;
	return (evn_range){r.begin, len < evn_range_len(r) ? r.begin + len : r.end};
}

evn_status evn_split_alone(evn_split *out, const evn_split *of, uint32_t rank, uint32_t divisor, evn_error *err)
{
	*out = (evn_split){.shape = of->shape, .n_ranks = 1, .one_layout = of->one_layout};
	EVN_TRY(make_parts(out, err));
	for (uint32_t k = 0; k < of->shape.n_classes; k++) {
		const evn_plan_class *cut = &of->shape.classes[k];
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			const evn_part *p = evn_split_part(of, k, i, rank);
			if (divisor == 1)
				out->parts[k][i] = *p;
			else if (k != EVN_PLAN_VOCAB)
				out->parts[k][i] = part_of(first_part(p->used[EVN_DECODE], divisor, cut->grain),
										   first_part(p->used[EVN_PROMPT], divisor, cut->grain));
		}
	}
	return EVN_OK;
}

evn_status evn_split_copy(evn_split *out, const evn_split *of, evn_error *err)
{
	*out = (evn_split){.shape = of->shape, .n_ranks = of->n_ranks, .one_layout = of->one_layout};
	EVN_TRY(make_parts(out, err));
	for (uint32_t k = 0; k < of->shape.n_classes; k++)
		memcpy(out->parts[k], of->parts[k],
			   (size_t)of->shape.classes[k].n_blocks * of->n_ranks * sizeof *of->parts[k]);
	return EVN_OK;
}

void evn_split_keep_phase(evn_split *split, evn_phase phase)
{
	const size_t n = ((size_t)evn_plan_n_blocks(&split->shape) + 1) * split->n_ranks;
	for (evn_part *p = split->parts[EVN_PLAN_VOCAB]; p < split->parts[EVN_PLAN_VOCAB] + n; p++)
		*p = part_of(p->used[phase], p->used[phase]);
}

void evn_split_free(evn_split *split)
{
	if (!split)
		return;
	free(split->parts[EVN_PLAN_VOCAB]);
	*split = (evn_split){0};
}

/* A view of rows begins at a whole tile. */
static bool has_views(const evn_plan_shape *s, uint32_t k)
{
	return s->classes[k].by_phase || (k == EVN_PLAN_VOCAB && s->classes[k].grain % VIEW_ROWS == 0);
}

void evn_split_keep_held(evn_split *split, const evn_split *before, uint32_t rank)
{
	for (uint32_t k = 0; k < split->shape.n_classes; k++)
		for (uint32_t i = 0; has_views(&split->shape, k) && i < split->shape.classes[k].n_blocks; i++) {
			evn_part *p = &split->parts[k][(size_t)i * split->n_ranks + rank];
			p->held = before ? hull(p->held, evn_split_part(before, k, i, rank)->held)
							 : hull(p->used[EVN_DECODE], p->used[EVN_PROMPT]);
		}
}
