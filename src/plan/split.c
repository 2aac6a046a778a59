/* split.c - a share vector becomes ranges, within each rank's memory.
 *
 * The units of one kind (heads, feed-forward, vocabulary) of all layers lie on one line: the first unit of every
 * layer, then the second of every layer, and so on. The shares, summed up in rank order, cut the line at its nearest
 * whole units. In each layer that leaves ranges which are contiguous, in rank order and cover it; a rank's ranges
 * differ between layers by at most one unit, and its total is its share to within one (half a unit at either end).
 *
 * Which layers hold the unit more is spread evenly: a rank that has much to do in one layer catches up in the next,
 * where ranks may be a little apart. So layers come to the line in van der Corput's order, by their indices with the
 * bits reversed (0, 4, 2, 6, 1, ...), of which any number are evenly spread. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	uint32_t n_layers, size, grain; /* per layer: `size` elements in units of `grain`, the last may be shorter */
} line;

typedef struct {
	line heads, ff, vocab;
	const uint32_t *turns; /* of the layers on a line */
} lines;

/* turns[layer] = how many layers come before it. */
static void spread(uint32_t *turns, uint32_t n_layers)
{
	uint32_t size = 1;
	while (size < n_layers)
		size *= 2;
	for (uint32_t i = 0, layer = 0, turn = 0; i < size; i++) {
		if (layer < n_layers)
			turns[layer] = turn++;
		uint32_t bit = size / 2; /* counts in reversed bits */
		for (; layer & bit; bit /= 2)
			layer ^= bit;
		layer ^= bit;
	}
}

/* Whole units of the line that lie before a fraction of its elements. Short units, if any, are at its end. */
static uint64_t line_cut(line l, double fraction)
{
	uint64_t n_full = (uint64_t)(l.size / l.grain) * l.n_layers;
	double full_end = (double)n_full * l.grain;
	double at = fraction * l.size * l.n_layers;
	if (at <= full_end || l.n_layers == 0)
		return (uint64_t)round(at / l.grain);
	return n_full + (uint64_t)round((at - full_end) / (l.size % l.grain));
}

/* Elements of one layer that lie before the cut: its unit u is unit u * n_layers + turn of the line. */
static uint32_t cut_in_layer(line l, uint64_t cut, uint32_t turn)
{
	uint64_t n_units = (cut + l.n_layers - 1 - turn) / l.n_layers;
	uint64_t end = n_units * l.grain;
	return end < l.size ? (uint32_t)end : l.size;
}

static evn_range range_in_layer(line l, uint64_t begin, uint64_t end, uint32_t turn)
{
	return (evn_range){cut_in_layer(l, begin, turn), cut_in_layer(l, end, turn)};
}

/* Where rank r's part of a line begins and ends. Shares need not sum to 1. A share of 0 cuts twice in the same place:
 * nothing of any kind. */
typedef struct {
	uint64_t begin, end;
} cut;

static cut cut_of(line l, const double *shares, uint32_t n, uint32_t r)
{
	double sum = 0, upto = 0;
	for (uint32_t i = 0; i < n; i++) {
		sum += shares[i];
		upto += i < r ? shares[i] : 0;
	}
	return (cut){line_cut(l, upto / sum), line_cut(l, (upto + shares[r]) / sum)};
}

static void cut_ranges(evn_split *split, const lines *l, const double *shares, const double *prompt_shares)
{
	const uint32_t n = split->n_ranks;
	for (uint32_t r = 0; r < n; r++) {
		const cut heads = cut_of(l->heads, shares, n, r), vocab = cut_of(l->vocab, shares, n, r);
		const cut ff[EVN_PHASES] = {cut_of(l->ff, shares, n, r), cut_of(l->ff, prompt_shares, n, r)};
		for (uint32_t i = 0; i < split->n_layers; i++) {
			evn_layer_split *y = &split->layers[(size_t)i * n + r];
			y->heads = range_in_layer(l->heads, heads.begin, heads.end, l->turns[i]);
			for (int phase = 0; phase < EVN_PHASES; phase++)
				y->ff[phase] = range_in_layer(l->ff, ff[phase].begin, ff[phase].end, l->turns[i]);
		}
		split->vocab[r] = range_in_layer(l->vocab, vocab.begin, vocab.end, 0);
	}
}

