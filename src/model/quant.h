/* quant.h - the block formats of GGUF weights. A format is one row of the table in quant.c, one decoder here on the
 * host (the f32 reference), and one decoder in kernels/quant/. */
#ifndef EVN_QUANT_H
#define EVN_QUANT_H

#include "base/base.h"
#include "kernels/constants.h"

/* A run of equal units inside a weight block: Q4_1 is {2 bytes x 2 (d, m)}, {1 byte x 16 (nibbles)}. */
typedef struct {
	uint8_t unit_bytes;
	uint8_t n_units;
} evn_quant_field;

typedef struct {
	const char *name;   /* "Q4_1" */
	const char *kernel; /* the name of its decoder in kernels/quant/ and the suffix of kernel names: "q4_1" */
	uint32_t gguf_type; /* ggml_type id in the file */
	uint32_t block_len; /* the elements of a block, all in one row; 1 for the float formats */
	uint32_t block_bytes;
	uint32_t group_len; /* shards are padded with zero blocks to a multiple of this many columns: 32, 64 or 256 */
	evn_quant_field fields[6]; /* in file order; unit_bytes 0 ends the list */
	/* out[block_len] = the values of the block, exactly as ggml defines them: f32 arithmetic in ggml's order */
	void (*decode)(const uint8_t *block, float *out);
	/* The block of block_len finite values (encode.h). NULL: evener only reads the format. */
	void (*encode)(const float *values, uint8_t *block);
} evn_quant;

/* NULL if evener does not read this ggml type. */
const evn_quant *evn_quant_find(uint32_t gguf_type);
const evn_quant *evn_quant_by_name(const char *name);
size_t evn_quant_count(void);
const evn_quant *evn_quant_at(size_t i);
size_t evn_quant_index(const evn_quant *q); /* the i of evn_quant_at */
#define EVN_FORMATS 32u                     /* more than there are */

/* out[n] = n values from consecutive blocks; n % block_len == 0. */
void evn_dequantize(const evn_quant *q, const uint8_t *blocks, float *out, uint64_t n);

/* blocks = those of n finite values; n % block_len == 0. The format must have an encoder. */
void evn_quantize(const evn_quant *q, const float *values, uint8_t *blocks, uint64_t n);

/* The values that the codes of IQ4_NL and IQ4_XS stand for. */
extern const int8_t evn_iq4_values[16];
/* The same of MXFP4 and NVFP4, doubled: the scale of their blocks is half of what is stored. */
extern const int8_t evn_mxfp4_values[16];

/* Repacks up to 16 rows into one tile. For each block, and for each unit of the block in file order, the tile holds
 * that unit of row 0, of row 1, ... of row 15. rows[r] points at the first block of row r, or is NULL: a padding row
 * of zeros. n_blocks blocks are taken from each row, then zero blocks up to n_blocks_padded. out has 16 * block_bytes
 * * n_blocks_padded bytes. */
void evn_repack_tile(const evn_quant *q, const uint8_t *const rows[EVN_TILE_ROWS], uint32_t n_blocks,
					 uint32_t n_blocks_padded, uint8_t *out);

float evn_half_to_float(uint16_t h);
float evn_bfloat_to_float(uint16_t b);
float evn_ue4m3_to_float(uint8_t code); /* the scales of NVFP4 */
uint16_t evn_float_to_half(float f);    /* rounds to nearest even */

#endif
