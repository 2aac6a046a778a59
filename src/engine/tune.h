/* tune.h - the search for a device's GEMM parameters: which sets are tried (tune_search.c), one trial in the helper
 * process (probe/tune_trial.c), and the loop over trials (tune.c). */
#ifndef EVN_ENGINE_TUNE_H
#define EVN_ENGINE_TUNE_H

#include "ocl/gemm_params.h"

/* The product of a trial: x [n_tok, columns] by W^T gives y [n_tok, rows], as for prompts. */
typedef struct {
	uint32_t n_tok, rows, columns;
} evn_gemm_shape;

#define EVN_TUNE_MOST 512 /* the most sets tried for a device */

/* The sets that were tried, in order, and their speeds; 0: it did not work. */
typedef struct {
	bool cpu;
	evn_random random;
	uint32_t n, next_seed, best;
	struct {
		evn_gemm_params params;
		double gflops;
	} tried[EVN_TUNE_MOST];
} evn_tune_search;

void evn_tune_search_begin(evn_tune_search *s, bool cpu);
/* The next set to try: first sets known to be good somewhere, then neighbours of the best. False if none is left. */
bool evn_tune_search_next(evn_tune_search *s, evn_gemm_params *out);
/* Stores the result of the last set of next, or of a set from elsewhere. */
void evn_tune_search_record(evn_tune_search *s, const evn_gemm_params *p, double gflops);

#endif
