/* verify.h - results that are checked while a text is written. In every n-th step each rank copies the input and the
 * output of one product, and its thread computes some rows of it again (proof/check.h). A wrong row fails the step,
 * which is computed again; if the same product is wrong again, the rank's device has failed. */
#ifndef EVN_VERIFY_H
#define EVN_VERIFY_H

#include <stdatomic.h>

#include "nn/tap.h"

typedef struct evn_engine evn_engine;

/* Of an engine. */
typedef struct {
	uint64_t random;
	uint32_t n_steps;                /* since the last check */
	atomic_ullong n_checks, n_wrong; /* products of ranks */
} evn_verify;

/* Of a step. */
typedef struct {
	bool on;
	uint64_t seed;
	evn_tap taps[EVN_MAX_RANKS];
	atomic_bool wrong; /* some rank's result was */
} evn_step_check;

/* Decides whether the next step is checked, and which product. */
void evn_verify_begin(evn_engine *e, evn_step_check *c);
/* The tap for a rank's walk; NULL: nothing is checked. */
evn_tap *evn_verify_tap(evn_step_check *c, uint32_t rank);
/* After the walk, on the rank's thread. */
evn_status evn_verify_rank(evn_engine *e, evn_step_check *c, uint32_t rank, evn_error *err);
void evn_verify_end(evn_step_check *c);

#endif
