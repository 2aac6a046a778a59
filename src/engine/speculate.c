#include "engine/speculate.h"

#include <math.h>
#include <string.h>

#define FRESH_STEPS 128u /* a cost is seen again after so many: contexts grow, machines become busy */
#define KEPT 5u          /* times of a cost; the median counts */
#define TIMES 3u         /* that are seen before a cost is known */
#define GROWTH 1.5       /* what the next size is assumed to cost more until it is known */
#define CLEARLY 1.1      /* drafts must promise so much more */
#define CLEARLY_COLD 2   /* the first time: drivers then load kernels for several rows */
#define LOSS 0.01        /* the part of all time that drafts may lose */
#define CREDIT_STEPS 16  /* no more than the time of so many steps is saved up for losses */
#define CHANCE 2         /* a step that takes more than this times its cost was slow by chance */
#define DEBT_STEPS 4     /* and no more is remembered of them */
#define START_STEPS 4    /* what a draft model may lose at first, in steps */
#define TRIALS 3u        /* a draft model is asked so often before its figures count, if it may be the cheaper one */
#define TRIAL_RATE 0.5   /* what these must promise */
#define UNUSED 1024u     /* steps after which the costs of a draft model are forgotten */
#define MOST_ASKED 8u    /* guesses of a draft model for a text */
#define LEAST_WINDOW 16u /* ids of a text of which a draft model can guess the next ones */
#define MOST_WINDOW 256u

static uint32_t size_of(uint32_t n_rows)
{
	return n_rows < 2 ? 0 : n_rows < 5 ? 1 : n_rows < 9 ? 2 : n_rows < 17 ? 3 : 4;
}

static bool is_fresh(const evn_speculator *s, uint32_t size) { return s->now - s->costs[size].when < FRESH_STEPS; }

static bool is_known(const evn_speculator *s, uint32_t size)
{
	return s->costs[size].n >= TIMES && is_fresh(s, size);
}

static double median_of(const evn_step_cost *c)
{
	double seconds[KEPT];
	const size_t n = c->n < KEPT ? c->n : KEPT;
	memcpy(seconds, c->seconds, n * sizeof *seconds);
	return evn_median(seconds, n);
}

static double known_cost(const evn_speculator *s, uint32_t size) { return median_of(&s->costs[size]); }

/* What a step costs. Some smaller size is known. */
static double estimate(const evn_speculator *s, uint32_t n_rows)
{
	uint32_t known = size_of(n_rows);
	double growth = 1;
	for (; !is_known(s, known); known--)
		growth *= GROWTH;
	return growth * known_cost(s, known);
}

/* The request whose next draft is most likely right. NULL: no request has more. */
static evn_draft *most_likely(evn_draft *drafts, uint32_t n)
{
	evn_draft *best = NULL;
	for (evn_draft *d = drafts; d < drafts + n; d++)
		if (d->chosen < d->n && (!best || d->chances[d->chosen] > best->chances[best->chosen]))
			best = d;
	return best;
}

static void choose_none(evn_draft *drafts, uint32_t n)
{
	for (evn_draft *d = drafts; d < drafts + n; d++)
		d->chosen = 0;
}

/* How many of the likeliest drafts give most ids in a second. */
static uint32_t find_best(const evn_speculator *s, uint32_t n_rows, uint32_t most, evn_draft *drafts, uint32_t n,
						  bool paid)
{
	const double plain = known_cost(s, size_of(n_rows)), may_lose = paid ? INFINITY : s->credit_s + plain;
	double gain = 0, best_rate = (paid ? 1 : s->warm ? CLEARLY : CLEARLY_COLD) * n_rows / plain;
	uint32_t best = 0;
	evn_draft *d;
	choose_none(drafts, n);
	for (uint32_t taken = 1; taken <= most && (d = most_likely(drafts, n)); taken++) {
		gain += (double)d->chances[d->chosen++];
		const double cost = estimate(s, n_rows + taken), rate = (n_rows + gain) / cost;
		if (rate <= best_rate || cost - plain > may_lose)
			continue;
		best_rate = rate;
		best = taken;
	}
	return best;
}

void evn_speculator_choose(const evn_speculator *s, uint32_t n_rows, uint32_t n_free, evn_draft *drafts, uint32_t n,
						   bool paid)
{
	uint32_t most = n_rows < EVN_SPECULATE_ROWS ? EVN_SPECULATE_ROWS - n_rows : 0, best = 0;
	evn_draft *d;
	most = n_free < most ? n_free : most;
	if (most && n_rows && is_known(s, size_of(n_rows)))
		best = find_best(s, n_rows, most, drafts, n, paid);
	choose_none(drafts, n);
	for (uint32_t taken = 0; taken < best && (d = most_likely(drafts, n)); taken++)
		d->chosen++;
}

/* ---- a draft model --------------------------------------------------------------------------------------------- */

/* The time of the model's steps of one row tells what a prediction in such steps means on this machine, now. */
static double unit(const evn_speculator *s, uint32_t n_rows)
{
	return is_known(s, 0) ? known_cost(s, 0) : known_cost(s, size_of(n_rows));
}

