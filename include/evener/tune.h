/* tune.h - tuning of the matrix product, and the times of all-reduces and of kernels. */
#ifndef EVENER_TUNE_H
#define EVENER_TUNE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	const char *device;     /* id */
	const char *parameters; /* "MWG=64 ...", CLBlast's names; NULL: CLBlast's own choice */
	double gflops;          /* 0: it did not work */
	const char *problem;    /* why not: "the driver crashed (...)"; else NULL */
} evn_tune_trial;

typedef struct {
	const char *device, *name;
	const char *parameters; /* used from now on; NULL: CLBlast's own choice */
	double gflops, before_gflops;
	bool kept; /* better parameters were found and are in the cache */
	uint32_t n_trials, n_failed;
} evn_tune_result;

typedef struct {
	const evn_device_rule *devices; /* NULL: every usable one */
	size_t n_devices;
	double budget_s;          /* for each device */
	double trial_s;           /* time limit for one set of parameters; 0 = 30 */
	evn_progress_fn progress; /* the callbacks may be NULL */
	void (*trial)(void *user, const evn_tune_trial *t);
	void (*result)(void *user, const evn_tune_result *r);
	void *user; /* for all three */
} evn_tune_options;

/* Searches parameters for the matrix product of prompts, on m's matrices (NULL: on a general shape). Each set is
 * tried in a child process; one that crashes or hangs a driver is skipped. */
EVN_API evn_status evn_tune(const evn_model *m, const evn_tune_options *o, evn_error *err);

/* Median time of n all-reduces of a message of `bytes` (0: one token's), in microseconds; 0 for one rank. A message
 * longer than a batch's is EVN_ERR_LIMIT. */
EVN_API evn_status evn_engine_measure_all_reduce(evn_engine *e, uint64_t bytes, uint32_t n, double *us,
												 evn_error *err);

typedef struct {
	size_t rank;
	const char *kernel; /* "matvec q4_k row_q8 TILES=2": its name, and what it is built from */
	uint64_t launches;
	double us; /* of all launches, by the device's clock */
} evn_kernel_time;

/* Times every launch of a kernel, from now on or until now. CLBlast's are left out. Steps are slower meanwhile. */
EVN_API evn_status evn_engine_time_kernels(evn_engine *e, bool on, evn_error *err);
/* The sums of what was timed last, in no order. */
EVN_API void evn_engine_kernel_times(const evn_engine *e, void (*each)(void *user, const evn_kernel_time *t),
									 void *user);

#ifdef __cplusplus
}
#endif
#endif
