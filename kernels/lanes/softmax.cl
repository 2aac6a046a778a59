// softmax.cl - the softmax of several queries over KEYS keys at a time, in the local memory of a work-group. Parameters:
// those of queries.cl.
#include "lanes/heads.cl"
#include "queries.cl"

#define KEYS EVN_LANE_ITEMS
#define CHUNKS (KEYS / 16)
#define LOWEST (-FLT_MAX) // below every score

typedef struct {
	float4 q[QUERIES][HEAD_PAD / 4]; // rotated, and multiplied by the scale of scores; at the end the results
	float4 weights[QUERIES][KEYS / 4]; // of the present keys: scores, then the exponentials
	float4 chunks[QUERIES][CHUNKS / 4]; // the largest, or the sum, of 16 weights
	float4 part[KEYS / 4];
	// The state of each query's softmax with a running maximum (Milakov & Gimelshein 2018): the highest score so far, the sum
	// of exp(score - top), and what the sums before the present keys are multiplied by.
	float top[QUERIES], sum[QUERIES], keep[QUERIES];
} shared;

// Reduces the weights of each query by 16 into its chunks. All items of the group call it.
INLINE void reduce_chunks(local shared *m, bool largest)
{
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint i = get_local_id(0); i < QUERIES * CHUNKS; i += KEYS) {
		const local float4 *w = m->weights[i / CHUNKS] + i % CHUNKS * 4;
		const float4 v = largest ? fmax(fmax(w[0], w[1]), fmax(w[2], w[3])) : w[0] + w[1] + (w[2] + w[3]);
		((local float *)m->chunks)[i] = largest ? fmax(fmax(v.x, v.y), fmax(v.z, v.w)) : v.x + v.y + (v.z + v.w);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

// Takes the largest score of the present keys into account. Item r does it for query r.
INLINE void raise_top(local shared *m, uint r)
{
	float4 v = m->chunks[r][0];
	for (uint i = 1; i < CHUNKS / 4; i++)
		v = fmax(v, m->chunks[r][i]);
	const float top = fmax(m->top[r], fmax(fmax(v.x, v.y), fmax(v.z, v.w)));
	m->keep[r] = exp(m->top[r] - top);
	m->top[r] = top;
}

INLINE void raise_sum(local shared *m, uint r)
{
	float4 v = m->chunks[r][0];
	for (uint i = 1; i < CHUNKS / 4; i++)
		v += m->chunks[r][i];
	m->sum[r] = fma(m->sum[r], m->keep[r], v.x + v.y + (v.z + v.w));
}
