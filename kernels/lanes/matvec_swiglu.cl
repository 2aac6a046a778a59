// matvec_swiglu.cl - the gate and up products of a feed-forward network and their combination in one launch, with
// scalars: an item has a row of the gate and the same row of up. Parameters: GATE, STORE, those of lanes/tiles.cl.
#define LANES 1
#define TILES 2
#define ABREAST 2
#include "lanes/tiles.cl"
#include GATE
#include STORE

// y[token] from x[token], up to y_stride. Tiles [0, n_tiles) of W are the gate and tiles [up, up + n_tiles) are up
// (Shazeer 2020): y[token][row] = combine(W[row] . x, W[16 up + row] . x), and zeros after the last row. gates: up and
// n_tiles. Work-group (32 columns of y, token - first).
kernel IN_LANES
void matvec_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, window win,
                   uint2 gates, uint first)
{
	local slice_sums part[SLICES];
	local float4 stored[ITEMS / 4];
	const size_t token = first + get_group_id(1), row_bytes = ROW_BYTES(x_stride);
	const uint row = get_local_id(0) % ROWS, tile = 2 * get_group_id(0) + row / EVN_TILE_ROWS;
	const uint held = min(tile, gates.y - 1); // beyond the last row an item computes another row again
	const global uchar *const blocks[2] = {STEP(w, win.x + (size_t)held * win.y),
	                                       STEP(w, win.x + (size_t)(gates.x + held) * win.y)};
	multiply_tiles(part, blocks, x + token * row_bytes, row_bytes, win.z);
	float v = 0.0f;
	if (tile < gates.y)
		v = combine(add_slices(part, 0, 0, row), add_slices(part, 1, 0, row));
	store_lane(y, token, y_stride, get_local_id(0) < ROWS ? get_group_id(0) * ROWS + row : y_stride, v, stored);
}
