/* picture.h - logits as a heat map: a row for each token, a column for each vocabulary entry or for the likeliest;
 * surprise along a text. */
#ifndef EVN_CLI_PICTURE_H
#define EVN_CLI_PICTURE_H

#include "evener.h"

/* logits (n_ids, vocab); ids are those they follow. Replaces the PNG file at path. */
evn_status picture_logits(const char *path, const evn_model *m, const int32_t *ids, size_t n_ids, const float *logits,
						  evn_error *err);

/* The surprise, -log p, of n tokens along a text, and its mean over the tokens around. Replaces the PNG file at path.
 */
evn_status picture_surprise(const char *path, const char *title, const double *place, const double *surprise,
							size_t n, evn_error *err);

#endif
