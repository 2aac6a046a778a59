/* steps.h - how fast ranks are as decoders: each takes steps of a few of the model's layers, so that what a step
 * really costs is what the planner reckons with: the products as they are chosen and fused, launches, norms,
 * attention, and all-reduces in the middle of work. */
#ifndef EVN_STEPS_H
#define EVN_STEPS_H

#include "group/comm.h"
#include "nn/shape.h"
#include "nn/walk.h"

typedef struct evn_steps evn_steps;

/* A rank as products have shown it. */
typedef struct {
	evn_queue *queue;
	double gbs;    /* weight bytes a second, for shares and to know what will take too long */
	uint32_t kind; /* ranks of a kind are equally fast */
	evn_dot dot;
	bool gemm;         /* prompts are multiplied by GEMM */
	double block_cost; /* see evn_ops_set_block_cost */
} evn_step_rank;

/* Queues and model are borrowed.
 * EVN_ERR_UNSUPPORTED where a model has no layers or a rank is so slow that steps would try the user's patience. */
evn_status evn_steps_create(evn_steps **out, const evn_model *m, const evn_step_rank *ranks, uint32_t n,
							evn_error *err);
void evn_steps_free(evn_steps *s);

/* rates[n] of every rank by itself, all at once; and where there are several, of steps that they take together by
 * each of methods[EVN_REDUCE_FLAGS + 1], costs[method] such that those steps are predicted as they were timed. */
evn_status evn_steps_measure(evn_steps *s, const bool *methods, evn_rates *rates, evn_reduce_cost *costs,
							 evn_error *err);

/* How much repetitions of a step differed: (most - least) / median, the mean over kinds of steps and ranks. */
double evn_steps_spread(const evn_steps *s);

#endif
