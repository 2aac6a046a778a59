#include "engine/rebalance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/move.h"
#include "engine/ways.h"

#define WINDOW_S 0.12    /* seconds of steps that are looked at together */
#define WINDOW_STEPS 6   /* and at least so many steps that decode */
#define SLOWED_WINDOWS 2 /* in a row are enough if steps are slowed */
#define PATIENCE_STEPS 8 /* in which all ranks wait more than they work, before they leave flags */
#define CLEAR_GAIN 0.03  /* of a step's time, that a change must bring to stay */
#define SKIPPED_STEPS 2  /* of a way that is tried: the first may compile kernels */
#define HOPELESS 1.5     /* times the best way's step, for HOPELESS_STEPS: the trial ends before its window */
#define HOPELESS_STEPS 3
#define MOVE_S 0.03        /* of moving before a step; one block may take longer */
#define SLOWED_MOVE_S 0.25 /* the same, when steps take long anyway */
#define FIRST_PAUSE_S 1.0  /* from one trial to the next of its kind */
#define LONGEST_PAUSE_S 120.0
#define LONGEST_SLOWED_S 8.0 /* the longest pause while steps are slowed */
#define RETURN_S 15.0        /* until the way back is tried, whether ranks seem faster or not */

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
	r->other_shares.pause_s = r->to_flags.pause_s = r->when_slowed.pause_s = FIRST_PAUSE_S;
	for (uint32_t i = 0; i < e->prepared.n; i++)
		r->slow[EVN_DECODE][i] = r->slow[EVN_PROMPT][i] = 1;
	return EVN_OK;
}

void evn_rebalance_free(evn_rebalance *r, bool abandoned)
{
	if (!r)
		return;
	for (evn_way_shares i = 0; i < SHARES; i++)
		evn_split_free(&r->splits[i]);
	if (!abandoned)
		evn_pulse_free(r->pulse);
	free(r);
}

/* ---- trials ------------------------------------------------------------------------------------------------------
 */

/* Takes the way. Shares move before the next steps. False if it is no other one. */
static bool take_way(evn_rebalance *r, evn_engine *e, const evn_way *w)
{
	const bool changes = evn_comm_use_flags(e->comm, w->flags);
	const evn_split *to = &r->splits[w->shares];
	r->skipped_steps = 0;
	for (uint32_t i = 0; i < evn_n_movable(e); i++)
		if (evn_move_changes(e, to, i)) {
			evn_engine_take_part(e, true);
			r->target = to;
			r->next_block = 0;
			return true;
		}
	return changes;
}

static void wait_after_trial(evn_patience *p, bool in_vain, double by, double longest_s)
{
	p->pause_s = in_vain ? fmin(by * p->pause_s, longest_s) : FIRST_PAUSE_S;
	p->until_s = evn_now_s() + p->pause_s;
}

static bool was_tried(const evn_rebalance *r, evn_way_shares shares, bool flags)
{
	bool any = false;
	for (uint32_t i = 1; i < r->n_ways; i++)
		any |= r->ways[i].shares == shares && r->ways[i].flags == flags;
	return any;
}

/* After trials in vain the next ones wait longer. */
static void set_pauses(evn_rebalance *r, const evn_way *best)
{
	const bool flags = r->ways[0].flags, in_vain = best == r->ways;
	if (was_tried(r, BEST, flags))
		wait_after_trial(&r->other_shares, best->shares != BEST, 4, LONGEST_PAUSE_S);
	if (!flags && was_tried(r, AS_THEY_WERE, true))
		wait_after_trial(&r->to_flags, true, 4, LONGEST_PAUSE_S);
	if (was_tried(r, WITHOUT_SLOWEST, flags) || (flags && was_tried(r, AS_THEY_WERE, false)))
		wait_after_trial(&r->when_slowed, in_vain, 2, LONGEST_SLOWED_S);
	if (was_tried(r, HOME, r->home_flags))
		wait_after_trial(&r->home, best->shares != HOME, 2, LONGEST_PAUSE_S);
}

/* The way back is kept when ranks leave the plan's method or shares because something slowed them down. */
static void leave_home(evn_rebalance *r, bool flags)
{
	if (r->away || evn_split_copy(&r->splits[HOME], &r->splits[AS_THEY_WERE], NULL) != EVN_OK)
		return;
	r->away = true;
	r->home_flags = flags;
	r->home = (evn_patience){FIRST_PAUSE_S, evn_now_s() + RETURN_S};
	r->watches = false;
}

static bool leaves_home(const evn_rebalance *r, const evn_way *w)
{
	return w->shares == WITHOUT_SLOWEST || (w->shares == AS_THEY_WERE && r->ways[0].flags && !w->flags);
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
	const evn_way *w = &r->ways[best];
	r->tries = r->watches = r->faster = false;
	r->settles = true;
	set_pauses(r, w);
	if (leaves_home(r, w))
		leave_home(r, r->ways[0].flags);
	else if (w->shares == HOME)
		r->away = false;
	for (evn_phase p = 0; p < EVN_PHASES; p++)
		r->usual[p] = 0;
	take_way(r, e, w);
	r->tried = best;
}

