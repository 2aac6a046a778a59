/* split.c - a share vector becomes ranges, within each rank's memory.
 *
 * The units of all blocks of a class lie on one line: the first unit of every block, then the second of every block,
 * and so on. The shares, summed up in rank order, cut the line at its nearest whole units. In each block that leaves
 * ranges which are contiguous, in rank order and cover it; a rank's ranges differ between blocks by at most one unit,
 * and its total is its share to within one (half a unit at either end).
 *
 * Which blocks hold the unit more is distributed evenly: a rank that has much to do in one layer catches up in the
 * next, where ranks may be a little apart. So blocks come to the line in van der Corput's order, by their indices
 * with the bits reversed (0, 4, 2, 6, 1, ...), of which any number are evenly distributed. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The units of one class's blocks. */
typedef struct {
	uint32_t n_blocks, size, grain; /* per block: `size` elements in units of `grain`, the last may be shorter */
	const uint32_t *order;          /* of the blocks */
	bool by_phase;
} line;

/* order[block] = how many blocks come before it. */
static void van_der_corput(uint32_t *order, uint32_t n_blocks)
{
	uint32_t size = 1;
	while (size < n_blocks)
		size *= 2;
	for (uint32_t i = 0, block = 0, before = 0; i < size; i++) {
		if (block < n_blocks)
			order[block] = before++;
		uint32_t bit = size / 2; /* counts in reversed bits */
		for (; block & bit; bit /= 2)
			block ^= bit;
		block ^= bit;
	}
}

/* Whole units of the line that lie before a fraction of its elements. Short units, if any, are at its end. */
static uint64_t line_cut(const line *l, double fraction)
{
	uint64_t n_full = (uint64_t)(l->size / l->grain) * l->n_blocks;
	double full_end = (double)n_full * l->grain;
	double at = fraction * l->size * l->n_blocks;
	if (at <= full_end)
		return (uint64_t)round(at / l->grain);
	return n_full + (uint64_t)round((at - full_end) / (l->size % l->grain));
}

/* Elements of one block that lie before the cut: its unit u is unit u * n_blocks + order of the line. */
static uint32_t cut_in_block(const line *l, uint64_t cut, uint32_t block)
{
	uint64_t n_units = (cut + l->n_blocks - 1 - l->order[block]) / l->n_blocks;
	uint64_t end = n_units * l->grain;
	return end < l->size ? (uint32_t)end : l->size;
}

/* Where a rank's part of a line begins and ends. */
typedef struct {
	uint64_t begin, end;
} stretch;

/* Shares need not sum to 1. A share of 0 cuts twice in the same place: nothing of any block. */
static stretch stretch_of(const line *l, const double *shares, uint32_t n, uint32_t rank)
{
	double sum = 0, upto = 0;
	for (uint32_t i = 0; i < n; i++) {
		sum += shares[i];
		upto += i < rank ? shares[i] : 0;
	}
	return (stretch){line_cut(l, upto / sum), line_cut(l, (upto + shares[rank]) / sum)};
}

static evn_range range_in_block(const line *l, stretch s, uint32_t block)
{
	return (evn_range){cut_in_block(l, s.begin, block), cut_in_block(l, s.end, block)};
}

/* From the first of either to the last. */
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
		for (uint32_t r = 0; r < n; r++) {
			const stretch decode = stretch_of(l, shares, n, r);
			const stretch prompt = l->by_phase ? stretch_of(l, prompt_shares, n, r) : decode;
			for (uint32_t i = 0; i < l->n_blocks; i++)
				split->parts[k][(size_t)i * n + r] =
					part_of(range_in_block(l, decode, i), range_in_block(l, prompt, i));
		}
	}
}

typedef struct {
	char text[32];
} bytes_text;

static bytes_text in_words(double bytes)
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

/* ---- fitting into memory ----------------------------------------------------------------------------------- */

