// top.cl - the largest logits of each row, so that the host need not read all of them.
//
// An entry is one 64-bit number: the key of a logit, which is the smaller the larger the logit is, then the token's id. So
// entries in ascending order are tokens in the order in which sampling prefers them, equal logits by their ids. The host
// makes the same entries (src/nn/top.h).
#include "common.cl"

// Only the bits are looked at, because a compiler may assume that there are no NaNs.
INLINE uint key_of(uint bits)
{
	uint magnitude = bits & 0x7fffffffu;
	bool bad = magnitude > 0x7f800000u || bits == 0x7f800000u; // not a number, or infinite: before all others
	bits = magnitude ? bits : 0;                               // -0 is 0
	return bad ? 0 : bits ^ (((bits >> 31) - 1) & 0x7fffffffu);
}

// to[row][slice][i], i < n_top: the smallest entries of EVN_TOP_SLICE logits, in order. columns: those of a row, and where
// its rows begin; the rest of the last slice counts as larger than all. first: the id of column 0. Work-group (slice, row),
// of any size.
kernel void top(global ulong *to, uint n_top, const global float *logits, uint2 columns, uint first, float scale)
{
	local ulong entries[EVN_TOP_SLICE];
	const uint item = get_local_id(0), n_items = get_local_size(0), slice = get_group_id(0) * EVN_TOP_SLICE;
	const global float *row = logits + get_group_id(1) * (size_t)columns.y;
	for (uint i = item; i < EVN_TOP_SLICE; i += n_items) {
		ulong entry = ULONG_MAX;
		if (slice + i < columns.x) {
			float logit = row[slice + i];
			logit = scale == 1.0f ? logit : logit * scale;
			entry = (ulong)key_of(as_uint(logit)) << 32 | (first + slice + i);
		}
		entries[i] = entry;
	}
	// Bitonic sort (Batcher 1968): pairs at distance `apart` are put in order, ascending where bit `run` of the place is 0.
	for (uint run = 2; run <= EVN_TOP_SLICE; run *= 2)
		for (uint apart = run / 2; apart > 0; apart /= 2) {
			barrier(CLK_LOCAL_MEM_FENCE);
			for (uint pair = item; pair < EVN_TOP_SLICE / 2; pair += n_items) {
				uint a = 2 * pair - (pair & (apart - 1)), b = a + apart;
				ulong x = entries[a], y = entries[b];
				bool swap = (x > y) == ((a & run) == 0);
				entries[a] = swap ? y : x;
				entries[b] = swap ? x : y;
			}
		}
	barrier(CLK_LOCAL_MEM_FENCE);
	to += (get_group_id(1) * get_num_groups(0) + get_group_id(0)) * (size_t)n_top;
	for (uint i = item; i < n_top; i += n_items)
		to[i] = entries[i];
}