evn_range evn_ff_held(const evn_layer_split *l)
{
	evn_range a = l->ff[EVN_DECODE], b = l->ff[EVN_PROMPT];
	if (a.begin == a.end || b.begin == b.end)
		return a.begin == a.end ? b : a;
	return (evn_range){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

evn_range evn_kv_range(const evn_plan_shape *s, evn_range heads)
{
	uint32_t group = s->n_heads / s->n_kv_heads;
	uint32_t begin = heads.begin / group;
	if (heads.begin == heads.end)
		return (evn_range){begin, begin};
	return (evn_range){begin, (heads.end - 1) / group + 1};
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

/* Adds n * bytes; stays at UINT64_MAX where the sum would be more. */
static void add_bytes(uint64_t *sum, uint64_t n, uint64_t bytes)
{
	uint64_t product;
	if (!evn_mul_u64(n, bytes, &product) || !evn_add_u64(*sum, product, sum))
		*sum = UINT64_MAX;
}

uint64_t evn_plan_fixed_bytes(const evn_plan_shape *s, uint32_t n_ranks)
{
	uint64_t sum = s->fixed_bytes;
	add_bytes(&sum, n_ranks, s->peer_bytes);
	return sum;
}

uint64_t evn_split_bytes(const evn_plan_shape *s, const evn_split *split, uint32_t rank)
{
	uint64_t n_heads = 0, n_kv = 0, n_ff = 0, sum = evn_plan_fixed_bytes(s, split->n_ranks);
	for (uint32_t i = 0; i < split->n_layers; i++) {
		const evn_layer_split *l = &split->layers[(size_t)i * split->n_ranks + rank];
		n_heads += evn_range_len(l->heads);
		n_kv += evn_range_len(evn_kv_range(s, l->heads));
		n_ff += evn_range_len(evn_ff_held(l));
	}
	add_bytes(&sum, n_heads, s->head_bytes);
	add_bytes(&sum, n_kv, s->kv_head_bytes);
	add_bytes(&sum, n_kv, s->kv_cache_bytes);
	add_bytes(&sum, n_ff, s->ff_unit_bytes);
	add_bytes(&sum, evn_range_len(split->vocab[rank]), s->vocab_row_bytes);
	return sum;
}

/* Of the whole model held once, without what every rank holds. */
static uint64_t divisible_bytes(const evn_plan_shape *s)
{
	uint64_t n = s->n_layers, sum = 0;
	add_bytes(&sum, n * s->n_heads, s->head_bytes);
	add_bytes(&sum, n * s->n_kv_heads, s->kv_head_bytes);
	add_bytes(&sum, n * s->n_kv_heads, s->kv_cache_bytes);
	add_bytes(&sum, n * s->ff_dim, s->ff_unit_bytes);
	add_bytes(&sum, s->vocab, s->vocab_row_bytes);
	return sum;
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
		uint64_t bytes = evn_split_bytes(f->shape, split, r), fixed = fixed_bytes(f);
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
		add_bytes(&room, 1, f->memory[r] - fixed);
	}
	if (n_usable == 0)
		return evn_fail(err, EVN_ERR_LIMIT,
						"not enough device memory: %s are needed on each device beside its share of the model, and "
						"none may hold that much",
						in_words((double)fixed).text);
	double need = (double)divisible_bytes(f->shape);
	return evn_fail(
		err, EVN_ERR_LIMIT,
		"not enough device memory: weights and KV cache need %s, and %u %s may hold %s beside %s of scratch "
		"each: %s missing (a smaller context needs less)",
		in_words(need).text, n_usable, n_usable == 1 ? "device" : "devices", in_words((double)room).text,
		in_words((double)fixed).text, in_words(fmax(1, homeless * need)).text);
}

/* Water-filling: a rank over its limit is cut back to it, the rest flows to the others, until all fit. */
static evn_status fit(evn_split *split, const lines *l, fitting *f, evn_error *err)
{
	for (uint32_t r = 0; r < f->n_ranks; r++) {
		f->shares[r] = 0;
		f->capped[r] = f->memory[r] < fixed_bytes(f);
	}
	do {
		if (!share_rest(f))
			return does_not_fit(f, err);
		cut_ranges(split, l, f->shares, f->shares);
	} while (shrink_shares(f, split));
	return EVN_OK;
}

/* ---- the split --------------------------------------------------------------------------------------------- */

static evn_status check_shape(const evn_plan_shape *s, evn_error *err)
{
	bool layers = s->n_heads && s->n_kv_heads && s->ff_dim && s->ff_grain;
	if ((s->n_layers && !layers) || !s->vocab || !s->vocab_grain)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"cannot split a model with %u layers, %u heads, %u KV heads, %u feed-forward units in steps of %u, "
			"%u tokens in steps of %u: none may be 0",
			s->n_layers, s->n_heads, s->n_kv_heads, s->ff_dim, s->ff_grain, s->vocab, s->vocab_grain);
	if (s->n_layers && s->n_heads % s->n_kv_heads)
		return evn_fail(err, EVN_ERR_USAGE, "cannot split a model with %u heads: not a multiple of its %u KV heads",
						s->n_heads, s->n_kv_heads);
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
	double heads = (double)s->n_layers * s->n_heads,
		   ff = s->n_layers ? (double)s->n_layers * s->ff_dim / s->ff_grain : 0;
	return fmax(fmax(heads, ff), (double)s->vocab / s->vocab_grain);
}

/* Both layouts as asked for, if there is room. */
static bool fit_both(evn_split *split, const lines *l, const fitting *f, const double *prompt_weights)
{
	bool fits = true;
	cut_ranges(split, l, f->weights, prompt_weights);
	for (uint32_t r = 0; r < f->n_ranks; r++)
		fits &= evn_split_bytes(f->shape, split, r) <= f->memory[r];
	split->one_layout = !fits;
	return fits;
}

evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err)
{
	double weights[EVN_MAX_RANKS], prompt_weights[EVN_MAX_RANKS];
	*out = (evn_split){0};
	EVN_TRY(check_shape(s, err));
	EVN_TRY(check_shares(weights, n_ranks, shares, err));
	EVN_TRY(check_shares(prompt_weights, n_ranks, prompt_shares ? prompt_shares : shares, err));
	evn_split split = {.n_ranks = n_ranks, .n_layers = s->n_layers};
	split.layers = calloc((size_t)n_ranks * s->n_layers + 1, sizeof *split.layers); /* there may be none */
	uint32_t *turns = calloc((size_t)s->n_layers + 1, sizeof *turns);
	if (!split.layers || !turns) {
		free(split.layers);
		free(turns);
		return evn_fail_memory(err, "plan", (uint64_t)n_ranks * s->n_layers * sizeof *split.layers);
	}
	spread(turns, s->n_layers);

	fitting f = {.shape = s, .memory = memory, .weights = weights, .n_ranks = n_ranks, .step = 1 / most_units(s)};
	lines l = {{s->n_layers, s->n_heads, 1},
			   {s->n_layers, s->ff_dim, s->ff_grain ? s->ff_grain : 1},
			   {1, s->vocab, s->vocab_grain},
			   turns};
	bool differ = memcmp(weights, prompt_weights, n_ranks * sizeof *weights) != 0;
	evn_status status = differ && fit_both(&split, &l, &f, prompt_weights) ? EVN_OK : fit(&split, &l, &f, err);
	if (status == EVN_ERR_LIMIT && n_ranks > 1 &&
		s->n_layers) { /* whole groups: no KV head and its cache is held twice */
		l.heads.grain = s->n_heads / s->n_kv_heads;
		status = fit(&split, &l, &f, err);
	}
	free(turns);
	if (status != EVN_OK)
		evn_split_free(&split);
	*out = split;
	return status;
}

void evn_split_free(evn_split *split)
{
	if (!split)
		return;
	free(split->layers);
	*split = (evn_split){0};
}
