/* score.h - log-probabilities of a text, window by window. */
#ifndef EVENER_SCORE_H
#define EVENER_SCORE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* evn_tokenize without special tokens, for a text to learn or to score. evn_tokenize skips bytes that have no token;
 * here the first such byte is EVN_ERR_UNSUPPORTED, with its line and offset in the text called `name`. */
EVN_API evn_status evn_tokenize_whole(const evn_model *m, const char *name, const char *text, size_t text_bytes,
									  int32_t **ids, size_t *n_ids, evn_error *err);

/* Several ranks split either every matrix (TENSOR) or the text (SEQUENCE): then each rank holds the whole model and
 * computes some of the windows. AUTO: whichever is predicted to be faster and fits into the devices' memory. */
typedef enum { EVN_SPLIT_AUTO, EVN_SPLIT_TENSOR, EVN_SPLIT_SEQUENCE } evn_split_mode;

/* A part of a text. It is computed without the text before it. */
typedef struct {
	const int32_t *ids;
	uint32_t n_ids;
	uint32_t first; /* first token that is scored, 1 to n_ids - 1; those before it are context */
	double *log_p;  /* (n_ids - first), written: natural logarithm of each token's probability */
	bool done;      /* log_p is written; a window that is done from the start is skipped */
} evn_window;

typedef struct {
	const char *device, *name;
	double share;     /* fraction of the matrices, or of the tokens computed so far */
	uint64_t windows; /* that this rank has worked on */
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

/* o->context: tokens of the longest window; n_windows: how many windows to expect, for the prediction. */
EVN_API evn_status evn_scorer_open(evn_scorer **out, const evn_model *m, const evn_options *o, evn_split_mode split,
								   uint64_t n_windows, evn_error *err);
/* Computes the windows that are not done. progress (may be NULL) counts their tokens. Windows become done only while
 * progress is called; they stay done when the run is stopped or fails. */
EVN_API evn_status evn_scorer_run(evn_scorer *s, evn_window *windows, size_t n, evn_progress_fn progress, void *user,
								  evn_error *err);
EVN_API const evn_score_info *evn_scorer_info(evn_scorer *s); /* valid until the next call */
EVN_API void evn_scorer_close(evn_scorer *s);

/* Where the windows done can be kept until a run has ended, malloc'd: a file of the user's cache folder named after
 * all that their figures depend on. NULL where there is no such folder. */
EVN_API char *evn_scorer_state_path(const evn_scorer *s, const evn_window *windows, size_t n);
EVN_API evn_status evn_windows_save(const char *path, const evn_window *windows, size_t n, evn_error *err);
/* Fills in the windows that the file has and returns how many: 0 when the file is missing or damaged. */
EVN_API size_t evn_windows_load(const char *path, evn_window *windows, size_t n);

#ifdef __cplusplus
}
#endif
#endif
