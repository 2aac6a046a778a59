// head_gates.cl - gates of attention's heads. A product writes each query head and behind it its gate.
#include "common.cl"

// Copies the gates of n heads to `gates` (rows, n * width), and moves the heads to columns 0, width, 2 width ... Work-item
// (column of a head, row): it writes no column that another one reads.
kernel void split_gates(global float *rows, uint stride, uint n, uint width, global float *gates)
{
	const uint i = get_global_id(0);
	global float *row = rows + (size_t)get_global_id(1) * stride + i, *to = gates + (size_t)get_global_id(1) * n * width + i;
	for (uint h = 0; h < n; h++) {
		const float head = row[2 * h * width], gate = row[(2 * h + 1) * width];
		to[h * width] = gate;
		row[h * width] = head;
	}
}

// Columns of y from `offset` on times the logistic function of the gates. Work-item (column of all heads, row).
kernel void apply_gates(global float *y, uint stride, uint offset, const global float *gates)
{
	const size_t i = get_global_id(0), row = get_global_id(1), width = get_global_size(0);
	y[row * stride + offset + i] *= 1.0f / (1.0f + exp(-gates[row * width + i]));
}
