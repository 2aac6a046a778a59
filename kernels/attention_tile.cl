// attention_tile.cl - adds a tile of 16 keys and values to the attention of several queries. Parameters: those of
// queries.cl.
#include "queries.cl"

#define HIDDEN (-INFINITY)
#define LOWEST (-FLT_MAX) // below every score, but finite: exp(HIDDEN - LOWEST) is 0

// The vectors of a head whose sums for all queries are computed at once. They use half of 32 vector registers.
#if QUERIES * HEAD_VECS <= 16
#define VECS_AT_ONCE HEAD_VECS
#elif QUERIES <= 4 && HEAD_VECS % 4 == 0
#define VECS_AT_ONCE 4
#elif QUERIES <= 8 && HEAD_VECS % 2 == 0
#define VECS_AT_ONCE 2
#else
#define VECS_AT_ONCE 1
#endif

// The state of a softmax with a running maximum (Milakov & Gimelshein 2018), over the tiles so far.
typedef struct {
	float top;   // the highest score
	float16 sum; // the sum of exp(score - top), by lane
	float16 acc[HEAD_VECS];
#ifdef BIASED
	const global float *biases; // of the query's head
	int position;               // of the query
#endif
} running;

// acc += weights * values of the tile, in the vectors from `first` on.
INLINE void add_values(running *state, const float (*weights)[EVN_KV_TILE], const global uchar *values, uint first, uint n)
{
	float16 acc[VECS_AT_ONCE][QUERIES];
#pragma unroll
	for (uint i = 0; i < VECS_AT_ONCE; i++)
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			acc[i][r] = state[r].acc[first + i];
	for (uint j = 0; j < n; j++) {
#pragma unroll
		for (uint i = 0; i < VECS_AT_ONCE; i++) {
			float16 v = v_load(values, j, first + i);
#pragma unroll
			for (uint r = 0; r < QUERIES; r++)
				acc[i][r] = fma((float16)weights[r][j], v, acc[i][r]);
		}
	}
#pragma unroll
	for (uint i = 0; i < VECS_AT_ONCE; i++)
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			state[r].acc[first + i] = acc[i][r];
}

// Adds one tile. A query attends to the positions below its limit. No query attends to positions from n on.
INLINE void add_tile(running *state, const float (*q)[HEAD_PAD], const attention_input *a, const global uchar *keys,
                     const global uchar *values, uint base, const uint *limits, uint n)
{
	float16 scores[QUERIES];
	float weights[QUERIES][EVN_KV_TILE];
	for (uint r = 0; r < QUERIES; r++)
		scores[r] = 0.0f;
	for (uint i = 0; i < HEAD_DIM; i++) {
		float16 k = k_load(keys, i);
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			scores[r] = fma((float16)q[r][i], k, scores[r]);
	}
#pragma unroll
	for (uint r = 0; r < QUERIES; r++) {
		const uint first = first_key(a, limits[r]);
#ifdef BIASED
		scores[r] += vload16(0, state[r].biases + bias_place((int)base - state[r].position));
#endif
		scores[r] = CAPPED(scores[r]);
		if (base + EVN_KV_TILE > limits[r] || base < first) {
			int16 at = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (int16)((int)base);
			scores[r] = select((float16)HIDDEN, scores[r], at < (int16)((int)limits[r]));
#ifdef WINDOW
			scores[r] = select((float16)HIDDEN, scores[r], at >= (int16)((int)first));
#endif
		}
		float top = max16(scores[r]);
		if (top > state[r].top) {
			float keep = exp(state[r].top - top);
			state[r].top = top;
			state[r].sum *= keep;
			for (uint i = 0; i < HEAD_VECS; i++)
				state[r].acc[i] *= keep;
		}
		float16 w = exp(scores[r] - state[r].top);
		state[r].sum += w;
		vstore16(w, 0, weights[r]);
	}
#pragma unroll
	for (uint first = 0; first < HEAD_VECS; first += VECS_AT_ONCE)
		add_values(state, weights, values, first, n);
}

// Adds the state of another work-item or split.
INLINE void join(running *a, float top, float sum, const float16 *acc)
{
	float both = fmax(a->top, top);
	float mine = exp(a->top - both), other = exp(top - both);
	a->top = both;
	a->sum = a->sum * mine;
	a->sum.s0 += sum * other;
	for (uint i = 0; i < HEAD_VECS; i++)
		a->acc[i] = fma(a->acc[i], (float16)mine, acc[i] * other);
}
