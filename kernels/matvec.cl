// matvec.cl - y = W x for one token, W in tiles of 16 rows in its file's own quantised blocks.
// Comes after kernels/quant/<format>.cl, which decodes a step (STEP_LEN columns of one tile) group by group:
//   w[row][k] = scale[row] * quant[row][k] + offset[row]   for the GROUP_LEN columns of a group.
#ifndef TILES
#define TILES 1 // tiles of one work-item: their sums share the loads of x and hide each other's latency
#endif
#ifndef SLICES
#define SLICES 1 // work-items that share one tile, each taking every SLICES-th step; a power of two; with TILES 1 only
#endif

// Sum of a group of x, by which the offsets are multiplied.
inline float group_sum(const global float *x)
{
	float16 sum = vload16(0, x);
#if GROUP_LEN == 32
	sum += vload16(1, x);
#endif
	return sum16(sum);
}

// y[token][y_offset + row] = W[row] . x[token], x of n_steps * STEP_LEN columns. Work-group (TILES tiles, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec(global float *y, uint y_stride, uint y_offset, const global float *x, uint x_stride, const global uchar *w,
            uint n_steps, uint n_tiles, uint first)
{
	size_t token = first + get_group_id(1);
	uint slice = get_local_id(0), tiles[TILES];
	const global uchar *blocks[TILES];
	float16 acc[TILES];
#pragma unroll
	for (uint i = 0; i < TILES; i++) {
		tiles[i] = min((uint)get_group_id(0) * TILES + i, n_tiles - 1); // the last item may do the last tile again
		blocks[i] = w + (size_t)tiles[i] * n_steps * (STEP_BYTES * TILE_ROWS);
		acc[i] = 0.0f;
	}
	for (uint s = slice; s < n_steps; s += SLICES) {
#pragma unroll
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
			const global float *xg = x + token * x_stride + s * STEP_LEN + g * GROUP_LEN;
			size_t step = (size_t)s * (STEP_BYTES * TILE_ROWS);
			float16 even[TILES], odd[TILES]; // two chains of sums hide the latency of a multiply-add
#pragma unroll
			for (uint i = 0; i < TILES; i++)
				even[i] = odd[i] = 0.0f;
#pragma unroll
			for (uint k = 0; k < GROUP_LEN; k += 2) {
#pragma unroll
				for (uint i = 0; i < TILES; i++) {
					even[i] = fma(tile_quant(blocks[i] + step, g, k), (float16)xg[k], even[i]);
					odd[i] = fma(tile_quant(blocks[i] + step, g, k + 1), (float16)xg[k + 1], odd[i]);
				}
			}
#ifdef HAS_OFFSET
			float xs = group_sum(xg);
#endif
#pragma unroll
			for (uint i = 0; i < TILES; i++) {
				float16 scale, offset;
				tile_scale(blocks[i] + step, g, &scale, &offset);
				acc[i] = fma(scale, even[i] + odd[i], acc[i]);
#ifdef HAS_OFFSET
				acc[i] = fma(offset, (float16)xs, acc[i]);
#endif
			}
		}
	}
#if SLICES > 1
	local float16 part[SLICES];
	part[slice] = acc[0];
	for (uint half_way = SLICES / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (slice < half_way)
			part[slice] += part[slice + half_way];
	}
	acc[0] = part[slice]; // its own: another item may still be writing part[0]
	if (slice)
		return;
#endif
#pragma unroll
	for (uint i = 0; i < TILES; i++)
		vstore16(acc[i], 0, y + token * y_stride + y_offset + tiles[i] * TILE_ROWS);
}
