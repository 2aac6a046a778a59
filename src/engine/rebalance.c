#include "engine/rebalance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/move.h"

#define WINDOW_S 0.12   /* seconds of steps that are looked at together */
#define WINDOW_STEPS 6  /* and at least so many steps that decode */
#define WINDOWS 3       /* in a row that must call for a change */
#define LEAST_GAIN 0.07 /* of a step's time: a smaller one may be noise */
#define CLEAR_GAIN 0.03 /* that a change must bring to stay */
#define IDLE 0.15       /* of a step, in which even the busiest rank does not work: the reduction may be slow */
#define HORIZON_S 20.0  /* a move must pay for itself within so much computing */
#define LOAD_GBS 0.5    /* reading weights from a file */
#define MOVE_S 0.03     /* of moving before a step; one block may take longer */
#define SLOWEST                                                                                                      \
	10.0 /* times the fastest rank: a slower one keeps the share of this, so that it is still observed               \
		  */
#define FIRST_PAUSE_S 1.0 /* from one change to the next */
#define LONGEST_PAUSE_S 120.0

/* Steps of one phase, one after the other. */
typedef struct {
	uint32_t n_steps;
	double wall_s, busy_s[EVN_MAX_RANKS], predicted_s[EVN_MAX_RANKS];
} window;

/* A way to compute: with the shares as they were or with other ones, and by flags or not. */
typedef struct {
	bool other_shares, flags;
	double step_s; /* measured; 0: not yet */
} way;

#define MOST_WAYS 3u

struct evn_rebalance {
	bool moves_shares;
	window windows[EVN_PHASES];
	double slow[EVN_PHASES][EVN_MAX_RANKS];      /* how many times longer than predicted a rank works */
	double idle;                                 /* of the last window */
	uint32_t calls;                              /* windows in a row that called for a change */
	double steps_s[WINDOWS];                     /* the mean step of the last windows */
	double pause_s, quiet_until_s;               /* of all trials */
	double method_pause_s, method_quiet_until_s; /* of other methods of reducing */
	/* While ways are tried, each for a window: the first is how it was. */
	uint32_t n_ways, tried;
	way ways[MOST_WAYS];
	bool tries, settles; /* settles: the best way is being taken */
	evn_phase phase;
	double promised;     /* the part of a step's time that other shares should win */
	evn_split splits[2]; /* as it was, and the other shares; a move makes the engine's split equal to one of them */
	const evn_split *target; /* NULL: nothing moves */
	uint32_t next_block;
};

evn_status evn_rebalance_create(evn_rebalance **out, const evn_engine *e, evn_error *err)
{
	*out = NULL;
	bool moves_shares = e->options.rebalance;
	if (moves_shares && e->prepared.graph->has_states)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"rebalance: shares of a model with states do not move, expected off");
	if (moves_shares && e->prepared.graph->shares_keys)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"rebalance: shares of a model whose layers share keys and values do not move, expected off");
	for (uint32_t i = 0; i < e->prepared.n; i++)
		moves_shares &= e->prepared.ranks[i].share < 0 && e->prepared.ranks[i].prompt_share < 0;
	if (e->prepared.n < 2 || !(moves_shares || evn_comm_has_flags(e->comm)))
		return EVN_OK;
	evn_rebalance *r = *out = calloc(1, sizeof *r);
	if (!r)
		return evn_fail_memory(err, "balance of shares", sizeof *r);
	r->moves_shares = moves_shares;
	r->pause_s = r->method_pause_s = FIRST_PAUSE_S;
	for (uint32_t i = 0; i < e->prepared.n; i++)
		r->slow[EVN_DECODE][i] = r->slow[EVN_PROMPT][i] = 1;
	return EVN_OK;
}

void evn_rebalance_free(evn_rebalance *r)
{
	if (!r)
		return;
	evn_split_free(&r->splits[0]);
	evn_split_free(&r->splits[1]);
	free(r);
}

/* ---- the decision ------------------------------------------------------------------------------------------------
 */

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

