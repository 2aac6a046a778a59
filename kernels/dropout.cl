// dropout.cl - sets a random part of an activation matrix to zero during training (Srivastava et al. 2014). The
// random numbers are counter-based: each follows from the element's place and a key alone, so every rank and the
// backward walk compute the same ones.
#include "common.cl"

// Philox2x32-10 (Salmon et al. 2011) of the counters (low, high) with a key. Returns the first word of each pair.
INLINE uint16 philox(uint16 low, uint16 high, uint key)
{
	for (uint i = 0; i < 10; i++, key += 0x9E3779B9u) {
		// PoCL 3.1 compiles this to one multiplication, mul_hi to several
		ulong16 product = convert_ulong16(low) * 0xD256D193ul;
		low = convert_uint16(product >> 32) ^ (uint16)key ^ high;
		high = convert_uint16(product);
	}
	return low;
}

// y[i] = scale x[i] if the i-th random number is at least `below`, otherwise 0. y may be x. A work-item has 16
// values.
kernel IN_VECTORS void dropout(global float *y, const global float *x, uint below, float scale, uint key, uint stream, uint n_items)
{
	size_t i = flat_id();
	if (i >= n_items)
		return;
	uint16 places = (uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (uint16)((uint)i * 16);
	int16 stays = philox(places, (uint16)stream, key) >= (uint16)below;
	vstore16(select((float16)0.0f, vload16(i, x) * scale, stays), i, y);
}
