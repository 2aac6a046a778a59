/* constants.h - what kernels and the host must agree on; both include this file. */
#ifndef EVN_CONSTANTS_H
#define EVN_CONSTANTS_H

#define EVN_TILE_ROWS 16 /* rows that a weight tile interleaves; one vector lane holds one row */
#define EVN_PAD 32       /* strides of activation matrices are multiples of so many columns */

#define EVN_BLOCK_TOKENS 8 /* that are multiplied at once: 8 sums and a weight fill half of 32 vector registers */

/* A block of 32 columns of 8-bit activations: 32 signed bytes, then at these bytes */
#define EVN_Q8_SCALE 32      /* float */
#define EVN_Q8_SUM 36        /* int: of the bytes */
#define EVN_Q8_HALF_SUMS 40  /* two floats: scale times the sum of the first 16 bytes, and of the last */
#define EVN_Q8_SCALED_SUM 48 /* float: scale times the sum */
#define EVN_Q8_BYTES 52

/* The KV cache: a tile is so many positions of a KV head, a block so many tiles. */
#define EVN_KV_TILE 16
#define EVN_KV_BLOCK_TILES 4
/* A row table: words of a span, and before the first span. */
#define EVN_SPAN_WORDS 8
/* Floats of what attention to a part of the keys adds up to: weighted values, maximum and denominator. */
#define EVN_PARTIAL_ROW(head_pad) ((head_pad) + 2)

/* Memory through which ranks wait for each other: words, a cache line apart. */
#define EVN_FLAG_WORDS 16
#define EVN_FLAG_LATE 0                               /* 1 + the rank that was waited for in vain */
#define EVN_FLAG_OF(rank) (EVN_FLAG_WORDS * ((rank) + 1)) /* how many all-reduces the rank has arrived at */

#define EVN_LOSS_STATS 3       /* floats of a token that each rank tells the others of its logits */
#define EVN_SQUARES_PIECE 4096 /* values of which one work-item adds the squares */

#endif
