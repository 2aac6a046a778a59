/* search.h - how many of each kind: of counts of things of several kinds, those with the largest value. All
 * combinations are too many for a cluster, and things of one kind are alike, so only counts matter.
 *
 * From several starting points one count at a time is changed to the best of its values, then two at a time, until
 * nothing gets better. A count of up to EVN_SEARCH_ALL is tried with all its values, a larger one with values that
 * grow geometrically and with the neighbours of the present one. This need not find the largest value. The test
 * compares with all combinations: on random small clusters it misses at most 2 %. */
#ifndef EVN_PLAN_SEARCH_H
#define EVN_PLAN_SEARCH_H

#include "base/base.h"

#define EVN_SEARCH_KINDS 80u
#define EVN_SEARCH_ALL 12u

typedef struct {
	uint32_t n_kinds;
	uint32_t most[EVN_SEARCH_KINDS];                          /* a count is 0 to this */
	double (*value)(void *user, const uint32_t *counts);      /* 0: impossible */
	double (*bound)(void *user, const uint32_t *counts);      /* no less than the value, and quick */
	uint64_t (*n_things)(void *user, const uint32_t *counts); /* values closer than 1 %: fewer are better */
	void *user;
} evn_search_problem;

typedef struct {
	uint32_t counts[EVN_SEARCH_KINDS];
	double value;     /* of these counts; 0: nothing is possible */
	double largest;   /* of all that were tried */
	uint32_t n_tried; /* values computed */
} evn_search_result;

/* starts has n_starts rows of n_kinds counts. Small ones should come first: what they reach makes it needless to
 * compute values whose bound is lower. */
evn_status evn_search(evn_search_result *out, const evn_search_problem *p, const uint32_t *starts, uint32_t n_starts,
					  evn_error *err);

#endif
