// matvec_swiglu.cl - the gated half of a feed-forward network in one launch.
#include "gated.cl"

// y[token] from x[token], up to y_stride. W begins with step `begin` of w. Work-group (32 columns of y, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, uint begin,
                   uint tile_steps, uint n_steps, uint up, uint n_tiles, uint first)
{
	size_t token = first + get_group_id(1);
	local float16 part[SLICES];
	gate_block(y, token, y_stride, x + token * ROW_BYTES(x_stride), STEP(w, begin), tile_steps, n_steps, up, n_tiles,
	           get_group_id(0), part);
}
