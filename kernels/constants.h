/* constants.h - the constants that kernels and the host share. Both include this file. */
#ifndef EVN_CONSTANTS_H
#define EVN_CONSTANTS_H

#define EVN_TILE_ROWS 16   /* rows that a weight tile interleaves; each vector lane holds one row */
#define EVN_LANE_ITEMS 128 /* work-items of a group with scalars (LANES 1, kernels/common.cl) */
/* A block of a work-group with scalars (kernels/lanes/blocks.cl): rows of weights and rows of activations. */
#define EVN_LANE_BLOCK_ROWS 64
#define EVN_LANE_BLOCK_TOKENS 64
#define EVN_PAD 32 /* the stride of an activation matrix is a multiple of this many columns */

#define EVN_BLOCK_TOKENS 8 /* rows of activations in a block: 8 sums and a weight fill half of 32 vector registers   \
							*/

/* A block of 32 columns of 8-bit activations: 32 signed bytes, then these values at these byte offsets. Kernels with
 * scalars (LANES 1, kernels/common.cl) have no scaled sum, so that blocks can be loaded by 16 bytes. */
#define EVN_Q8_SCALE 32      /* float */
#define EVN_Q8_SUM 36        /* int: the sum of the bytes */
#define EVN_Q8_HALF_SUMS 40  /* two floats: scale times the sum of the first 16 bytes, and of the last 16 */
#define EVN_Q8_SCALED_SUM 48 /* float: scale times the sum of the bytes */
#define EVN_Q8_BYTES 52
#define EVN_Q8_LANE_BYTES 48 /* with LANES 1 */

/* The KV cache. A tile is EVN_KV_TILE positions of one KV head. A cache block is EVN_KV_BLOCK_TILES tiles of each
 * head. */
#define EVN_KV_TILE 16
#define EVN_KV_BLOCK_TILES 4
/* Biases of scores by the distance of key and query. From EVN_BIAS_FARTHEST on, either way, all distances have one. A
 * head's biases begin at the distance -(EVN_BIAS_FARTHEST + EVN_KV_TILE), so that those of any tile can be read. */
#define EVN_BIAS_FARTHEST 128
#define EVN_BIASES (2 * (EVN_BIAS_FARTHEST + EVN_KV_TILE))
/* A row table: the words of one span, and the words before the first span. */
#define EVN_SPAN_WORDS 8
/* The floats of attention to one part of the keys: the weighted values, the maximum and the denominator. */
#define EVN_PARTIAL_ROW(head_pad) ((head_pad) + 2)

/* The memory of the flags through which ranks wait for each other. Each word has its own cache line. */
#define EVN_FLAG_WORDS 16
#define EVN_FLAG_LATE 0                                   /* 1 + the rank that others waited for in vain; 0: none */
#define EVN_FLAG_OF(rank) (EVN_FLAG_WORDS * ((rank) + 1)) /* the number of all-reduces that the rank has reached */

/* A run of a sequence with a state (nn/ops_delta.h). */
#define EVN_RUN_WORDS 4

#define EVN_EXPERT_GROUPS 64 /* the most groups of experts */
#define EVN_NO_EXPERT 0xffffffffu /* a block of rows that nobody needs */

#define EVN_TOP_SLICE 1024 /* logits that a work-group sorts, a power of two */
#define EVN_TOP_MOST 64    /* the most of them that are wanted */

#define EVN_LOSS_STATS 3       /* floats of one token's logits that a rank exchanges */
#define EVN_SQUARES_PIECE 4096 /* values whose squares one work-item adds */

#endif
