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

static uint32_t size_of(uint32_t n_rows)
{
	return n_rows < 2 ? 0 : n_rows < 5 ? 1 : n_rows < 9 ? 2 : n_rows < 17 ? 3 : 4;
}

static bool is_fresh(const evn_speculator *s, uint32_t size) { return s->now - s->costs[size].when < FRESH_STEPS; }

static bool is_known(const evn_speculator *s, uint32_t size)
{
	return s->costs[size].n >= TIMES && is_fresh(s, size);
}

static double known_cost(const evn_speculator *s, uint32_t size)
{
	const evn_step_cost *c = &s->costs[size];
	double seconds[KEPT];
	const size_t n = c->n < KEPT ? c->n : KEPT;
	memcpy(seconds, c->seconds, n * sizeof *seconds);
	return evn_median(seconds, n);
}

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
static uint32_t find_best(const evn_speculator *s, uint32_t n_rows, uint32_t most, evn_draft *drafts, uint32_t n)
{
	const double plain = known_cost(s, size_of(n_rows)), may_lose = s->credit_s + plain;
	double gain = 0, best_rate = (s->warm ? CLEARLY : CLEARLY_COLD) * n_rows / plain;
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

void evn_speculator_choose(const evn_speculator *s, uint32_t n_rows, uint32_t n_free, evn_draft *drafts, uint32_t n)
{
	uint32_t most = n_rows < EVN_SPECULATE_ROWS ? EVN_SPECULATE_ROWS - n_rows : 0, best = 0;
	evn_draft *d;
	most = n_free < most ? n_free : most;
	if (most && n_rows && is_known(s, size_of(n_rows)))
		best = find_best(s, n_rows, most, drafts, n);
	choose_none(drafts, n);
	for (uint32_t taken = 0; taken < best && (d = most_likely(drafts, n)); taken++)
		d->chosen++;
}

/* Drafts have saved or lost the difference to a step without. Time that a step took by chance does not count. */
static void settle(evn_speculator *s, uint32_t n_rows, uint32_t n_drafts, uint32_t n_right, double seconds)
{
	const uint32_t n_plain = n_rows - n_drafts;
	if (!n_plain || !is_known(s, size_of(n_plain)))
		return;
	const double plain = known_cost(s, size_of(n_plain));
	const double taken = is_known(s, size_of(n_rows)) ? fmin(seconds, CHANCE * estimate(s, n_rows)) : seconds;
	s->credit_s += LOSS * taken;
	if (n_drafts)
		s->credit_s += plain * (n_plain + n_right) / n_plain - taken;
	s->credit_s = fmax(-DEBT_STEPS * plain, fmin(s->credit_s, CREDIT_STEPS * plain));
}

void evn_speculator_observe(evn_speculator *s, uint32_t n_rows, uint32_t n_drafts, uint32_t n_right, double seconds)
{
	const bool loads = n_drafts && !s->warm;
	s->now++;
	s->warm |= n_drafts > 0;
	if (n_rows > EVN_SPECULATE_ROWS || loads)
		return;
	evn_step_cost *c = &s->costs[size_of(n_rows)];
	if (!is_fresh(s, size_of(n_rows)))
		c->n = 0;
	c->seconds[c->n++ % KEPT] = seconds;
	c->when = s->now;
	settle(s, n_rows, n_drafts, n_right, seconds);
}
