// matvec.cl - y = W x for one token, W in tiles of 16 rows in its file's own quantised blocks. Comes after tiles.cl.

// y[token][y_offset + row] = W[row] . x[token], x of n_steps * STEP_LEN columns. W begins with step `begin` of w, where a
// tile has tile_steps. Work-group (TILES tiles, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec(global float *y, uint y_stride, uint y_offset, const global uchar *x, uint x_stride, const global uchar *w,
            uint begin, uint tile_steps, uint n_steps, uint n_tiles, uint first)
{
	size_t token = first + get_group_id(1);
	uint tiles[TILES];
	float16 acc[TILES];
	local float16 part[SLICES];
#pragma unroll
	for (uint i = 0; i < TILES; i++)
		tiles[i] = min((uint)get_group_id(0) * TILES + i, n_tiles - 1); // the last item may do the last tile again
	multiply_tiles(acc, tiles, x + token * ROW_BYTES(x_stride), STEP(w, begin), tile_steps, n_steps, part);
	if (get_local_id(0))
		return;
#pragma unroll
	for (uint i = 0; i < TILES; i++)
		vstore16(acc[i], 0, y + token * y_stride + y_offset + tiles[i] * TILE_ROWS);
}
