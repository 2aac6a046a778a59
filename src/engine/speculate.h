/* speculate.h - how many guessed ids (drafts) the next step verifies. Arithmetic: no device and no clock.
 *
 * A step with drafts costs more than one without and may give several ids for a request. What steps cost is seen, not
 * assumed; how often guesses are right, too (lookup.h). The number of drafts is the one that promises most ids in a
 * second, and none unless that is clearly more than without. What drafts may lose is limited to a hundredth of all
 * time, whatever the promises were.
 *
 * Guesses of a draft model cost time themselves. So whether it should guess is decided before, by how often its
 * guesses were right. */
#ifndef EVN_SPECULATE_H
#define EVN_SPECULATE_H

#include "base/base.h"

#define EVN_SPECULATE_ROWS 32u /* most rows of a step with drafts */
#define EVN_MOST_DRAFTS 15u    /* most drafts of a request */

/* Numbers of rows that cost about the same, as kernels decode weights once for several rows: 1; 2 to 4; 5 to 8; 9 to
 * 16; 17 to 32. */
#define EVN_STEP_SIZES 5u
typedef struct {
	double seconds[5]; /* the last times, a ring */
	uint32_t n;        /* times seen */
	uint64_t when;     /* the step of the last one */
} evn_step_cost;

/* What a draft model's work costs: as seen, until then as the planner predicts it. */
typedef struct {
	evn_step_cost costs[EVN_STEP_SIZES]; /* of its steps */
	double read_s;                       /* an id of a text that it reads; 0: not seen yet */
	double predicted, predicted_read;    /* a step of one row, and an id, in steps of the model of one row */
	uint32_t n_unused, n_tried;          /* steps of the model since then; times that it was asked */
	bool has_read, warm[EVN_STEP_SIZES]; /* the first time does not count: drivers then load kernels */
} evn_draft_cost;

typedef struct {
	evn_step_cost costs[EVN_STEP_SIZES]; /* of steps without prompts */
	uint64_t now;                        /* counts steps */
	double credit_s;                     /* what drafts may still lose */
	bool warm;                           /* a step with drafts was computed */
} evn_speculator;

/* Drafts that a request could verify: chances[i] that those up to i are right. */
typedef struct {
	float chances[EVN_MOST_DRAFTS];
	uint32_t n;
	uint32_t chosen; /* how many the step verifies */
} evn_draft;

/* Chooses for a step that has n_rows without drafts, and room for n_free more. paid: a draft model has made the
 * drafts, which is lost if they are not verified. */
void evn_speculator_choose(const evn_speculator *s, uint32_t n_rows, uint32_t n_free, evn_draft *drafts, uint32_t n,
						   bool paid);

/* A step for which a draft model could guess. */
typedef struct {
	uint32_t n_rows, n_free;    /* as above */
	uint32_t n_texts, n_unread; /* that would get guesses; ids that the draft model would read first */
	double chance;              /* that a guess is right if those before it are */
} evn_draft_chance;

/* How many ids of each text a draft model should guess; 0: that promises nothing. *at_least: it should stop where the
 * chance falls below. */
uint32_t evn_speculator_ask(const evn_speculator *s, evn_draft_cost *c, const evn_draft_chance *p, float *at_least);
/* How many ids of a text a draft model may read for a start. */
uint32_t evn_speculator_window(const evn_speculator *s, const evn_draft_cost *c, uint32_t n_rows);
/* A step of the draft model with n_rows took so long; it has read n ids in so long. */
void evn_draft_cost_step(evn_draft_cost *c, uint32_t n_rows, double seconds);
void evn_draft_cost_read(evn_draft_cost *c, uint32_t n, double seconds);

/* A step without rows of prompts. */
typedef struct {
	uint32_t n_rows, n_drafts, n_right; /* n_drafts of the rows were drafts, n_right were right */
	double seconds, draft_s;            /* draft_s: that a draft model took before it */
} evn_step_outcome;
void evn_speculator_observe(evn_speculator *s, const evn_step_outcome *o);

#endif
