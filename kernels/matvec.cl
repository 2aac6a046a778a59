// matvec.cl - y = W x for one token, W in tiles of 16 rows in its file's own quantised blocks.
// Comes after kernels/quant/<format>.cl, which decodes a step (STEP_LEN columns of one tile) group by group:
//   w[row][k] = scale[row] * quant[row][k] + offset[row]   for the GROUP_LEN columns of a group.
#ifndef SLICES
#define SLICES 1 // work-items that share one tile, each taking every SLICES-th step; a power of two
#endif

#define GROUPS (STEP_LEN / GROUP_LEN)

// (16 rows of one step) . x[STEP_LEN]. Two chains of sums hide the latency of a multiply-add.
inline float16 step_dot(const global uchar *b, const global float *x)
{
	float16 total = 0.0f;
#pragma unroll
	for (uint g = 0; g < GROUPS; g++) {
		const global float *xg = x + g * GROUP_LEN;
		float16 scale, offset, even = 0.0f, odd = 0.0f;
		tile_scale(b, g, &scale, &offset);
#pragma unroll
		for (uint k = 0; k < GROUP_LEN; k += 2) {
			even = fma(tile_quant(b, g, k), (float16)xg[k], even);
			odd = fma(tile_quant(b, g, k + 1), (float16)xg[k + 1], odd);
		}
		total = fma(scale, even + odd, total);
#ifdef HAS_OFFSET
		float16 xs = vload16(0, xg);
#if GROUP_LEN == 32
		xs += vload16(1, xg);
#endif
		total = fma(offset, (float16)sum16(xs), total);
#endif
	}
	return total;
}

// y[token][y_offset + row] = W[row] . x[token], x of n_steps * STEP_LEN columns. Work-group (tile, token - first).
kernel IN_VECTORS __attribute__((reqd_work_group_size(SLICES, 1, 1)))
void matvec(global float *y, uint y_stride, uint y_offset, const global float *x, uint x_stride, const global uchar *w,
            uint n_steps, uint first)
{
	size_t tile = get_group_id(0), token = first + get_group_id(1);
	uint slice = get_local_id(0);
	const global float *xt = x + token * x_stride;
	const global uchar *wt = w + tile * n_steps * (STEP_BYTES * TILE_ROWS);
	float16 acc = 0.0f;
	for (uint s = slice; s < n_steps; s += SLICES)
		acc += step_dot(wt + (size_t)s * (STEP_BYTES * TILE_ROWS), xt + s * STEP_LEN);
#if SLICES > 1
	local float16 part[SLICES];
	part[slice] = acc;
	for (uint half_way = SLICES / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (slice < half_way)
			part[slice] += part[slice + half_way];
	}
	acc = part[slice]; // its own: another item may still be writing part[0]
#endif
	if (slice == 0)
		vstore16(acc, 0, y + token * y_stride + y_offset + tile * TILE_ROWS);
}
