/* choose.c - chooses which devices take part, and in which layout. It splits the model over every subset and predicts
 * its speed. The fastest subset is taken. Every other candidate gets a reason with figures. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shares of one phase: the given ones, and the rates that automatic ones follow. */
typedef struct {
	double given[EVN_MAX_RANKS], rates[EVN_MAX_RANKS];
	const char *unit;
} sharing;

/* An automatic share has the same ratio to its rate as the given shares have to theirs. */
static evn_status share_per_rate(double *out, const sharing *s, uint32_t n, evn_error *err)
{
	double given = 0, rates = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (s->given[i] <= 0)
			continue;
		given += s->given[i];
		rates += s->rates[i];
	}
	*out = given > 0 ? given / rates : 1;
	if (!isfinite(*out) || *out <= 0)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"some shares are automatic, which needs measured rates, but there are none: give every share");
	return EVN_OK;
}

static evn_status share(double *shares, const sharing *s, const evn_plan_candidate *c, uint32_t n, evn_error *err)
{
	double per_rate = 0, sum = 0;
	bool automatic = false;
	for (uint32_t i = 0; i < n; i++) {
		bool is_auto = s->given[i] == EVN_SHARE_AUTO;
		automatic |= is_auto;
		if (!is_auto && (!isfinite(s->given[i]) || s->given[i] < 0))
			return evn_fail(err, EVN_ERR_USAGE, "share of device %s is %g: expected a number of at least 0", c[i].id,
							s->given[i]);
		if (is_auto && !(isfinite(s->rates[i]) && s->rates[i] > 0))
			return evn_fail(err, EVN_ERR_USAGE, "share of device %s is automatic, but its speed is not known (%g %s)",
							c[i].id, s->rates[i], s->unit);
	}
	if (automatic)
		EVN_TRY(share_per_rate(&per_rate, s, n, err));
	for (uint32_t i = 0; i < n; i++) {
		shares[i] = s->given[i] == EVN_SHARE_AUTO ? s->rates[i] * per_rate : s->given[i];
		sum += shares[i];
	}
	if (sum <= 0)
		return evn_fail(err, EVN_ERR_USAGE, "every device has a share of 0: at least one must have more");
	return EVN_OK;
}

evn_status evn_plan_shares(double *shares, double *prompt_shares, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err)
{
	sharing decode = {.unit = "GB/s"}, prompt = {.unit = "GFLOP/s"};
	bool known = true, automatic = false;
	for (uint32_t i = 0; i < n; i++) {
		decode.given[i] = c[i].share;
		decode.rates[i] = c[i].rates.gemv_gbs;
		prompt.given[i] = c[i].prompt_share == EVN_SHARE_AUTO ? c[i].share : c[i].prompt_share;
		prompt.rates[i] = c[i].rates.gemm_gflops;
		known &= isfinite(prompt.rates[i]) && prompt.rates[i] > 0;
		automatic |= prompt.given[i] == EVN_SHARE_AUTO;
	}
	EVN_TRY(share(shares, &decode, c, n, err));
	if (!prompt_shares)
		return EVN_OK;
	if (known || !automatic)
		return share(prompt_shares, &prompt, c, n, err);
	memcpy(prompt_shares, shares, n * sizeof *shares);
	return EVN_OK;
}

/* ---- subsets --------------------------------------------------------------------------------------------------- */

/* The state of the choice. A set of candidates is a bit mask. */
typedef struct {
	const evn_plan_shape *shape;
	const evn_plan_candidate *c;
	uint32_t n;
	evn_phase by;
	evn_reduce_cost cost; /* of an all-reduce between different candidates */
	uint32_t eligible;
	evn_prediction *predicted; /* [mask]; 0 tokens/s if the set is impossible */
} choosing;

#define NEAR_TIE 0.99 /* speeds closer than this are equal, and the other phase decides */
#define WORTH_IT 1.02 /* the gain over the best whole device that several ranks need */

static uint32_t count_bits(uint32_t mask)
{
	uint32_t n = 0;
	for (; mask; mask &= mask - 1)
		n++;
	return n;
}

static uint32_t count_ranks(const choosing *ch, uint32_t mask)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < ch->n; i++)
		n += mask >> i & 1 ? evn_plan_parts(&ch->c[i]) : 0;
	return n;
}

bool evn_plan_excludes(const evn_plan_candidate *a, const evn_plan_candidate *b)
{
	return evn_same_device(a, b) || (a->chip >= 0 && a->chip == b->chip && a->driver != b->driver);
}