static void begin_trials(evn_rebalance *r, evn_engine *e, evn_phase phase, double step)
{
	r->calls = 0;
	evn_split_free(&r->splits[AS_THEY_WERE]);
	if (evn_split_copy(&r->splits[AS_THEY_WERE], &e->prepared.split, NULL) != EVN_OK)
		return;
	for (uint32_t w = 1; w < r->n_ways; w++) /* so that the way back costs nothing */
		for (uint32_t i = 0; r->ways[w].shares != AS_THEY_WERE && i < e->n_ranks; i++)
			evn_split_keep_held(&r->splits[AS_THEY_WERE], &r->splits[r->ways[w].shares], i);
	r->tries = true;
	r->phase = phase;
	r->tried = 0;
	r->ways[0].step_s = step;
	go_on(r, e);
}

/* Shares that bring at least half of what was promised are taken at once. */
static void note_trial(evn_rebalance *r, evn_engine *e, double step)
{
	evn_way *w = &r->ways[r->tried];
	w->step_s = step;
	evn_log(EVN_LOG_DEBUG, "rebalance: a step takes %.2f ms by way %u, before %.2f ms; %.0f %% less were predicted",
			step * 1e3, r->tried, r->ways[0].step_s * 1e3, 100 * r->promised);
	if (w->shares == BEST && step < r->ways[0].step_s * (1 - r->promised / 2))
		r->n_ways = r->tried + 1;
	go_on(r, e);
}

/* ---- windows -----------------------------------------------------------------------------------------------------
 */

/* The factor of each rank follows what the window shows, by half: one window is noisy. What changes a rank's speed in
 * one phase mostly does so in the other. */
static void learn(evn_rebalance *r, const evn_engine *e, evn_phase phase, const evn_step_window *w)
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
static double idle_part(const evn_step_window *w, uint32_t n_ranks)
{
	double most = 0;
	for (uint32_t i = 0; i < n_ranks; i++)
		most = fmax(most, w->busy_s[i]);
	return 1 - most / w->wall_s;
}

/* Follows the window at once if steps take less time than usual, and slowly if they take a little more. */
static void compare_with_usual(evn_rebalance *r, const evn_engine *e, evn_phase phase, const evn_step_window *w)
{
	double predicted = 0, *usual = &r->usual[phase];
	for (uint32_t i = 0; i < e->n_ranks; i++)
		predicted = fmax(predicted, w->predicted_s[i]);
	const double now = w->wall_s / predicted;
	r->slowed = *usual > 0 && predicted > 0 ? now / *usual : 1;
	if (predicted > 0 && (!(*usual > 0) || r->slowed < 1))
		*usual = now;
	else if (r->slowed < SLOWED)
		*usual += (now - *usual) / 8;
}

static void end_window(evn_rebalance *r, evn_engine *e, evn_phase phase)
{
	const evn_step_window w = r->windows[phase];
	const double step = w.wall_s / w.n_steps;
	r->windows[phase] = (evn_step_window){0};
	learn(r, e, phase, &w);
	if (r->tries) {
		if (phase == r->phase)
			note_trial(r, e, step);
		return;
	}
	r->idle = idle_part(&w, e->n_ranks);
	compare_with_usual(r, e, phase, &w);
	evn_ways_find(r, e, phase);
	if (r->n_ways <= 1) {
		r->calls = 0;
		return;
	}
	r->steps_s[r->calls++] = step;
	if (r->calls == WINDOWS || (r->slowed > SLOWED && r->calls >= SLOWED_WINDOWS))
		begin_trials(r, e, phase,
					 evn_median(r->steps_s, r->calls)); /* which orders them; they are not needed again */
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

/* On a machine that is busy with other work, ranks that spin for each other lose whole time slices. If even the rank
 * that waits least waits longer than it works, for several steps in a row, the ranks leave flags. The bits are the
 * same. */
static void watch_waiting(evn_rebalance *r, evn_engine *e, const evn_comm_times *before)
{
	bool all_wait = evn_comm_uses_flags(e->comm) && !r->tries && !r->settles;
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		const evn_comm_times now = evn_comm_rank_times(e->comm, i);
		if (evn_comm_takes_part(e->comm, i))
			all_wait &= now.wait_ns - before[i].wait_ns > now.busy_ns - before[i].busy_ns;
	}
	r->waiting_steps = all_wait ? r->waiting_steps + 1 : 0;
	if (r->waiting_steps < PATIENCE_STEPS)
		return;
	r->waiting_steps = 0;
	evn_split_free(&r->splits[AS_THEY_WERE]);
	if (evn_split_copy(&r->splits[AS_THEY_WERE], &e->prepared.split, NULL) == EVN_OK)
		leave_home(r, true);
	evn_comm_use_flags(e->comm, false);
}

/* A window is over when it is long enough. One of a trial is over, too, when the way is clearly worse than another.
 */
