// matvec_experts.cl - matvec.cl for rows that each have an expert, with vectors. W holds the matrices of all experts.
#include "tiles.cl"

// y[t][y_offset + row] = W[experts[t]][row] . x[t / of.y]. of: the steps from one expert to the next; the rows of y for each
// of x. Work-group (TILES tiles, t).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matvec_experts(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint2 of,
                    const global uint *experts)
{
	const size_t t = get_group_id(1);
	multiply_rows(y + t * at.x + at.y, x + t / of.y * ROW_BYTES(x_stride), STEP(w, win.x + experts[t] * of.x), win.y, win.z,
	              win.w, get_group_id(0));
}
