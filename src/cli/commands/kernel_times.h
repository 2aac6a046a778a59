/* kernel_times.h - the kernels of a step of an engine and their times, for bench. */
#ifndef EVN_CLI_KERNEL_TIMES_H
#define EVN_CLI_KERNEL_TIMES_H

#include "cli/show/json.h"
#include "evener/tune.h"

typedef struct {
	const char *phase; /* "prefill", "decode" */
	size_t rank;
	char *kernel;
	double launches, us; /* of one step: a prompt, or a decoded token */
} kernel_time;

typedef struct {
	kernel_time *rows;
	size_t n;
	bool failed;
} kernel_times;

/* Adds what the engine timed in n_steps steps, the slowest kernels of each rank first. */
void kernel_times_take(kernel_times *t, const evn_engine *e, const char *phase, double n_steps);
json_t *kernel_times_json(const kernel_times *t);
evn_status kernel_times_print(const kernel_times *t, evn_error *err);
void kernel_times_free(kernel_times *t);

#endif
