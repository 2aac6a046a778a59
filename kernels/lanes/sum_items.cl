// sum_items.cl - a sum over the work-items of a group.
#include "common.cl"

// The sum over all `items` of the work-group, a power of two, for all of them. part: a float for each item.
INLINE float sum_items(float mine, uint items, local float *part)
{
	const uint item = get_local_id(0);
	barrier(CLK_LOCAL_MEM_FENCE); // another item may still read the last sum
	part[item] = mine;
	for (uint half_way = items / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (item < half_way)
			part[item] += part[item + half_way];
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	const float sum = part[0];
	barrier(CLK_LOCAL_MEM_FENCE); // not needed, but PoCL 3.1 gives wrong sums of heads without it
	return sum;
}