static bool is_allowed(const choosing *ch, uint32_t mask)
{
	if ((mask & ~ch->eligible) || count_ranks(ch, mask) > EVN_MAX_RANKS)
		return false;
	for (uint32_t i = 0; i < ch->n; i++)
		for (uint32_t j = i + 1; j < ch->n; j++)
			if ((mask >> i & 1) && (mask >> j & 1) && evn_plan_excludes(&ch->c[i], &ch->c[j]))
				return false;
	return true;
}

/* The cost between candidates was measured with all of them or is not known yet. The cost between the parts of one
 * candidate has been measured. */
static evn_reduce_cost cost_of(const choosing *ch, uint32_t mask)
{
	evn_reduce_cost cost = count_bits(mask) > 1 ? ch->cost : (evn_reduce_cost){0};
	for (uint32_t i = 0; i < ch->n; i++)
		if ((mask >> i & 1) && evn_plan_parts(&ch->c[i]) > 1) {
			cost.token_us = fmax(cost.token_us, ch->c[i].reduce_cost.token_us);
			cost.prompt_us = fmax(cost.prompt_us, ch->c[i].reduce_cost.prompt_us);
		}
	return cost;
}

/* If a rank's part is empty, the set is really a smaller one. Its speed stays 0. */
static evn_status evaluate(const choosing *ch, uint32_t mask, evn_prediction *out, evn_error *err)
{
	evn_plan_candidate members[EVN_MAX_RANKS];
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	uint32_t n = 0;
	bool all_work = true;
	evn_split split;
	*out = (evn_prediction){0};
	for (uint32_t i = 0; i < ch->n; i++)
		for (uint32_t part = 0; (mask >> i & 1) && part < evn_plan_parts(&ch->c[i]); part++)
			members[n++] = ch->c[i];
	EVN_TRY(evn_plan_shares(shares, prompt_shares, members, n, err));
	evn_plan_memory(memory, ch->shape, members, shares, n);
	EVN_TRY(evn_split_make(&split, ch->shape, n, shares, prompt_shares, memory, err));
	for (uint32_t r = 0; r < n; r++)
		all_work &= evn_split_bytes(&split, r) > evn_plan_fixed_bytes(ch->shape, n);
	if (all_work)
		*out = evn_predict(&split, members, cost_of(ch, mask));
	evn_split_free(&split);
	return EVN_OK;
}

static evn_status evaluate_all(choosing *ch, evn_error *err)
{
	for (uint32_t mask = 1; mask < 1u << ch->n; mask++) {
		if (!is_allowed(ch, mask))
			continue;
		evn_status status = evaluate(ch, mask, &ch->predicted[mask], err);
		if (status != EVN_OK && status != EVN_ERR_LIMIT)
			return status;
	}
	return EVN_OK;
}

/* The predicted tokens/s of the phase that decides; other_speed is that of the other phase. */
static double speed(const choosing *ch, const evn_prediction *p)
{
	return ch->by == EVN_DECODE ? p->decode_tok_s : p->prefill_tok_s;
}

static double other_speed(const choosing *ch, const evn_prediction *p)
{
	return ch->by == EVN_DECODE ? p->prefill_tok_s : p->decode_tok_s;
}

/* The best set of one rank, or of several. 0 if none can hold the model. Of equal sets, the one with fewer ranks is
 * better, then the first one. */
static uint32_t best_set(const choosing *ch, bool several)
{
	uint32_t best = 0;
	double fastest = 0;
	for (uint32_t mask = 1; mask < 1u << ch->n; mask++)
		if ((count_ranks(ch, mask) > 1) == several)
			fastest = fmax(fastest, speed(ch, &ch->predicted[mask]));
	for (uint32_t mask = 1; mask < 1u << ch->n && fastest > 0; mask++) {
		const evn_prediction *p = &ch->predicted[mask], *b = &ch->predicted[best];
		if ((count_ranks(ch, mask) > 1) != several || speed(ch, p) < fastest * NEAR_TIE)
			continue;
		bool smaller = other_speed(ch, p) >= other_speed(ch, b) && count_ranks(ch, mask) < count_ranks(ch, best);
		if (!best || other_speed(ch, p) > other_speed(ch, b) || smaller)
			best = mask;
	}
	return best;
}

