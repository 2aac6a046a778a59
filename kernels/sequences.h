/* sequences.h - the layout of whole sequences, for kernels and the host. Attention over them needs no KV cache. */
#ifndef EVN_SEQUENCES_H
#define EVN_SEQUENCES_H

#ifdef __OPENCL_VERSION__
#define uint32_t uint
#else
#include <stdint.h>
#endif

#define EVN_SEQUENCE_GRAIN 16 /* the length of a sequence is a multiple of this: the lanes of a vector are tokens */

/* One rank's heads in the stacked projections of whole sequences, rows (n_ctx * n_sequences, stride): query heads from
 * column 0 on, key heads from k_offset on, value heads from v_offset on, HEAD_DIM columns each. */
typedef struct {
	uint32_t n_heads, n_kv;        /* on this rank */
	uint32_t first_head, first_kv; /* the global index of the rank's first one */
	uint32_t group;                /* query heads of one KV head in the model */
	uint32_t n_ctx, n_sequences;   /* n_ctx is a multiple of EVN_SEQUENCE_GRAIN */
	uint32_t k_offset, v_offset, stride;
	uint32_t out_stride, out_offset; /* of attention's output */
	float scale;                     /* factor of a query times a key */
} evn_sequences;

#endif
