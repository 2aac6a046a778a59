// store_q8.cl - what a product reads next, as blocks of 8-bit activations.
#include "q8.cl"

// Columns 32 b .. 32 b + 31 of row t of an activation matrix of `stride` columns.
INLINE void store_block(global float *y, size_t t, uint stride, uint b, float16 lo, float16 hi)
{
	q8_store((global uchar *)y + (t * (stride / 32) + b) * EVN_Q8_BYTES, lo, hi);
}