/* No set can be used. The error says what the set with the most memory lacks. */
static evn_status nothing_fits(const choosing *ch, evn_error *err)
{
	uint32_t largest = 0;
	double most = -1;
	evn_prediction p;
	for (uint32_t mask = 1; mask < 1u << ch->n; mask++) {
		double sum = 0;
		for (uint32_t i = 0; i < ch->n; i++)
			sum += mask >> i & 1 ? (double)ch->c[i].memory_bytes * evn_plan_parts(&ch->c[i]) : 0;
		if (is_allowed(ch, mask) && sum > most) {
			most = sum;
			largest = mask;
		}
	}
	EVN_TRY(evaluate(ch, largest, &p, err));
	return evn_fail(err, EVN_ERR_LIMIT,
					"%u ranks cannot share the model: one would have no part of it, or a speed is not known",
					count_ranks(ch, largest));
}

/* ---- reasons --------------------------------------------------------------------------------------------------- */

typedef char reason_text[256];

static const char *const verbs[EVN_PHASES] = {[EVN_DECODE] = "decode", [EVN_PROMPT] = "compute prompts"};
static const char *const nouns[EVN_PHASES] = {[EVN_DECODE] = "decoding", [EVN_PROMPT] = "prompts"};

/* The set that takes candidate i instead of all candidates that exclude it. */
static uint32_t swap(const choosing *ch, uint32_t taken, uint32_t i)
{
	uint32_t swapped = taken | 1u << i;
	for (uint32_t j = 0; j < ch->n; j++)
		if (j != i && evn_plan_excludes(&ch->c[i], &ch->c[j]))
			swapped &= ~(1u << j);
	return swapped;
}

/* The reason for i if another layout of its device is taken. */
static void explain_layout(reason_text out, const choosing *ch, uint32_t taken, uint32_t i, uint32_t other)
{
	const evn_prediction *with = &ch->predicted[swap(ch, taken, i)], *without = &ch->predicted[taken];
	const char *name = ch->c[other].name;
	const char *layout = evn_plan_parts(&ch->c[i]) > 1 ? "in parts" : "whole";
	if (speed(ch, with) <= 0)
		snprintf(out, sizeof(reason_text), "%s it cannot hold its part of the model, as %s it can", layout, name);
	else if (speed(ch, with) < speed(ch, without))
		snprintf(out, sizeof(reason_text), "%s it would %s slower: %.1f tokens/s, %.1f as %s", layout, verbs[ch->by],
				 speed(ch, with), speed(ch, without), name);
	else
		snprintf(out, sizeof(reason_text), "%s it would %s as fast, but not %s: %.1f tokens/s, %.1f as %s", layout,
				 verbs[ch->by], verbs[!ch->by], other_speed(ch, with), other_speed(ch, without), name);
}

static void explain_driver(reason_text out, const choosing *ch, uint32_t taken, uint32_t i, uint32_t other)
{
	const evn_prediction *mine = &ch->predicted[1u << i], *its = &ch->predicted[1u << other];
	uint32_t swapped = swap(ch, taken, i);
	const char *name = ch->c[other].name;
	if (speed(ch, mine) < speed(ch, its))
		snprintf(out, sizeof(reason_text), "same chip as %s, which is faster: %.1f against %.1f tokens/s alone", name,
				 speed(ch, its), speed(ch, mine));
	else if (speed(ch, &ch->predicted[swapped]) < speed(ch, &ch->predicted[taken]))
		snprintf(out, sizeof(reason_text),
				 "same chip as %s, with which the set is faster: %.1f against %.1f tokens/s", name,
				 speed(ch, &ch->predicted[taken]), speed(ch, &ch->predicted[swapped]));
	else
		snprintf(out, sizeof(reason_text),
				 "same chip as %s, which would %s as fast, and %s not slower: %.1f against %.1f tokens/s", name,
				 verbs[ch->by], verbs[!ch->by], other_speed(ch, &ch->predicted[taken]),
				 other_speed(ch, &ch->predicted[swapped]));
}

/* The reason for i if it excludes a candidate that is taken. */
static void explain_excluded(reason_text out, const choosing *ch, uint32_t taken, uint32_t i, uint32_t other)
{
	uint32_t swapped = swap(ch, taken, i);
	double with = speed(ch, &ch->predicted[swapped]), without = speed(ch, &ch->predicted[taken]);
	if (with > without && count_ranks(ch, taken) == 1 && count_ranks(ch, swapped) > 1)
		snprintf(out, sizeof(reason_text),
				 "would gain less than the 2 %% that several ranks must: %.1f tokens/s, %.1f with %s alone", with,
				 without, ch->c[other].name);
	else if (evn_same_device(&ch->c[i], &ch->c[other]))
		explain_layout(out, ch, taken, i, other);
	else
		explain_driver(out, ch, taken, i, other);
}

