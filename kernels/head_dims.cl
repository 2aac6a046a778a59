// head_dims.cl - the dimensions of attention heads. Parameters: HEAD_DIM; ROPE_DIM, the elements that are rotated
// (even, <= HEAD_DIM).
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#ifndef ROPE_DIM
#define ROPE_DIM HEAD_DIM
#endif
#define HEAD_VECS ((HEAD_DIM + 15) / 16) // vectors of 16 in a head
#define HEAD_PAD (16 * HEAD_VECS)
