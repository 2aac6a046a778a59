// rowwise.cl - what acts on the rows of an activation matrix (n_tok, stride): norm, gate, bias, sums of partials.
// Strides are multiples of 32 and the columns from the true width to the stride are zeros, so nothing here has a tail.
#ifndef NORM_ITEMS
#define NORM_ITEMS 1 // work-items that share a row; a power of two
#endif

// y[t] = x[first + t] / rms(x[first + t]) * w, rms over the dim true columns (Zhang & Sennrich 2019). Work-group t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void rmsnorm(global float *y, const global float *x, uint first, const global float *w, uint stride, uint dim, float eps)
{
	size_t t = get_group_id(0);
	uint item = get_local_id(0);
	const global float *xt = x + (first + t) * stride;
	float16 squares = 0.0f;
	for (uint i = item * 16; i < stride; i += NORM_ITEMS * 16) {
		float16 v = vload16(0, xt + i);
		squares = fma(v, v, squares);
	}
	float total = sum16(squares);
#if NORM_ITEMS > 1
	local float part[NORM_ITEMS];
	part[item] = total;
	for (uint half_way = NORM_ITEMS / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (item < half_way)
			part[item] += part[item + half_way];
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	total = part[0];
#endif
	float scale = 1.0f / sqrt(total / (float)dim + eps);
	for (uint i = item * 16; i < stride; i += NORM_ITEMS * 16)
		vstore16(vload16(0, xt + i) * scale * vload16(0, w + i), 0, y + t * stride + i);
}

// y[t][i] = silu(gate[t][i]) * up[t][i] for i < width, 0 up to y_stride; gate at column 0 and up at column up_offset
// of gu (Shazeer 2020). Work-item (16 columns, t).
kernel IN_VECTORS void swiglu(global float *y, uint y_stride, const global float *gu, uint gu_stride, uint up_offset, uint width)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	float16 v = 0.0f;
	if (i < width) {
		float16 gate = vload16(0, gu + t * gu_stride + i);
		float16 up = vload16(0, gu + t * gu_stride + up_offset + i);
		v = gate / (1.0f + exp(-gate)) * up;
	}
	vstore16(v, 0, y + t * y_stride + i);
}

// y[t][i] += b[i]. Work-item (16 columns, t).
kernel IN_VECTORS void add_bias(global float *y, uint stride, const global float *b)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	global float *yt = y + t * stride + i;
	vstore16(vload16(0, yt) + vload16(0, b + i), 0, yt);
}

// x += p0 + p1 + ... in this order, n of them; the others are not read. Work-item: 16 columns.
kernel IN_VECTORS void add_partials(global float *x, uint n, const global float *p0, const global float *p1, const global float *p2,
                         const global float *p3, const global float *p4, const global float *p5, const global float *p6,
                         const global float *p7)
{
	size_t i = get_global_id(0);
	const global float *p[8] = {p0, p1, p2, p3, p4, p5, p6, p7};
	float16 sum = vload16(i, p[0]);
	for (uint k = 1; k < n; k++)
		sum += vload16(i, p[k]);
	vstore16(vload16(i, x) + sum, i, x);
}
