// tile.cl - columns of a weight tile, whatever its format. Comes after kernels/quant/<format>.cl, in which a float
// format defines tile_quant and an integer format ZERO and
//   tile_word(b, g, i): columns 4 i .. 4 i + 3 of group g as unsigned bytes of a word, one lane for each of 16 rows.
// A weight is scale * (byte - ZERO) + offset.

// Step `s` of the tiles at w.
#define STEP(w, s) ((w) + (size_t)(s) * (STEP_BYTES * TILE_ROWS))

#ifdef ZERO

// Column k of group g without scale and offset.
INLINE float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uint16 byte = tile_word(b, g, k / 4) >> (uint16)(k % 4 * 8) & (uint16)255;
	return convert_float16(as_int16(byte) - (int16)ZERO);
}
#endif
