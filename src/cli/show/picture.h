/* picture.h - draws logits as a heat map, with a row for each token and a column for each vocabulary entry or for the
 * likeliest ones; and surprise along a text. */
#ifndef EVN_CLI_PICTURE_H
#define EVN_CLI_PICTURE_H

#include "evener.h"

/* logits is (n_ids, vocab); row i follows ids[i]. Replaces the PNG file at path. */
evn_status picture_logits(const char *path, const evn_model *m, const int32_t *ids, size_t n_ids, const float *logits,
						  evn_error *err);

/* Draws the surprise, -log p, of n tokens along a text, and its mean over the neighbouring tokens. Replaces the PNG
 * file at path. */
evn_status picture_surprise(const char *path, const char *title, const double *place, const double *surprise,
							size_t n, evn_error *err);

#endif
