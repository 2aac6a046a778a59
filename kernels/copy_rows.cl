// copy_rows.cl - rows of an activation matrix (.., stride) as they are.

// y[t] = x[first + t]. Work-item (16 columns, t).
kernel IN_VECTORS void copy_rows(global float *y, const global float *x, uint first, uint stride)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	vstore16(vload16(0, x + (first + t) * stride + i), 0, y + t * stride + i);
}