/* The reason for i if it could have joined the set. */
static void explain_loser(reason_text out, const choosing *ch, uint32_t taken, uint32_t i)
{
	const char *name = ch->c[i].name;
	const evn_prediction *without = &ch->predicted[taken], *with = &ch->predicted[taken | 1u << i];
	evn_prediction alone;
	evn_error err = {0};
	if (ch->c[i].memory_bytes < evn_plan_fixed_bytes(ch->shape, evn_plan_parts(&ch->c[i])) &&
		evaluate(ch, 1u << i, &alone, &err) != EVN_OK)
		snprintf(out, sizeof(reason_text), "%.*s", (int)sizeof(reason_text) - 1, err.text);
	else if (speed(ch, with) <= 0)
		snprintf(out, sizeof(reason_text), "%s is too slow beside the others: no whole part of the model falls to it",
				 name);
	else if (speed(ch, with) < speed(ch, without))
		snprintf(out, sizeof(reason_text), "%s would make %s slower: %.1f tokens/s with it, %.1f without", name,
				 nouns[ch->by], speed(ch, with), speed(ch, without));
	else if (count_bits(taken) > 1)
		snprintf(out, sizeof(reason_text), "%s would make %s slower: %.1f tokens/s with it, %.1f without", name,
				 nouns[!ch->by], other_speed(ch, with), other_speed(ch, without));
	else
		snprintf(out, sizeof(reason_text),
				 "%s would gain less than the 2 %% that several devices must: %.1f tokens/s with it, %.1f without",
				 name, speed(ch, with), speed(ch, without));
}

static void explain(reason_text out, const choosing *ch, uint32_t taken, uint32_t i)
{
	if (!(ch->eligible >> i & 1)) {
		snprintf(out, sizeof(reason_text), "%s",
				 ch->c[i].share == 0 ? "given a share of 0" : "its speed is not known");
		return;
	}
	for (uint32_t j = 0; j < ch->n; j++)
		if ((taken >> j & 1) && evn_plan_excludes(&ch->c[i], &ch->c[j])) {
			explain_excluded(out, ch, taken, i, j);
			return;
		}
	if (count_ranks(ch, taken | 1u << i) > EVN_MAX_RANKS)
		snprintf(out, sizeof(reason_text), "at most %d devices take part, and those taken are faster", EVN_MAX_RANKS);
	else
		explain_loser(out, ch, taken, i);
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

static bool is_rate(double rate) { return isfinite(rate) && rate > 0; }

static uint32_t index_of(uint32_t mask)
{
	uint32_t i = 0;
	while (!(mask >> i & 1))
		i++;
	return i;
}

static evn_status choose(evn_choice *out, choosing *ch, evn_error *err)
{
	EVN_TRY(evaluate_all(ch, err));
	uint32_t single = best_set(ch, false), several = best_set(ch, true);
	if (!single && !several)
		return nothing_fits(ch, err);
	bool gains = speed(ch, &ch->predicted[several]) > speed(ch, &ch->predicted[single]) * WORTH_IT;
	uint32_t taken = gains ? several : single;
	for (uint32_t i = 0; i < ch->n; i++) {
		out->taken[i] = taken >> i & 1;
		if (!out->taken[i])
			explain(out->reason[i], ch, taken, i);
	}
	out->predicted = ch->predicted[taken];
	out->best_single = index_of(single ? single : taken);
	out->best_single_predicted = ch->predicted[single];
	return EVN_OK;
}

evn_status evn_plan_choose(evn_choice *out, const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n,
						   evn_phase by, evn_reduce_cost cost, evn_error *err)
{
	*out = (evn_choice){0};
	if (n < 1 || n > EVN_MAX_CANDIDATES)
		return evn_fail(err, EVN_ERR_USAGE, "cannot choose among %u devices: expected 1 to %d", n,
						EVN_MAX_CANDIDATES);
	choosing ch = {.shape = s, .c = c, .n = n, .by = by, .cost = cost};
	for (uint32_t i = 0; i < n; i++)
		if (c[i].share != 0 && is_rate(c[i].rates.gemv_gbs) && is_rate(c[i].rates.gemm_gflops))
			ch.eligible |= 1u << i;
	if (!ch.eligible)
		return evn_fail(err, EVN_ERR_USAGE, "none of %u devices can take part: every share is 0 or no speed is known",
						n);
	ch.predicted = calloc((size_t)1 << n, sizeof *ch.predicted); /* [0] is the empty set: 0 tokens/s */
	if (!ch.predicted)
		return evn_fail_memory(err, "plan", (uint64_t)sizeof *ch.predicted << n);
	evn_status status = choose(out, &ch, err);
	free(ch.predicted);
	return status;
}
