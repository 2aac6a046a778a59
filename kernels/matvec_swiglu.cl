// matvec_swiglu.cl - the gate and up products of a feed-forward network and their combination in one launch,
// with vectors.
#include "gated.cl"

// y[token] from x[token], up to y_stride. gates: the first tile of up, and the number of gate tiles. Work-group (32
// columns of y, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matvec_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, window win,
                   uint2 gates, uint first)
{
	size_t token = first + get_group_id(1);
	gate_block(y, token, y_stride, x + token * ROW_BYTES(x_stride), WINDOW_BEGIN(w, win), win.y, win.z, gates.x, gates.y,
	           get_group_id(0));
}
