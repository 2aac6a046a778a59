// pack.cl - a rank's partial sums as a message in another format than f32. Comes after the format (kernels/message/).

// Work-item: a block of 32 columns.
kernel IN_VECTORS void pack(global uchar *m, const global float *partial)
{
	size_t i = get_global_id(0);
	message_store(m, i, vload16(2 * i, partial), vload16(2 * i + 1, partial));
}