static void explain(const evn_rebalance *r, const evn_engine *e, char *out, size_t size)
{
	uint32_t fast = 0, slow = 0;
	const double *times = r->slow[r->phase];
	for (uint32_t i = 1; i < e->n_ranks; i++) {
		fast = times[i] < times[fast] ? i : fast;
		slow = times[i] > times[slow] ? i : slow;
	}
	if (r->ways[r->tried].other_shares)
		snprintf(out, size, "beside %s, %s was %.2f times slower than measured", evn_device_id(e->ranks[fast].device),
				 evn_device_id(e->ranks[slow].device), times[slow] / times[fast]);
	else
		snprintf(out, size, "even the busiest rank was idle for %.0f %% of a step", 100 * r->idle);
}

static void add_way(evn_rebalance *r, bool other_shares, bool flags)
{
	r->ways[r->n_ways++] = (way){.other_shares = other_shares, .flags = flags};
}

/* Makes splits[1] the best split for the speeds as they seem now. True if it is worth a trial. */
static bool find_shares(evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	evn_plan_candidate ranks[EVN_MAX_RANKS];
	evn_reduce_cost cost;
	evn_profile_reduce(&e->prepared.profile, e->options.reduce, &cost);
	correct(r, e, ranks);
	evn_split_free(&r->splits[1]);
	if (best_split(e, ranks, &r->splits[1], NULL) != EVN_OK)
		return false;
	const double now_s = step_s(&e->prepared.split, ranks, phase, cost),
				 next_s = step_s(&r->splits[1], ranks, phase, cost);
	const double move_s = (double)evn_move_bytes(e, &r->splits[1]) * 1e-9 / LOAD_GBS;
	r->promised = 1 - next_s / now_s;
	return r->promised >= LEAST_GAIN && r->promised * HORIZON_S >= move_s;
}

/* The ways that are worth a trial, behind the present one. If even the busiest rank is idle for much of a step, sums
 * are slow. Then flags may be better, and were not chosen because the machine was busy when it was measured. Away
 * from flags leads the step's own watch (step.c). */
static void find_ways(evn_rebalance *r, const evn_engine *e, evn_phase phase)
{
	const bool flags = evn_comm_uses_flags(e->comm);
	const bool slow_sum = !flags && evn_comm_has_flags(e->comm) && phase == EVN_DECODE && r->idle > IDLE &&
						  evn_now_s() > r->method_quiet_until_s;
	r->n_ways = 0;
	r->promised = 0;
	add_way(r, false, flags);
	if (r->moves_shares && find_shares(r, e, phase))
		add_way(r, true, flags);
	if (slow_sum)
		add_way(r, false, true);
}

/* ---- trials ------------------------------------------------------------------------------------------------------
 */

/* Takes the way. Shares move before the next steps. False if it is no other one. */
static bool take_way(evn_rebalance *r, evn_engine *e, const way *w)
{
	bool changes = evn_comm_use_flags(e->comm, w->flags);
	const evn_split *to = &r->splits[w->other_shares];
	for (uint32_t i = 0; i < evn_n_movable(e); i++)
		if (evn_move_changes(e, to, i)) {
			r->target = to;
			r->next_block = 0;
			return true;
		}
	return changes;
}

/* After trials in vain the next ones wait longer. */
static void set_pauses(evn_rebalance *r, uint32_t best)
{
	const bool shares = r->n_ways > 1 && r->ways[1].other_shares;
	const bool method = r->ways[r->n_ways - 1].flags && !r->ways[0].flags;
	if (shares)
		r->pause_s = r->ways[best].other_shares ? FIRST_PAUSE_S : fmin(4 * r->pause_s, LONGEST_PAUSE_S);
	if (method)
		r->method_pause_s = fmin(4 * r->method_pause_s, LONGEST_PAUSE_S);
	r->quiet_until_s = evn_now_s() + r->pause_s;
	if (method)
		r->method_quiet_until_s = evn_now_s() + r->method_pause_s;
}

