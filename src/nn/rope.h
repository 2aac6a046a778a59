/* rope.h - the table of rotary angles (Su et al. 2021), with GGUF's methods of context extension. */
#ifndef EVN_ROPE_H
#define EVN_ROPE_H

#include "model/model.h"

/* table (n_ctx, 2, dim / 2) = cosines, then sines, of position * frequency. r->scaling scales
 * them: linear (Chen et al. 2023), yarn (Peng et al. 2023), factors for each frequency (llama3; longrope, Ding et al.
 * 2024, which has other factors where n_ctx is longer than the original context). Computed in f64. */
void evn_rope_table(const evn_rope *r, uint32_t n_ctx, float *table);

#endif
