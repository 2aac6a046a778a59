/* speculate.h - how many guessed ids (drafts) the next step verifies. Arithmetic: no device and no clock.
 *
 * A step with drafts costs more than one without and may give several ids for a request. What steps cost is seen, not
 * assumed; how often guesses are right, too (lookup.h). The number of drafts is the one that promises most ids in a
 * second, and none unless that is clearly more than without. What drafts may lose is limited to a hundredth of all
 * time, whatever the promises were. */
#ifndef EVN_SPECULATE_H
#define EVN_SPECULATE_H

#include "base/base.h"

#define EVN_SPECULATE_ROWS 32u  /* most rows of a step with drafts */
#define EVN_SPECULATE_DRAFT 15u /* most drafts of a request */

/* Numbers of rows that cost about the same, as kernels decode weights once for several rows: 1; 2 to 4; 5 to 8; 9 to
 * 16; 17 to 32. */
#define EVN_STEP_SIZES 5u
typedef struct {
	double seconds[5]; /* the last times, a ring */
	uint32_t n;        /* times seen */
	uint64_t when;     /* the step of the last one */
} evn_step_cost;

typedef struct {
	evn_step_cost costs[EVN_STEP_SIZES]; /* of steps without prompts */
	uint64_t now;                        /* counts steps */
	double credit_s;                     /* what drafts may still lose */
	bool warm;                           /* a step with drafts was computed */
} evn_speculator;

/* Drafts that a request could verify: chances[i] that those up to i are right. */
typedef struct {
	float chances[EVN_SPECULATE_DRAFT];
	uint32_t n;
	uint32_t chosen; /* how many the step verifies */
} evn_draft;

/* Chooses for a step that has n_rows without drafts, and room for n_free more. */
void evn_speculator_choose(const evn_speculator *s, uint32_t n_rows, uint32_t n_free, evn_draft *drafts, uint32_t n);

/* A step of n_rows without rows of prompts took so long. n_drafts of them were drafts, n_right were right. */
void evn_speculator_observe(evn_speculator *s, uint32_t n_rows, uint32_t n_drafts, uint32_t n_right, double seconds);

#endif
