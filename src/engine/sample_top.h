/* sample_top.h - drawing from the largest logits alone, with the ids that all logits would give. */
#ifndef EVN_SAMPLE_TOP_H
#define EVN_SAMPLE_TOP_H

#include "evener/sample.h"
#include "nn/top.h"

/* How many of the largest logits suffice, at most EVN_TOP_MOST: 1 for the most likely token, else as many as top-k
 * keeps, and one for each token that is banned. 0: all are needed, because top-k is off or keeps more, or because
 * penalties or biases may raise any token, or because a mask may forbid the largest. */
uint32_t evn_sampler_needs(const evn_sampler *s);
/* evn_sampler_draw, from the n first entries (top.h); fewer than evn_sampler_needs only where the vocabulary has no
 * more. */
evn_status evn_sampler_draw_top(evn_sampler *s, const uint64_t *entries, uint32_t n, int32_t *id, evn_error *err);

#endif
