/* probe.h - what the program evener-probe does for the engine beside probing drivers: it measures. */
#ifndef EVN_PROBE_H
#define EVN_PROBE_H

#include "engine/profile.h"

typedef struct {
	const char *known;     /* file of what was measured before; NULL: none */
	evn_model_files model; /* path NULL: products of Q4_0 */
	evn_workload workload;
	evn_measure_mode mode;
	const char *const *picks; /* (n) names as of evn_pick_name */
	uint32_t n;
} evn_measure_request;

/* Measures and writes lines of facts to fd, each as soon as it is known,
 * so that what was measured before a crash counts. "0 enough 1" says that the trial is complete,
 * "0 fault WHY" that a device failed, "0 error WHY" that a file cannot be read. */
evn_status evn_profile_measure(int fd, const evn_measure_request *r, evn_error *err);

/* One set of GEMM parameters (a text, or "-" for CLBlast's own choice) on one device, over shapes "512x1536x576";
 * proved against f64, timed, written to fd as "gflops<TAB>N" or "fault<TAB>why". */
evn_status evn_tune_trial_run(int fd, const char *device, const char *parameters, const char *const *shapes,
							  uint32_t n_shapes, evn_error *err);

#endif
