// matvec_experts.cl - lanes/matvec.cl for rows, or blocks of TOKENS rows, that each have an expert. W holds the matrices of all
// experts.
#include "lanes/tiles.cl"

// y[t][y_offset + row] = W[experts[t / TOKENS]][row] . x[t / of.y]. of: the steps from one expert to the next; the rows of y
// for each of x, 1 with several TOKENS. Work-group (tile, block of TOKENS rows).
kernel IN_LANES
void matvec_experts(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint2 of,
                    const global uint *experts)
{
	local slice_sums part[SLICES];
	const size_t block = get_group_id(1), t = block * TOKENS, row_bytes = ROW_BYTES(x_stride);
	const uint tile = get_group_id(0), expert = experts[block];
	const bool none = expert == EVN_NO_EXPERT; // no column is multiplied; all items meet at the barrier
	const global uchar *const blocks[1] = {STEP(w, win.x + (none ? 0 : expert) * of.x + (size_t)tile * win.y)};
	multiply_tiles(part, blocks, x + t / of.y * row_bytes, row_bytes, none ? 0 : win.z);
	for (uint i = get_local_id(0); i < TOKENS * ROWS; i += ITEMS)
		y[(t + i / ROWS) * at.x + at.y + tile * EVN_TILE_ROWS + i % ROWS] = add_slices(part, 0, i / ROWS, i % ROWS);
}
