// matvec.cl - y = W x for one token or TOKENS, with scalars. W is in tiles of 16 rows, in the quantised blocks of its file.
#include "lanes/tiles.cl"

// y[token][y_offset + row] = W[row] . x[token]. at: y_stride and y_offset. Work-group (tile, block of TOKENS tokens from
// `first` on).
kernel IN_LANES
void matvec(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint first)
{
	local slice_sums part[SLICES];
	const size_t token = first + get_group_id(1) * TOKENS, row_bytes = ROW_BYTES(x_stride);
	const uint tile = get_group_id(0);
	const global uchar *const blocks[1] = {STEP(w, win.x + (size_t)tile * win.y)};
	multiply_tiles(part, blocks, x + token * row_bytes, row_bytes, win.z);
	for (uint i = get_local_id(0); i < TOKENS * ROWS; i += ITEMS)
		y[(token + i / ROWS) * at.x + at.y + tile * EVN_TILE_ROWS + i % ROWS] = add_slices(part, 0, i / ROWS, i % ROWS);
}
