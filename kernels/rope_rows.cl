// rope_rows.cl - rotary embedding of whole sequences, in place. Parameters: those of head_dims.cl; ROPE_NEOX as in
// heads.cl.
#include "common.cl"
#include "head_dims.cl"

// Rotates n_heads query heads at column 0 and the key heads from k_offset on by the angle of the token's position in
// its sequence. direction -1 rotates back: this is the transpose, which is the gradient. Work-item (head, token).
kernel void rope_rows(global float *qkv, uint stride, uint n_heads, uint k_offset, const global float *rope, uint n_ctx,
                      float direction)
{
	uint h = get_global_id(0), t = get_global_id(1);
	global float *head = qkv + (size_t)t * stride + (h < n_heads ? h * HEAD_DIM : k_offset + (h - n_heads) * HEAD_DIM);
	const global float *cosines = rope + (size_t)(t % n_ctx) * ROPE_DIM, *sines = cosines + ROPE_DIM / 2;
	for (uint i = 0; i < ROPE_DIM / 2; i++) {
#ifdef ROPE_NEOX
		uint a = i, b = i + ROPE_DIM / 2;
#else
		uint a = 2 * i, b = 2 * i + 1;
#endif
		float xa = head[a], xb = head[b], sine = sines[i] * direction;
		head[a] = xa * cosines[i] - xb * sine;
		head[b] = xa * sine + xb * cosines[i];
	}
}
