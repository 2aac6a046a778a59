/* tune.h - measuring and tuning what an engine multiplies and sums with. */
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
	const char *problem;    /* then why: "the driver crashed (...)"; else NULL */
} evn_tune_trial;

typedef struct {
	const char *device, *name;
	const char *parameters; /* that are used from now on; NULL: CLBlast's own choice */
	double gflops, before_gflops;
	bool kept; /* something better than before was found and is kept in the cache */
	uint32_t n_trials, n_failed;
} evn_tune_result;

typedef struct {
	const evn_device_rule *devices; /* which; NULL: every usable one */
	size_t n_devices;
	double budget_s;          /* for each device */
	double trial_s;           /* most for one set of parameters; 0 = 30 */
	evn_progress_fn progress; /* the callbacks may be NULL */
	void (*trial)(void *user, const evn_tune_trial *t);
	void (*result)(void *user, const evn_tune_result *r);
	void *user; /* of all three */
} evn_tune_options;

/* Searches parameters of the matrix product that prompts are computed with, on m's matrices (NULL: on a general
 * shape). Sets that crash or hang a driver do so in a child process and are passed over. */
EVN_API evn_status evn_tune(const evn_model *m, const evn_tune_options *o, evn_error *err);

/* Median of n sums over the ranks of a message of so many bytes (0: one token's), microseconds; 0 for one rank.
 * Longer than a batch's is EVN_ERR_LIMIT. */
EVN_API evn_status evn_engine_measure_all_reduce(evn_engine *e, uint64_t bytes, uint32_t n, double *us,
												 evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
