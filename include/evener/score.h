/* score.h - log-probabilities of a text, window by window. */
#ifndef EVENER_SCORE_H
#define EVENER_SCORE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Over several ranks either every matrix is split, or the text: each rank then holds the whole model and computes
 * pieces of it. AUTO: what is predicted to be faster and fits into the devices' memory. */
typedef enum { EVN_SPLIT_AUTO, EVN_SPLIT_TENSOR, EVN_SPLIT_SEQUENCE } evn_split_mode;

/* A piece of a text, computed without what stands before it. */
typedef struct {
	const int32_t *ids;
	uint32_t n_ids;
	uint32_t first; /* 1 to n_ids - 1: of the tokens scored; those before it are only read */
	double *log_p;  /* (n_ids - first), to be filled in: natural logarithm of each token's probability */
	bool done;      /* log_p is filled in; set from the start: the window is left out */
} evn_window;

typedef struct {
	const char *device, *name;
	double share;     /* of the matrices, or of the windows' tokens computed so far */
	uint64_t windows; /* it has taken part in */
} evn_score_rank;

typedef struct {
	evn_split_mode split;                /* never AUTO */
	const char *reason;                  /* why SEQUENCE is not possible, or NULL */
	double tensor_tok_s, sequence_tok_s; /* predicted; 0: not possible */
	size_t n_ranks;
	const evn_score_rank *ranks;
	const evn_plan_info *plan; /* of the tensor split */
} evn_score_info;

typedef struct evn_scorer evn_scorer;

/* o->context: tokens of the longest window; n_windows: how many there will be, for the prediction. */
EVN_API evn_status evn_scorer_open(evn_scorer **out, const evn_model *m, const evn_options *o, evn_split_mode split,
								   uint64_t n_windows, evn_error *err);
/* Computes the windows that are not done. progress (may be NULL) counts their tokens; while it is called, and only
 * then, windows become done, and they stay done where the run is stopped or fails. */
EVN_API evn_status evn_scorer_run(evn_scorer *s, evn_window *windows, size_t n, evn_progress_fn progress, void *user,
								  evn_error *err);
EVN_API const evn_score_info *evn_scorer_info(evn_scorer *s); /* valid until the next call */
EVN_API void evn_scorer_close(evn_scorer *s);

/* Where the windows done can be kept until a run has ended, malloc'd: a file of the user's cache folder named after
 * all that their figures depend on. NULL where there is no such folder, and while EVENER_KERNEL_DIR is set. */
EVN_API char *evn_scorer_state_path(const evn_scorer *s, const evn_window *windows, size_t n);
EVN_API evn_status evn_windows_save(const char *path, const evn_window *windows, size_t n, evn_error *err);
/* Makes done those that the file has, and counts them: none where there is no file, or one that is damaged. */
EVN_API size_t evn_windows_load(const char *path, evn_window *windows, size_t n);

#ifdef __cplusplus
}
#endif
#endif
