/* repack.c - interleaves sixteen rows unit by unit: the layout that kernels read with one vector element for each
 * row. It runs over all weights at load, so the inner loops are specialised by unit size. */
#include "model/quant.h"

#include <string.h>

#define ROWS EVN_TILE_ROWS
#define MAX_RUN_BYTES 256 /* taken from a row at a time; no block is larger */

/* Each interleave_N moves n units of N bytes, which begin at rows[r] + at. */
static void interleave_1(const uint8_t *const rows[ROWS], size_t at, uint32_t n, uint8_t *out)
{
	for (uint32_t u = 0; u < n; u++)
		for (int r = 0; r < ROWS; r++)
			*out++ = rows[r][at + u];
}

static void interleave_2(const uint8_t *const rows[ROWS], size_t at, uint32_t n, uint8_t *out)
{
	for (uint32_t u = 0; u < n; u++)
		for (int r = 0; r < ROWS; r++, out += 2)
			memcpy(out, rows[r] + at + u * 2, 2);
}

static void interleave_4(const uint8_t *const rows[ROWS], size_t at, uint32_t n, uint8_t *out)
{
	for (uint32_t u = 0; u < n; u++)
		for (int r = 0; r < ROWS; r++, out += 4)
			memcpy(out, rows[r] + at + u * 4, 4);
}

/* Repacks n blocks. n > 1 only for a format with one field, whose blocks form one long run of units. */
static void interleave(const evn_quant *q, const uint8_t *const rows[ROWS], uint32_t n, uint8_t *out)
{
	size_t at = 0;
	for (const evn_quant_field *f = q->fields; f->unit_bytes; f++) {
		uint32_t n_units = f->n_units * n;
		uint8_t *to = out + at * ROWS;
		if (f->unit_bytes == 1)
			interleave_1(rows, at, n_units, to);
		else if (f->unit_bytes == 2)
			interleave_2(rows, at, n_units, to);
		else
			interleave_4(rows, at, n_units, to);
		at += (size_t)f->unit_bytes * n_units;
	}
}

void evn_repack_tile(const evn_quant *q, const uint8_t *const rows[EVN_TILE_ROWS], uint32_t n_blocks,
					 uint32_t n_blocks_padded, uint8_t *out)
{
	static const uint8_t zeros[MAX_RUN_BYTES];
	const uint32_t run = q->fields[1].unit_bytes ? 1 : MAX_RUN_BYTES / q->block_bytes;
	const uint8_t *at[ROWS];
	for (int r = 0; r < ROWS; r++)
		at[r] = rows[r] ? rows[r] : zeros;
	for (uint32_t b = 0; b < n_blocks; b += run) {
		const uint32_t n = n_blocks - b < run ? n_blocks - b : run;
		interleave(q, at, n, out);
		out += (size_t)q->block_bytes * ROWS * n;
		for (int r = 0; r < ROWS; r++)
			at[r] += rows[r] ? (size_t)q->block_bytes * n : 0;
	}
	if (n_blocks_padded > n_blocks)
		memset(out, 0, (size_t)q->block_bytes * ROWS * (n_blocks_padded - n_blocks));
}
