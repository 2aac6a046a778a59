// matvec.cl - y = W x for one token, with vectors. W is in tiles of 16 rows, in the quantised blocks of its file.
#include "tiles.cl"

// y[token][y_offset + row] = W[row] . x[token]. at: y_stride and y_offset. Work-group (TILES tiles, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matvec(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint first)
{
	size_t token = first + get_group_id(1);
	multiply_rows(y + token * at.x + at.y, x + token * ROW_BYTES(x_stride), WINDOW_BEGIN(w, win), win.y, win.z, win.w,
	              get_group_id(0));
}
