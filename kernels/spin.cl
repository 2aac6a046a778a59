// spin.cl - arithmetic for a while, to see how fast a device works beside what else runs on it.
#include "common.cl"

// One work-item in each work-group. The result depends on all n rounds, so none can be left out.
kernel void spin(global uint *out, uint n)
{
	uint x = (uint)get_global_id(0);
	for (uint i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		x ^= x >> 15;
	}
	out[get_global_id(0)] = x;
}