typedef struct {
	const evn_plan_shape *shape;
	const uint64_t *memory;
	const double *weights;
	uint32_t n_ranks;
	bool capped[EVN_MAX_RANKS]; /* at its memory's limit: its share only shrinks from here */
	double shares[EVN_MAX_RANKS];
	double step; /* least change of a share that moves a unit: of the kind that has most of them */
} fitting;

static uint64_t fixed_bytes(const fitting *f) { return evn_plan_fixed_bytes(f->shape, f->n_ranks); }

/* What the capped ranks leave goes to the others in proportion to their weights. False where nobody can take it. */
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

/* Reduces the share of every rank that holds too much, by at least one step so that it ends. True if any did. */
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
	double homeless = 1;
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		homeless -= f->shares[r];
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
						in_words((double)fixed).text);
	double need = (double)evn_plan_bytes(f->shape);
	return evn_fail(
		err, EVN_ERR_LIMIT,
		"not enough device memory: weights and KV cache need %s, and %u %s may hold %s beside %s of scratch "
		"each: %s missing (a smaller context needs less)",
		in_words(need).text, n_usable, n_usable == 1 ? "device" : "devices", in_words((double)room).text,
		in_words((double)fixed).text, in_words(fmax(1, homeless * need)).text);
}

/* Water-filling: a rank over its limit is cut back to it, the rest flows to the others, until all fit. */
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

/* ---- the split --------------------------------------------------------------------------------------------- */

static evn_status check_class(const evn_plan_class *cut, evn_error *err)
{
	static const char *const names[] = {[EVN_CUT_ROWS] = "vocabulary rows",
										[EVN_CUT_HEADS] = "heads",
										[EVN_CUT_UNITS] = "feed-forward units",
										[EVN_CUT_EXPERTS] = "experts"};
	const char *name = names[cut->kind];
	if (!cut->n || !cut->grain || !cut->group)
		return evn_fail(err, EVN_ERR_USAGE,
						"cannot split blocks of %u %s in steps of %u, %u to a group: none may be 0", cut->n, name,
						cut->grain, cut->group);
	if (cut->n % cut->group)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split blocks of %u %s: not a multiple of the %u of a group",
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

/* Shares as weights of at most 1 each, so that their sum is finite. */
static evn_status check_shares(double *weights, uint32_t n, const double *shares, evn_error *err)
{
	double most = 0;
	if (n < 1 || n > EVN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split over %u ranks: expected 1 to %d", n, EVN_MAX_RANKS);
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

/* Parts of all blocks, all empty. */
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

/* lines[EVN_PLAN_CLASSES]; *orders is what they point to. */
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

/* Whole groups, so that none is held twice. False where they are whole anyway. */
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

/* Both layouts as asked for, if there is room. */
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

evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err)
{
	double weights[EVN_MAX_RANKS], prompt_weights[EVN_MAX_RANKS];
	line lines[EVN_PLAN_CLASSES];
	uint32_t *orders = NULL;
	*out = (evn_split){0};
	EVN_TRY(check_shape(s, err));
	EVN_TRY(check_shares(weights, n_ranks, shares, err));
	EVN_TRY(check_shares(prompt_weights, n_ranks, prompt_shares ? prompt_shares : shares, err));
	evn_split split = {.shape = *s, .n_ranks = n_ranks};
	fitting f = {.shape = s, .memory = memory, .weights = weights, .n_ranks = n_ranks, .step = 1 / most_units(s)};
	evn_status status = make_lines(lines, &orders, s, err);
	if (status == EVN_OK)
		status = make_parts(&split, err);
	if (status == EVN_OK)
		status = make_ranges(&split, lines, &f, prompt_weights, err);
	free(orders);
	if (status != EVN_OK)
		evn_split_free(&split);
	*out = split;
	return status;
}

/* The first part of a range, in whole grains, at least one. */
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

void evn_split_free(evn_split *split)
{
	if (!split)
		return;
	free(split->parts[EVN_PLAN_VOCAB]);
	*split = (evn_split){0};
}
