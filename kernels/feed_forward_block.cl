// feed_forward_block.cl - a gated feed-forward network of one token in one launch, for devices with one compute unit.
// Such a device runs the two products one after the other anyway, and a launch costs as much as a large part of a
// product.
#include "gated.cl"

// gated (stride columns) = the result of matvec_swiglu for x. y = W_out gated. The windows of the matrices and
// `gates` are those of matvec_swiglu. One work-item.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void feed_forward_block(uint stride, uint2 gates, global float *y, const global uchar *x, const global uchar *w_in, window in,
                        global float *gated, const global uchar *w_out, window out)
{
	for (uint block = 0; block < stride / 32; block++)
		gate_block(gated, 0, stride, x, WINDOW_BEGIN(w_in, in), in.y, in.z, gates.x, gates.y, block);
	for (uint group = 0; group * TILES < out.w; group++)
		multiply_rows(y, (const global uchar *)gated, WINDOW_BEGIN(w_out, out), out.y, out.z, out.w, group);
}
