#include "plan/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TRIED 20000u
#define TABLE_SIZE 65536u /* a power of 2 */
#define MOST_SWEEPS 20u
#define NEAR_TIE 0.99    /* as in choose.c */
#define PAIRED_KINDS 16u /* with more kinds counts are not changed two at a time */

/* All counts that were tried, in a hash table: table has index + 1 in values, or 0. */
typedef struct {
	const evn_search_problem *p;
	uint32_t n, n_tried, *table, *counts;
	double *values, largest;
} search;

static const uint32_t *counts_at(const search *s, uint32_t i) { return s->counts + (size_t)i * s->p->n_kinds; }

/* The place of these counts in the table, or a free one. */
static uint32_t *place_of(const search *s, const uint32_t *counts)
{
	const size_t bytes = s->p->n_kinds * sizeof *counts;
	uint64_t at = evn_hash(0, counts, bytes);
	for (;; at++) {
		uint32_t *place = &s->table[at & (TABLE_SIZE - 1)];
		if (!*place || !memcmp(counts_at(s, *place - 1), counts, bytes))
			return place;
	}
}

/* 0 also if the value cannot come near the largest one. */
static double try_counts(search *s, const uint32_t *counts)
{
	uint32_t *place = place_of(s, counts);
	if (*place)
		return s->values[*place - 1];
	if (s->n == MOST_TRIED)
		return 0;
	double value = 0;
	if (s->p->bound(s->p->user, counts) > s->largest * NEAR_TIE) {
		value = s->p->value(s->p->user, counts);
		s->n_tried++;
	}
	memcpy(s->counts + (size_t)s->n * s->p->n_kinds, counts, s->p->n_kinds * sizeof *counts);
	s->values[s->n++] = value;
	*place = s->n;
	s->largest = fmax(s->largest, value);
	return value;
}

/* ---- moves ----------------------------------------------------------------------------------------------------- */

typedef struct {
	uint32_t counts[EVN_SEARCH_KINDS];
	double value;
} position;

static bool step_to(search *s, position *at, uint32_t kind, uint32_t count, uint32_t *best)
{
	const uint32_t before = at->counts[kind];
	at->counts[kind] = count;
	const double value = try_counts(s, at->counts);
	at->counts[kind] = before;
	if (value <= at->value)
		return false;
	at->value = value;
	*best = count;
	return true;
}

/* Changes one count to the best of its values. */
static bool change_one(search *s, position *at, uint32_t kind)
{
	const uint32_t most = s->p->most[kind], now = at->counts[kind];
	uint32_t best = now;
	bool better = false;
	for (uint32_t v = 0; v <= most; v = v < EVN_SEARCH_ALL ? v + 1 : v == most ? most + 1 : v + (v + 3) / 4) {
		better |= step_to(s, at, kind, v, &best);
		if (v < most && v >= EVN_SEARCH_ALL && v + (v + 3) / 4 > most)
			better |= step_to(s, at, kind, most, &best);
	}
	for (uint32_t d = 1; d < most; d *= 2) {
		if (now >= d)
			better |= step_to(s, at, kind, now - d, &best);
		if (now + d <= most)
			better |= step_to(s, at, kind, now + d, &best);
	}
	at->counts[kind] = best;
	return better;
}

/* One more of one kind, and one more or fewer of another. */
static bool change_two(search *s, position *at)
{
	const uint32_t n = s->p->n_kinds;
	for (uint32_t i = 0; i < n && n <= PAIRED_KINDS; i++)
		for (uint32_t j = 0; j < n; j++)
			for (int down = 0; down < 2; down++) {
				if (i == j || at->counts[i] == s->p->most[i] || at->counts[j] == (down ? 0 : s->p->most[j]))
					continue;
				position next = *at;
				next.counts[i]++;
				next.counts[j] += down ? UINT32_MAX : 1;
				next.value = try_counts(s, next.counts);
				if (next.value <= at->value)
					continue;
				*at = next;
				return true;
			}
	return false;
}

static void climb(search *s, const uint32_t *start)
{
	position at = {.value = 0};
	memcpy(at.counts, start, s->p->n_kinds * sizeof *start);
	at.value = try_counts(s, at.counts);
	bool better = true;
	for (uint32_t i = 0; i < MOST_SWEEPS && better; i++) {
		better = false;
		for (uint32_t kind = 0; kind < s->p->n_kinds; kind++)
			better |= change_one(s, &at, kind);
		if (!better)
			better = change_two(s, &at);
	}
}

/* ---- the result ------------------------------------------------------------------------------------------------ */

static void take_best(evn_search_result *out, const search *s)
{
	uint64_t fewest = UINT64_MAX;
	out->largest = s->largest;
	out->n_tried = s->n_tried;
	for (uint32_t i = 0; i < s->n; i++) {
		const uint64_t n = s->values[i] > 0 ? s->p->n_things(s->p->user, counts_at(s, i)) : UINT64_MAX;
		if (s->values[i] <= 0 || s->values[i] < s->largest * NEAR_TIE || n > fewest ||
			(n == fewest && s->values[i] <= out->value))
			continue;
		fewest = n;
		out->value = s->values[i];
		memcpy(out->counts, counts_at(s, i), s->p->n_kinds * sizeof *out->counts);
	}
}

evn_status evn_search(evn_search_result *out, const evn_search_problem *p, const uint32_t *starts, uint32_t n_starts,
					  evn_error *err)
{
	search s = {.p = p,
				.table = calloc(TABLE_SIZE, sizeof *s.table),
				.counts = calloc((size_t)MOST_TRIED * p->n_kinds, sizeof *s.counts),
				.values = calloc(MOST_TRIED, sizeof *s.values)};
	*out = (evn_search_result){0};
	evn_status status = s.table && s.counts && s.values ? EVN_OK : evn_fail_memory(err, "search", 0);
	for (uint32_t i = 0; i < n_starts && status == EVN_OK; i++)
		climb(&s, starts + (size_t)i * p->n_kinds);
	if (status == EVN_OK)
		take_best(out, &s);
	free(s.table);
	free(s.counts);
	free(s.values);
	return status;
}