static bool is_over(const evn_rebalance *r, evn_phase phase)
{
	const evn_step_window *w = &r->windows[phase];
	double best = INFINITY;
	for (uint32_t i = 0; i < r->tried; i++)
		best = r->ways[i].step_s > 0 ? fmin(best, r->ways[i].step_s) : best;
	if (r->tries && phase == r->phase && w->n_steps >= HOPELESS_STEPS && w->wall_s > HOPELESS * best * w->n_steps)
		return true;
	return w->wall_s >= WINDOW_S && (phase == EVN_PROMPT || w->n_steps >= WINDOW_STEPS);
}

void evn_rebalance_after_step(evn_rebalance *r, evn_engine *e, const evn_step_seen *seen)
{
	evn_plan_step step;
	if (!r || r->target)
		return;
	watch_waiting(r, e, seen->before);
	if (!plan_step(seen->batch, &step) || (r->tries && r->skipped_steps++ < SKIPPED_STEPS))
		return;
	evn_step_window *w = &r->windows[step.phase];
	w->n_steps++;
	w->wall_s += seen->wall_s;
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		w->busy_s[i] += (double)(evn_comm_rank_times(e->comm, i).busy_ns - seen->before[i].busy_ns) * 1e-9;
		w->predicted_s[i] +=
			evn_predict_rank_s(&e->prepared.split, i, &e->prepared.ranks[i].rates, step, seen->batch->n_out > 0);
	}
	if (is_over(r, step.phase))
		end_window(r, e, step.phase);
}

static void explain(const evn_rebalance *r, const evn_engine *e, char *out, size_t size)
{
	const evn_way *w = &r->ways[r->tried];
	const double *times = r->slow[r->phase];
	uint32_t fast = 0;
	for (uint32_t i = 1; i < e->n_ranks; i++)
		fast = times[i] < times[fast] ? i : fast;
	const uint32_t slow = evn_ways_slowest(r, e, r->phase);
	if (w->shares == BEST)
		snprintf(out, size, "beside %s, %s was %.2f times slower than measured", evn_device_id(e->ranks[fast].device),
				 evn_device_id(e->ranks[slow].device), times[slow] / times[fast]);
	else if (w->shares == HOME)
		snprintf(out, size, "what had slowed the devices down is over");
	else if (w->shares == AS_THEY_WERE && w->flags)
		snprintf(out, size, "even the busiest rank was idle for %.0f %% of a step", 100 * r->idle);
	else
		snprintf(out, size, "steps took %.1f times as long as before", r->slowed);
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
	r->moves_shares = r->away = false;
	evn_engine_note(e, EVN_LOG_WARN, "shares stay as they are: %.200s", why->text);
	if (evn_team_abandoned(e->team) || why->code == EVN_ERR_DEVICE)
		return evn_fail(err, EVN_ERR_DEVICE, "%s", why->text);
	return EVN_OK;
}

static void end_move(evn_rebalance *r, evn_engine *e)
{
	for (uint32_t i = 0; i < e->n_ranks; i++)
		e->shares[i] = evn_split_share(&e->prepared.split, i, EVN_DECODE);
	evn_engine_take_part(e, false);
	r->target = NULL;
}

static void settle(evn_rebalance *r, evn_engine *e)
{
	r->settles = false;
	if (!r->tried)
		return;
	tell(r, e);
	if (r->ways[r->tried].flags && !r->ways[0].flags && r->ways[r->tried].shares != HOME)
		evn_doubt_plan(e, "flags were not chosen, but are faster");
}

/* Of the ranks that take no part in steps, otherwise of all. */
static void take_pulse(evn_rebalance *r, const evn_engine *e)
{
	const uint64_t all = UINT64_MAX >> (64 - e->n_ranks), absent = all & ~e->taking_part;
	evn_error why = {0};
	if (!r->watches) {
		r->watches = true;
		r->faster = false;
		if ((!r->pulse && evn_pulse_create(&r->pulse, e, &why) != EVN_OK) ||
			evn_pulse_begin(r->pulse, absent ? absent : all, &why) != EVN_OK)
			evn_log(EVN_LOG_DEBUG, "rebalance: %s", why.text); /* the way back is tried all the same */
	}
	r->faster |= r->pulse && evn_pulse_is_faster(r->pulse);
}

evn_status evn_rebalance_before_step(evn_rebalance *r, evn_engine *e, evn_error *err)
{
	if (!r)
		return EVN_OK;
	const double began = evn_now_s();
	evn_error why = {0};
	while (r->target && evn_now_s() - began < (r->slowed > SLOWED ? SLOWED_MOVE_S : MOVE_S)) {
		if (evn_engine_move(e, r->target, r->next_block, &why) != EVN_OK)
			return fail_move(r, e, &why, err);
		if (++r->next_block == evn_n_movable(e))
			end_move(r, e);
	}
	if (!r->target && r->settles)
		settle(r, e);
	if (!r->target && !r->tries && r->away)
		take_pulse(r, e);
	return EVN_OK;
}