/* Goes on to the next way that is another one; behind the last, to the best. */
static void go_on(evn_rebalance *r, evn_engine *e)
{
	uint32_t best = 0;
	while (++r->tried < r->n_ways)
		if (take_way(r, e, &r->ways[r->tried]))
			return;
	for (uint32_t i = 1; i < r->n_ways; i++) {
		const bool pays = r->ways[i].step_s > 0 && r->ways[i].step_s < r->ways[0].step_s * (1 - CLEAR_GAIN);
		if (pays && (!best || r->ways[i].step_s < r->ways[best].step_s))
			best = i;
	}
	r->tries = false;
	r->settles = true;
	set_pauses(r, best);
	take_way(r, e, &r->ways[best]);
	r->tried = best;
}

static void begin_trials(evn_rebalance *r, evn_engine *e, evn_phase phase, double step)
{
	r->calls = 0;
	evn_split_free(&r->splits[0]);
	if (evn_split_copy(&r->splits[0], &e->prepared.split, NULL) != EVN_OK)
		return;
	for (uint32_t i = 0; r->ways[1].other_shares && i < e->n_ranks; i++) /* so that the way back costs nothing */
		evn_split_keep_held(&r->splits[0], &r->splits[1], i);
	r->tries = true;
	r->phase = phase;
	r->tried = 0;
	r->ways[0].step_s = step;
	go_on(r, e);
}

/* A way that brings at least half of what was promised is taken at once. */
static void note_trial(evn_rebalance *r, evn_engine *e, double step)
{
	way *w = &r->ways[r->tried];
	w->step_s = step;
	evn_log(EVN_LOG_DEBUG, "rebalance: a step takes %.2f ms by way %u, before %.2f ms; %.0f %% less were predicted",
			step * 1e3, r->tried, r->ways[0].step_s * 1e3, 100 * r->promised);
	if (w->other_shares && step < r->ways[0].step_s * (1 - r->promised / 2))
		r->n_ways = r->tried + 1;
	go_on(r, e);
}

/* The factor of each rank follows what the window shows, by half: one window is noisy. What changes a rank's speed in
 * one phase mostly does so in the other. */
static void learn(evn_rebalance *r, const evn_engine *e, evn_phase phase, const window *w)
{
	const evn_phase other = phase == EVN_DECODE ? EVN_PROMPT : EVN_DECODE;
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		if (!(w->predicted_s[i] > 0) || !(w->busy_s[i] > 0))
			continue;
		const double before = r->slow[phase][i], seen = w->busy_s[i] / w->predicted_s[i];
		r->slow[phase][i] = sqrt(before * seen);
		r->slow[other][i] *= r->slow[phase][i] / before;
	}
}

/* Of the rank that works most. */
static double idle_part(const window *w, uint32_t n_ranks)
{
	double most = 0;
	for (uint32_t i = 0; i < n_ranks; i++)
		most = fmax(most, w->busy_s[i]);
	return 1 - most / w->wall_s;
}

static void end_window(evn_rebalance *r, evn_engine *e, evn_phase phase)
{
	const window w = r->windows[phase];
	const double step = w.wall_s / w.n_steps;
	r->windows[phase] = (window){0};
	learn(r, e, phase, &w);
	if (!r->tries)
		r->idle = idle_part(&w, e->n_ranks);
	if (r->tries) {
		if (phase == r->phase)
			note_trial(r, e, step);
		return;
	}
	if (evn_now_s() < r->quiet_until_s)
		return;
	find_ways(r, e, phase);
	if (r->n_ways <= 1) {
		r->calls = 0;
		return;
	}
	r->steps_s[r->calls++ % WINDOWS] = step;
	if (r->calls < WINDOWS)
		return;
	begin_trials(r, e, phase, evn_median(r->steps_s, WINDOWS)); /* which orders them; they are not needed again */
}

/* ---- steps -------------------------------------------------------------------------------------------------------
 */

