// pack.cl - packs a rank's partial sums into a message of another format than f32.
#ifndef MESSAGE
#define MESSAGE "message/bf16.cl"
#endif
#include "common.cl"
#include MESSAGE

// A work-item packs a block of 32 columns.
kernel IN_VECTORS void pack(global uchar *m, const global float *partial, uint n_items)
{
	size_t i = flat_id();
	if (i >= n_items)
		return;
	message_store(m, i, vload16(2 * i, partial), vload16(2 * i + 1, partial));
}