static double step_s(const evn_draft_cost *c, uint32_t n_rows, double unit_s)
{
	double growth = 1;
	for (uint32_t size = size_of(n_rows);; size--, growth *= GROWTH) {
		if (c->costs[size].n)
			return growth * median_of(&c->costs[size]);
		if (!size)
			return growth * c->predicted * unit_s;
	}
}

static double read_s(const evn_draft_cost *c, double unit_s)
{
	return c->read_s > 0 ? c->read_s : c->predicted_read * unit_s;
}

void evn_draft_cost_step(evn_draft_cost *c, uint32_t n_rows, double seconds)
{
	const uint32_t size = size_of(n_rows);
	evn_step_cost *cost = &c->costs[size];
	c->n_unused = 0;
	if (c->warm[size])
		cost->seconds[cost->n++ % KEPT] = seconds;
	c->warm[size] = true;
}

void evn_draft_cost_read(evn_draft_cost *c, uint32_t n, double seconds)
{
	const bool first = !c->has_read;
	c->has_read = true;
	if (first)
		return;
	c->read_s = c->read_s > 0 ? (c->read_s + seconds / n) / 2 : seconds / n;
}

uint32_t evn_speculator_window(const evn_speculator *s, const evn_draft_cost *c, uint32_t n_rows)
{
	if (!is_known(s, size_of(n_rows)))
		return 0;
	const double plain = known_cost(s, size_of(n_rows));
	const double may_lose = s->credit_s + (START_STEPS - 1) * plain, ids = may_lose / read_s(c, unit(s, n_rows));
	return ids < LEAST_WINDOW ? 0 : ids < MOST_WINDOW ? (uint32_t)ids : MOST_WINDOW;
}

static void forget(evn_draft_cost *c)
{
	for (uint32_t i = 0; i < EVN_STEP_SIZES; i++)
		c->costs[i].n = 0;
	c->n_tried = c->n_unused = 0;
}

uint32_t evn_speculator_ask(const evn_speculator *s, evn_draft_cost *c, const evn_draft_chance *p, float *at_least)
{
	uint32_t best = 0;
	*at_least = 0;
	if (++c->n_unused > UNUSED) /* what was slow then may be fast now */
		forget(c);
	if (!p->n_texts || !p->n_rows || !is_known(s, size_of(p->n_rows)))
		return 0;
	const double plain = known_cost(s, size_of(p->n_rows)), unit_s = unit(s, p->n_rows);
	const double may_lose = s->credit_s + START_STEPS * plain, reading = p->n_unread * read_s(c, unit_s);
	const double guess_s = step_s(c, p->n_texts, unit_s);
	const bool trial = c->n_tried < TRIALS && c->predicted < 1;
	double gain = 0, all = 1, best_rate = (trial ? TRIAL_RATE : CLEARLY) * p->n_rows / plain;
	for (uint32_t i = 1; i <= MOST_ASKED && p->n_texts * i <= p->n_free; i++) {
		const uint32_t n_rows = p->n_rows + p->n_texts * i;
		if (n_rows > EVN_SPECULATE_ROWS)
			break;
		gain += p->n_texts * (all *= p->chance);
		const double cost = estimate(s, n_rows) + i * guess_s, rate = (p->n_rows + gain) / cost;
		if (rate <= best_rate || cost + reading - plain > may_lose)
			continue;
		best_rate = rate;
		best = i;
	}
	/* one more guess costs guess_s, and gives n_texts ids of plain / n_rows with the next chance */
	*at_least = (float)fmin(0.9, guess_s * p->n_rows / (p->n_texts * plain * p->chance));
	c->n_tried += best > 0;
	return best;
}

/* ---- what steps have cost -------------------------------------------------------------------------------------- */

/* Drafts have saved or lost the difference to a step without. Time that a step took by chance does not count. */
static void settle(evn_speculator *s, const evn_step_outcome *o)
{
	const uint32_t n_plain = o->n_rows - o->n_drafts;
	if (!n_plain || !is_known(s, size_of(n_plain)))
		return;
	const double plain = known_cost(s, size_of(n_plain)), seconds = o->seconds;
	const double taken =
		o->draft_s + (is_known(s, size_of(o->n_rows)) ? fmin(seconds, CHANCE * estimate(s, o->n_rows)) : seconds);
	s->credit_s += LOSS * taken;
	if (o->n_drafts || o->draft_s > 0)
		s->credit_s += plain * (n_plain + o->n_right) / n_plain - taken;
	s->credit_s = fmax(-DEBT_STEPS * plain, fmin(s->credit_s, CREDIT_STEPS * plain));
}

void evn_speculator_observe(evn_speculator *s, const evn_step_outcome *o)
{
	const uint32_t size = size_of(o->n_rows);
	const bool loads = o->n_drafts && !s->warm;
	s->now++;
	s->warm |= o->n_drafts > 0;
	if (o->n_rows > EVN_SPECULATE_ROWS || loads)
		return;
	evn_step_cost *c = &s->costs[size];
	if (!is_fresh(s, size))
		c->n = 0;
	c->seconds[c->n++ % KEPT] = o->seconds;
	c->when = s->now;
	settle(s, o);
}
