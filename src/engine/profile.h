/* profile.h - what a set of devices was measured to do with a model's own matrices, all of them running at once.
 * Measuring runs in the helper program (a driver's compiler may crash or hang); results are cached on disk, keyed by
 * devices, drivers, kernels, the model's formats and shapes, and the set measured together. */
#ifndef EVN_PROFILE_H
#define EVN_PROFILE_H

#include "model/model.h"
#include "nn/dot.h"
#include "ocl/ocl.h"
#include "plan/plan.h"

typedef struct {
	char fault[256];      /* not empty: a kernel gave wrong results or a driver failed; the device must not be used */
	double gemv_gbs;      /* matrix-vector products: weight bytes read per second */
	double prompt_gflops; /* prompts by the kernels that read quantised blocks */
	double gemm_gflops;   /* prompts by dequantise + GEMM, which is f32; prompt_gflops where that was not measured */
	evn_dot dot;          /* how products with integer weights were measured */
	double training_gflops; /* training's products, where it was asked for; else gemm_gflops */
	uint32_t gemm_from;     /* tokens from which GEMM is faster; UINT32_MAX: never. Measured alone only */
	double launch_us, map_us;
	evn_rates steps; /* as decoders; zeros where it was not measured */
} evn_rank_profile;

typedef struct {
	evn_rank_profile ranks[EVN_MAX_RANKS];
	double host_us, events_us, flags_us; /* an all-reduce for one token; 0: not possible or one rank */
	double host_prompt_us, events_prompt_us, flags_prompt_us; /* for EVN_PLAN_PROMPT tokens; 0: not measured */
	double others; /* cores that other programs kept busy meanwhile; 0: hardly any */
	double late;   /* 1: the last time measuring took too long; 2: and the time before; 0: it did not */
} evn_profile;

/* Ranks that are equally many cores of one device are equally fast. */
static inline bool evn_picks_alike(const evn_pick *a, const evn_pick *b)
{
	return a->device == b->device && a->n_units == b->n_units;
}

/* The reduce method that an engine should use, and its cost. */
evn_reduce evn_profile_reduce(const evn_profile *p, evn_reduce asked, evn_reduce_cost *cost);
/* Whether prompts are multiplied by GEMM. All prompts go one way, as a row's bits must not depend on how many rows
 * come with it: by GEMM where that is faster from this many rows on. */
#define EVN_GEMM_PROMPT 128u
static inline bool evn_profile_gemm(const evn_rank_profile *r) { return r->gemm_from <= EVN_GEMM_PROMPT; }
/* What the planner reckons with: rates of steps, or of products where no steps could be measured. */
evn_rates evn_profile_rates(const evn_rank_profile *r);

/* What the devices are wanted for: training needs figures of its own. */
typedef enum { EVN_FOR_TEXT, EVN_FOR_TRAINING } evn_purpose;

typedef struct {
	evn_purpose purpose;
	evn_activation_type activations;
} evn_workload;

typedef struct {
	bool remeasure; /* do not read the cache */
	evn_workload workload;
	evn_progress_fn progress; /* may be NULL */
	void *progress_user;
} evn_profile_options;

/* A set's profile from what was measured of its ranks apart: what is not measured together is filled in, and where
 * the set could not be measured at all, everything is taken from apart. */
void evn_profile_complete(evn_profile *set, const evn_rank_profile *const *apart, uint32_t n);

/* Measures n picks running together on the model's matrices (NULL, or a model that is no file: on a general shape),
 * or reads the cache. Drivers' failures are faults in *out, not errors of this call. */
evn_status evn_profile_get(evn_profile *out, const evn_system *s, const evn_pick *picks, uint32_t n,
						   const evn_model *m, const evn_profile_options *o, evn_error *err);

/* A set of picks and where its profile goes. */
typedef struct {
	evn_profile *out;
	const evn_pick *picks;
	uint32_t n;
} evn_profile_request;

/* The same for n <= EVN_MAX_CANDIDATES sets that are to be compared, as one device whole and in parts: where one is
 * not known all are measured, in turn and again, so that whatever slows the machine slows all alike. */
evn_status evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s, const evn_model *m,
							const evn_profile_options *o, evn_error *err);

#endif
