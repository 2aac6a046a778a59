/* rope.h - the table of rotary angles (Su et al. 2021), with GGUF's methods of context extension. */
#ifndef EVN_ROPE_H
#define EVN_ROPE_H

#include "model/model.h"

/* table (n_ctx, evn_rope_stride) = cosines, then sines, of position * frequency. r->scaling scales
 * them: linear (Chen et al. 2023), yarn (Peng et al. 2023), factors for each frequency (llama3; longrope, Ding et al.
 * 2024, which has other factors where n_ctx is longer than the original context). Computed in f64. */
/* After the angles of a position comes the query's factor, if there is one, and padding. */
static inline uint32_t evn_rope_stride(const evn_rope *r) { return r->dim + (r->query_growth > 0 ? 16 : 0); }
void evn_rope_table(const evn_rope *r, uint32_t n_ctx, float *table);

#endif
