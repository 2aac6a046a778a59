// norm.cl - what the norms share. norm_rms.cl, norm_layer.cl and norm_none.cl each define norm_row, which writes the
// normalised row in the format that the next product reads. Parameters: STORE, NORM_ITEMS. If several work-items
// share a row, each has the same blocks of 32 columns in every pass.
#include "common.cl"
#include STORE

#ifndef NORM_ITEMS
#define NORM_ITEMS 1 // work-items that share a row; a power of two
#endif

// The output of a norm: rows of y with row.x columns, of which row.y are true. w and bias have as many columns.
#define NORMED global float *y, const global float *w, const global float *bias, uint2 row, float eps
#define NORMED_ARGS y, w, bias, row, eps

// The sum over all items of the work-group, for all of them.
INLINE float sum_items(float mine, local float *part)
{
#if NORM_ITEMS > 1
	uint item = get_local_id(0);
	barrier(CLK_LOCAL_MEM_FENCE); // another item may still read the last sum
	part[item] = mine;
	for (uint half_way = NORM_ITEMS / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (item < half_way)
			part[item] += part[item + half_way];
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	return part[0];
#else
	return mine;
#endif
}