/* The rows of a batch as the plan sees them. False if it has rows of both phases, or several prompts. */
static bool plan_step(const evn_batch *b, evn_plan_step *out)
{
	const evn_span *first = &b->spans[0], *last = &b->spans[b->n_spans - 1];
	uint64_t positions = 0;
	if (first->phase != last->phase || (first->phase == EVN_PROMPT && b->n_spans > 1))
		return false;
	for (uint32_t i = 0; i < b->n_spans; i++)
		positions += b->spans[i].position;
	*out = (evn_plan_step){first->phase, b->n_rows, (uint32_t)(positions / b->n_spans)};
	return true;
}

void evn_rebalance_after_step(evn_rebalance *r, evn_engine *e, const evn_step_seen *seen)
{
	evn_plan_step step;
	if (!r || r->target || !plan_step(seen->batch, &step))
		return;
	window *w = &r->windows[step.phase];
	w->n_steps++;
	w->wall_s += seen->wall_s;
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		w->busy_s[i] += (double)(evn_comm_rank_times(e->comm, i).busy_ns - seen->before[i].busy_ns) * 1e-9;
		w->predicted_s[i] +=
			evn_predict_rank_s(&e->prepared.split, i, &e->prepared.ranks[i].rates, step, seen->batch->n_out > 0);
	}
	if (w->wall_s >= WINDOW_S && (step.phase == EVN_PROMPT || w->n_steps >= WINDOW_STEPS))
		end_window(r, e, step.phase);
}

static void tell(const evn_rebalance *r, evn_engine *e)
{
	char shares[128], reason[200];
	size_t used = 0;
	for (uint32_t i = 0; i < e->n_ranks && used < sizeof shares; i++)
		used += (size_t)snprintf(shares + used, sizeof shares - used, "%s%.1f", i ? " / " : "", 100 * e->shares[i]);
	explain(r, e, reason, sizeof reason);
	evn_engine_note(e, EVN_LOG_INFO, "shares are now %s %%, short sums by %s: %s; a step took %.2f ms, now %.2f ms",
					shares, evn_reduce_name(evn_comm_reduce(e->comm)), reason, r->ways[0].step_s * 1e3,
					r->ways[r->tried].step_s * 1e3);
}

/* A move that fails leaves every block whole. If no device is at fault, everything stays as it is. */
static evn_status fail_move(evn_rebalance *r, evn_engine *e, const evn_error *why, evn_error *err)
{
	r->target = NULL;
	r->tries = r->settles = false;
	r->quiet_until_s = INFINITY;
	evn_engine_note(e, EVN_LOG_WARN, "shares stay as they are: %.200s", why->text);
	if (evn_team_abandoned(e->team) || why->code == EVN_ERR_DEVICE)
		return evn_fail(err, EVN_ERR_DEVICE, "%s", why->text);
	return EVN_OK;
}

static void end_move(evn_rebalance *r, evn_engine *e)
{
	for (uint32_t i = 0; i < e->n_ranks; i++)
		e->shares[i] = evn_split_share(&e->prepared.split, i, EVN_DECODE);
	r->target = NULL;
}

static void settle(evn_rebalance *r, evn_engine *e)
{
	r->settles = false;
	if (!r->tried)
		return;
	tell(r, e);
	if (r->ways[r->tried].flags && !r->ways[0].flags)
		evn_doubt_plan(e, "flags were not chosen, but are faster");
}

evn_status evn_rebalance_before_step(evn_rebalance *r, evn_engine *e, evn_error *err)
{
	if (!r)
		return EVN_OK;
	const double began = evn_now_s();
	evn_error why = {0};
	while (r->target && evn_now_s() - began < MOVE_S) {
		if (evn_engine_move(e, r->target, r->next_block, &why) != EVN_OK)
			return fail_move(r, e, &why, err);
		if (++r->next_block == evn_n_movable(e))
			end_move(r, e);
	}
	if (!r->target && r->settles)
		settle(r, e);
	return EVN_OK;
}
