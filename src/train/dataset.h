/* dataset.h - a text as tokens: the part that is learned, in an order given by seed and step alone, and the part that
 * is held out at its end. */
#ifndef EVN_DATASET_H
#define EVN_DATASET_H

#include "base/base.h"

typedef struct {
	int32_t *ids;
	uint64_t n, n_train; /* the first n_train are learned */
	uint32_t n_ctx;      /* tokens of a window; one more is read as the last target */
	uint64_t hash;       /* of the tokens and where they are cut */
} evn_dataset;

/* Reads the file with m's tokenizer. held_out: fraction of the tokens, 0 for none. A text that the vocabulary does
 * not cover or that is too short for a window is an error. */
evn_status evn_dataset_open(evn_dataset *out, const evn_model *m, const char *path, uint32_t n_ctx, double held_out,
							evn_error *err);
/* n >= 2 ids of the vocabulary as one window. */
evn_status evn_dataset_of_ids(evn_dataset *out, const int32_t *ids, size_t n, uint32_t vocab, evn_error *err);
void evn_dataset_free(evn_dataset *d);

/* One window of inputs and of the tokens that follow each: the index-th of a step. Any thread. */
void evn_dataset_draw(const evn_dataset *d, uint64_t seed, uint32_t step, uint32_t index, uint32_t *ids,
					  uint32_t *targets);
/* Windows of the held-out part one after the other; what is left at the end is not used. */
uint64_t evn_dataset_held_out(const evn_dataset *d);
void evn_dataset_held_out_window(const evn_dataset *d, uint64_t index, uint32_t *ids, uint32_t *targets);

#endif
