// feed_forward_block.cl - a gated feed-forward network of one token in one launch, for devices of one compute unit: there
// the two products follow each other anyway, and a launch costs as much as a good part of one.
#include "gated.cl"

// gated (stride columns) = what matvec_swiglu makes of x; y = W_out gated. The matrices' windows as there; tiles: of gate
// rows and of W_out. One work-item.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void feed_forward_block(uint stride, uint up, uint2 tiles, global float *y, const global uchar *x, const global uchar *w_in,
                       uint in_begin, uint in_tile_steps, uint in_steps, global float *gated, const global uchar *w_out, uint out_begin, uint out_tile_steps, uint out_steps)
{
	const global uchar *in = STEP(w_in, in_begin), *out = STEP(w_out, out_begin);
	for (uint block = 0; block < stride / 32; block++)
		gate_block(gated, 0, stride, x, in, in_tile_steps, in_steps, up, tiles.x, block, 0);
	for (uint group = 0; group * TILES < tiles.y; group++)
		multiply_rows(y, (const global uchar *)gated, out, out_tile_steps, out_steps, tiles.y, group, 0);
}
