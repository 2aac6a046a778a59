/* dataset.h - a text as tokens. Its first part is learned, in an order that follows from the seed and the step alone.
 * The part at its end is held out. */
#ifndef EVN_DATASET_H
#define EVN_DATASET_H

#include "base/base.h"

typedef struct {
	int32_t *ids;
	uint64_t n, n_train; /* the first n_train tokens are learned */
	uint32_t n_ctx;      /* the tokens of a window; one more is read as the last target */
	uint64_t hash;       /* hash of the tokens and of the place where they are divided */
} evn_dataset;

/* Reads the file with m's tokenizer. held_out is the fraction of the tokens that is held out, 0 for none. It is an
 * error if the vocabulary does not cover the text, or if the text is too short for a window. */
evn_status evn_dataset_open(evn_dataset *out, const evn_model *m, const char *path, uint32_t n_ctx, double held_out,
							evn_error *err);
/* Makes one window of n >= 2 ids of the vocabulary. */
evn_status evn_dataset_of_ids(evn_dataset *out, const int32_t *ids, size_t n, uint32_t vocab, evn_error *err);
void evn_dataset_free(evn_dataset *d);

/* Writes one window of inputs and their next tokens: window `index` of a step. Thread-safe. */
void evn_dataset_draw(const evn_dataset *d, uint64_t seed, uint32_t step, uint32_t index, uint32_t *ids,
					  uint32_t *targets);
/* The windows of the held-out part, one after the other. Tokens at the end that do not fill a window are not used. */
uint64_t evn_dataset_held_out(const evn_dataset *d);
void evn_dataset_held_out_window(const evn_dataset *d, uint64_t index, uint32_t *ids, uint32_t *targets);

#endif
