#include "engine/ways.h"

#include <math.h>
#include <string.h>

#include "engine/move.h"

#define LEAST_GAIN 0.07 /* of a step's time: a smaller one may be noise */
#define IDLE 0.15       /* of a step, in which even the busiest rank does not work: the reduction may be slow */
#define HORIZON_S 20.0  /* a move must pay for itself within so much computing */
#define LOAD_GBS 0.5    /* reading weights from a file */
#define NO_SPEED 1e-9   /* the speed of a rank that should get nothing, beside its own */
/* Times the fastest rank: a slower one keeps the share of this, so that it is still observed. */
#define SLOWEST 10.0

/* The ranks as they seem to be now. */
static void correct(const evn_rebalance *r, const evn_engine *e, evn_plan_candidate *ranks)
{
	memcpy(ranks, e->prepared.ranks, e->n_ranks * sizeof *ranks);
	for (evn_phase p = 0; p < EVN_PHASES; p++) {
		double least = INFINITY;
		for (uint32_t i = 0; i < e->n_ranks; i++)
			least = fmin(least, r->slow[p][i]);
		for (uint32_t i = 0; i < e->n_ranks; i++)
			evn_rates_speed_up(&ranks[i].rates, p, 1 / fmin(r->slow[p][i], SLOWEST * least));
	}
}

/* The best split for ranks of these speeds. Ranks go on holding what they can, because to use it again costs nothing.
 */
static evn_status best_split(const evn_engine *e, const evn_plan_candidate *ranks, evn_split *out, evn_error *err)
{
	evn_prepared p = e->prepared;
	memcpy(p.ranks, ranks, e->n_ranks * sizeof *ranks);
	p.split = (evn_split){0};
	const evn_status s = evn_prepare_split(&p, err);
	*out = p.split;
	for (uint32_t i = 0; s == EVN_OK && i < e->n_ranks; i++) {
		evn_split_keep_held(out, &e->prepared.split, i);
		if (evn_split_bytes(out, i) > ranks[i].memory_bytes)
			evn_split_keep_held(out, NULL, i);
	}
	for (uint32_t i = 0; s == EVN_OK && i < e->n_ranks && evn_plan_host_is_full(out, ranks); i++)
		evn_split_keep_held(out, NULL, i);
	return s;
}

static double step_s(const evn_split *split, const evn_plan_candidate *ranks, evn_phase phase, evn_reduce_cost cost)
{
	const evn_prediction p = evn_predict(split, ranks, cost);
	return phase == EVN_DECODE ? 1 / p.decode_tok_s : EVN_PLAN_PROMPT / p.prefill_tok_s;
}

/* ---- the ways that are worth a trial -----------------------------------------------------------------------------
 */

uint32_t evn_ways_slowest(const evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	uint32_t slow = evn_comm_first(e->comm);
	for (uint32_t i = slow + 1; i < e->n_ranks; i++)
		if (evn_comm_takes_part(e->comm, i) && r->slow[phase][i] > r->slow[phase][slow])
			slow = i;
	return slow;
}

static bool all_take_part(const evn_engine *e)
{
	bool all = true;
	for (uint32_t i = 0; i < e->n_ranks; i++)
		all &= evn_comm_takes_part(e->comm, i);
	return all;
}

/* Makes the best split for the speeds as they seem now. True if it is worth a trial. */
static bool find_best(evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	evn_plan_candidate ranks[EVN_MAX_RANKS];
	evn_reduce_cost cost;
	evn_profile_reduce(&e->prepared.profile, e->options.reduce, &cost);
	correct(r, e, ranks);
	evn_split_free(&r->splits[BEST]);
	if (best_split(e, ranks, &r->splits[BEST], NULL) != EVN_OK)
		return false;
	const double now_s = step_s(&e->prepared.split, ranks, phase, cost),
				 next_s = step_s(&r->splits[BEST], ranks, phase, cost);
	const double move_s = (double)evn_move_bytes(e, &r->splits[BEST]) * 1e-9 / LOAD_GBS;
	r->promised = 1 - next_s / now_s;
	return r->promised >= LEAST_GAIN && r->promised * HORIZON_S >= move_s;
}

/* Makes a split in which the slowest rank has no part. False if the others cannot hold the model, or if loading it
 * takes too long. */
static bool find_without_slowest(evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	const uint32_t without = evn_ways_slowest(r, e, phase);
	evn_plan_candidate ranks[EVN_MAX_RANKS];
	correct(r, e, ranks);
	for (uint32_t i = 0; i < e->n_ranks; i++)
		for (evn_phase p = 0; p < EVN_PHASES; p++)
			if (i == without || !evn_comm_takes_part(e->comm, i))
				evn_rates_speed_up(&ranks[i].rates, p, NO_SPEED);
	evn_split_free(&r->splits[WITHOUT_SLOWEST]);
	if (best_split(e, ranks, &r->splits[WITHOUT_SLOWEST], NULL) != EVN_OK)
		return false;
	const uint64_t workers = evn_split_workers(&r->splits[WITHOUT_SLOWEST]);
	const double move_s = (double)evn_move_bytes(e, &r->splits[WITHOUT_SLOWEST]) * 1e-9 / LOAD_GBS;
	return workers && !(workers >> without & 1) && move_s < HORIZON_S * LEAST_GAIN;
}

static void add_way(evn_rebalance *r, evn_way_shares shares, bool flags)
{
	r->ways[r->n_ways++] = (evn_way){.shares = shares, .flags = flags};
}

static bool is_time(const evn_patience *p) { return evn_now_s() >= p->until_s; }

/* The ways that are worth a trial, behind the present one.
 * - If even the busiest rank is idle for much of a step, sums are slow. Then flags may be better, and were not chosen
 *   because the machine was busy when it was measured.
 * - If steps take much longer than they did, another program may take time slices of a rank. Ranks that spin for
 * flags then lose most, because the system counts spinning as work. Other shares help little, but other methods do,
 * or one rank less. The way back is tried when the ranks seem to be faster again. */
void evn_ways_find(evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	const bool flags = evn_comm_uses_flags(e->comm), slowed = r->slowed > SLOWED && is_time(&r->when_slowed);
	const bool slow_sum = !flags && !r->away && evn_comm_has_flags(e->comm) && phase == EVN_DECODE && r->idle > IDLE;
	r->n_ways = 0;
	r->promised = 0;
	add_way(r, AS_THEY_WERE, flags);
	if (slowed && flags)
		add_way(r, AS_THEY_WERE, false);
	if (slowed && r->moves_shares && find_without_slowest(r, e, phase))
		add_way(r, WITHOUT_SLOWEST, flags);
	if (r->n_ways == 1 && r->moves_shares && is_time(&r->other_shares) && all_take_part(e) && find_best(r, e, phase))
		add_way(r, BEST, flags);
	if (slow_sum && is_time(&r->to_flags))
		add_way(r, AS_THEY_WERE, true);
	if (r->away && (r->faster || is_time(&r->home)))
		add_way(r, HOME, r->home_flags);
}
