/* facts.h - what was measured of a set of devices that run together. Rates are of kernels, by weight format and dot
 * kind, not of models, so one set of facts serves every model. A model's rates follow from its mix of formats.
 *
 * Facts are kept as lines of text "rank<TAB>key<TAB>value". */
#ifndef EVN_FACTS_H
#define EVN_FACTS_H

#include "nn/dot.h"
#include "nn/shape.h"

/* Products of one format with one dot kind. */
typedef struct {
	double gbs; /* one row: weight bytes read per second; 0: not measured */
	double
		prompt_gflops;   /* rows of a prompt, by the kernels that read quantised blocks; with 1 lane 8 rows at once */
	double block_gflops; /* with 1 lane, in full blocks of 64 (evn_ops_set_block_cost); 0: not measured */
} evn_product_rates;

typedef struct {
	evn_product_rates products[EVN_FORMATS][EVN_DOT_COUNT];
	double gemm_gflops[EVN_FORMATS]; /* rows of a prompt, by dequantising and GEMM; 0: not measured */
	double launch_us, map_us;
	double training_gflops;     /* of training's products; 0: not measured */
	evn_rates steps;            /* of a decoder with layers of one model; zeros: not measured */
	evn_product_rates steps_of; /* what the products of that model's mix reached, and */
	double steps_head_gbs;      /* those of its output matrix */
} evn_rank_facts;

typedef struct {
	evn_rank_facts ranks[EVN_MAX_RANKS];
	evn_reduce_cost reduce[EVN_REDUCE_FLAGS + 1]; /* token_us 0: not possible or one rank */
	double again;              /* 1: the trial was repeated because runs were faster than the one before (doubt.h) */
	evn_measured trial, steps; /* trial: short, of products; steps: thorough */
	bool knows_model;          /* all that the model of `signature` needs is there */
	char fault[256];           /* not empty: with that model a kernel gave wrong results or a driver failed */
	uint32_t late;             /* 1: measuring for that model took too long the last time; 2: and the time before */
} evn_facts;

/* signature: of a model's needs (evn_proof_signature). */
void evn_facts_parse(evn_facts *out, const char *text, uint64_t signature);
/* The lines of `old` that no line of `more` replaces, and `more`; malloc'd, NULL: no memory. */
char *evn_facts_merge(const char *old, const char *more);

/* The formats of a model. m NULL: one product of Q4_0. */
evn_status evn_facts_mix(evn_weight_mix *out, const evn_model *m, evn_error *err);

/* What a device does with a model, from its facts. */
typedef struct {
	evn_dot dot;               /* the fastest dot kind for the model's integer formats */
	double gbs, prompt_gflops; /* prompt_gflops: by the faster kernels */
	double block_cost;         /* see evn_ops_set_block_cost */
	double gemm_gflops;        /* prompt_gflops where GEMM was not measured */
	bool gemm;                 /* GEMM is faster for prompts */
	double head_gbs;
	evn_rates steps; /* zeros where steps were not measured */
} evn_model_rates;

/* With the dot kinds that `activations` allows. False if a format of the mix was not measured with any. */
bool evn_facts_rates(const evn_rank_facts *r, const evn_weight_mix *mix, evn_activation_type activations,
					 evn_model_rates *out);

#endif
