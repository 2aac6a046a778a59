// store_q8.cl - writes activations as blocks of 8-bit integers.
#include "q8.cl"

// Writes columns 32 b .. 32 b + 31 of row t of an activation matrix of `stride` columns.
INLINE void store_block(global float *y, size_t t, uint stride, uint b, float16 lo, float16 hi)
{
	q8_store((global uchar *)y + (t * (stride / 32) + b) * EVN_Q8_BYTES, lo, hi);
}
