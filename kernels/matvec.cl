// matvec.cl - y = W x for one token, W in tiles of 16 rows in its file's own quantised blocks.
#include "tiles.cl"

// y[token][y_offset + row] = W[row] . x[token]. W begins with step `begin` of w. Work-group (TILES tiles, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec(global float *y, uint y_stride, uint y_offset, const global uchar *x, uint x_stride, const global uchar *w,
            uint begin, uint tile_steps, uint n_steps, uint n_tiles, uint first)
{
	size_t token = first + get_group_id(1);
	local float16 part[SLICES];
	multiply_rows(y + token * y_stride + y_offset, x + token * ROW_BYTES(x_stride), STEP(w, begin), tile_steps, n_steps, n_tiles,
	              get_group_id(0), part);
}
