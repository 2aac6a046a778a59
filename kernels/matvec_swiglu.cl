// matvec_swiglu.cl - the gated half of a feed-forward network in one launch.
#include "gated.cl"

// y[token] from x[token], up to y_stride; gates: tiles to the first of up, tiles of gates. Work-group (32 columns of y,
// token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, window win,
                   uint2 gates, uint first)
{
	size_t token = first + get_group_id(1);
	local float16 part[SLICES];
	gate_block(y, token, y_stride, x + token * ROW_BYTES(x_stride), WINDOW_BEGIN(w, win), win.y, win.z, gates.x, gates.y,
	           get_group_id(0), part);
}
