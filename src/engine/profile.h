/* profile.h - what a set of devices can do with a model while all of them run. It follows from facts (facts.h), which
 * the helper program measures, because a driver may crash or hang. Facts are cached on disk for each set of devices,
 * by drivers, kernels and driver settings.
 *
 * There are two ways to measure. A trial takes about a second and measures products, launches and all-reduces. It is
 * made when something is needed for the first time. The thorough measurement takes steps of a decoder; it is made
 * when the user asks for it, and it compares the layouts of a device. */
#ifndef EVN_PROFILE_H
#define EVN_PROFILE_H

#include "engine/facts.h"

typedef struct {
	char fault[256];      /* not empty: a kernel gave wrong results or a driver failed; the device must not be used */
	double gemv_gbs;      /* products with one row: weight bytes read per second */
	double prompt_gflops; /* prompts, by the kernels that read quantised blocks */
	double gemm_gflops;   /* prompts, by dequantising and GEMM; prompt_gflops where that was not measured */
	bool gemm;            /* GEMM is faster for prompts; measured on each rank alone only */
	double block_cost;    /* see evn_ops_set_block_cost */
	evn_dot dot;          /* the fastest dot kind for integer weights */
	double training_gflops; /* training's products; gemm_gflops where they were not measured */
	double launch_us, map_us;
	evn_rates steps; /* as decoders; zeros where they were not measured */
} evn_rank_profile;

typedef struct {
	evn_rank_profile ranks[EVN_MAX_RANKS];
	double host_us, events_us, flags_us; /* an all-reduce for one token; 0: not possible or one rank */
	double host_prompt_us, events_prompt_us, flags_prompt_us; /* for EVN_PLAN_PROMPT tokens; 0: not measured */
	bool is_fresh;       /* a trial was made just now, and its helpers may still save the programs that they built */
	bool measured_again; /* because a first trial was doubted (doubt.h) */
	evn_measured measured; /* the last thorough measurement, or else the trial */
} evn_profile;

/* Ranks that are equally many cores of one device are equally fast. */
static inline bool evn_picks_alike(const evn_pick *a, const evn_pick *b)
{
	return a->device == b->device && a->n_units == b->n_units;
}

/* The reduce method that an engine should use, and its cost. */
evn_reduce evn_profile_reduce(const evn_profile *p, evn_reduce asked, evn_reduce_cost *cost);
/* What the planner reckons with: rates of steps, or of products where no steps could be measured. */
evn_rates evn_profile_rates(const evn_rank_profile *r);

/* What the devices are wanted for: training needs figures of its own. */
typedef enum { EVN_FOR_TEXT, EVN_FOR_TRAINING } evn_purpose;

typedef struct {
	evn_purpose purpose;
	evn_activation_type activations;
	evn_kv_cache kv_cache;
} evn_workload;

/* What a helper is started for. */
typedef enum {
	EVN_TRIAL,       /* what is not known */
	EVN_TRIAL_AGAIN, /* all figures of the model; its proofs stay */
	EVN_THOROUGH,    /* the same for longer, and GEMM and steps too */
	EVN_MEASURE_MODES
} evn_measure_mode;

typedef enum {
	EVN_MEASURE_NEEDED,   /* a trial of what is not known */
	EVN_MEASURE_NOTHING,  /* what is not known becomes a fault */
	EVN_MEASURE_THOROUGH, /* everything, now */
} evn_measuring;

typedef struct {
	evn_measuring measuring;
	evn_workload workload;
	uint32_t limit_s;         /* 0: the usual limit, which leaves a slow compiler its time */
	evn_progress_fn progress; /* may be NULL */
	void *progress_user;
} evn_profile_options;

/* A set's profile from what was measured of its ranks apart: what is not measured together is filled in, and where
 * the set could not be measured at all, everything is taken from apart. */
void evn_profile_complete(evn_profile *set, const evn_rank_profile *const *apart, uint32_t n);

/* The profile of n picks that run together, for a model. m NULL, or a model that is not a file: products of Q4_0.
 * Failures of drivers are faults in *out, not errors of this call. */
evn_status evn_profile_get(evn_profile *out, const evn_system *s, const evn_pick *picks, uint32_t n,
						   const evn_model *m, const evn_profile_options *o, evn_error *err);

/* A set of picks and where its profile goes. */
typedef struct {
	evn_profile *out;
	const evn_pick *picks;
	uint32_t n;
} evn_profile_request;

/* The same for n <= EVN_MAX_CANDIDATES sets that are to be compared, as a device whole and in parts. They are
 * measured in turn, in short slices, so that whatever slows the machine slows all of them alike. */
evn_status evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s, const evn_model *m,
							const evn_profile_options *o, evn_error *err);

#endif
