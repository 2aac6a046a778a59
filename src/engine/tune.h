/* tune.h - the search for a device's GEMM parameters: what is tried (tune_search.c), one trial in the helper program
 * (probe/tune_trial.c), and the course of it (tune.c). */
#ifndef EVN_ENGINE_TUNE_H
#define EVN_ENGINE_TUNE_H

#include "ocl/gemm_params.h"

/* What a trial multiplies: x [n_tok, columns] by W^T to y [n_tok, rows], as prompts do. */
typedef struct {
	uint32_t n_tok, rows, columns;
} evn_gemm_shape;

#define EVN_TUNE_MOST 512 /* sets tried of a device */

/* What has been tried, in order, and how fast it was; 0: it did not work. */
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
/* The next set worth a trial: sets known to be good somewhere first, then neighbours of the best. False: none left.
 */
bool evn_tune_search_next(evn_tune_search *s, evn_gemm_params *out);
/* The result of the set that next gave, or of one from elsewhere. */
void evn_tune_search_take(evn_tune_search *s, const evn_gemm_params *p, double gflops);

#endif
