// attention.cl - causal attention over the KV cache.
// A work-group takes up to QUERIES queries of one KV head, so that a tile of 16 keys and values is read once for all of
// them, and one of n_splits parts of the keys; attention_merge joins the parts (flash-decoding, Dao et al. 2023).
// Defines from the host: those of heads.cl; GROUP, query heads to a KV head; QUERIES, 1 where ATTENTION_ITEMS > 1.
#ifndef ATTENTION_ITEMS
#define ATTENTION_ITEMS 1 // work-items that share a work-group's keys; a power of two
#endif
#define PARTIAL_ROW (HEAD_PAD + 2)
#define HIDDEN (-INFINITY)
#define LOWEST (-FLT_MAX) // below every score, and finite: exp(HIDDEN - LOWEST) is 0

// Where attended heads are stored: a row of out holds head h at out_offset + h * HEAD_DIM and zeros beside the heads.
INLINE void store_head(global float *row, uint out_stride, uint out_offset, uint h, uint n_heads, const float16 *head)
{
	global float *o = row + out_offset + h * HEAD_DIM;
	if (h == 0)
		for (uint i = 0; i < out_offset; i++)
			row[i] = 0.0f;
	if (h == n_heads - 1)
		for (uint i = out_offset + n_heads * HEAD_DIM; i < out_stride; i++)
			row[i] = 0.0f;
	for (uint i = 0; i < HEAD_DIM / 16; i++)
		vstore16(head[i], i, o);
#if HEAD_DIM % 16
	float lanes[16];
	vstore16(head[HEAD_VECS - 1], 0, lanes);
	for (uint i = HEAD_DIM / 16 * 16; i < HEAD_DIM; i++)
		o[i] = lanes[i % 16];
#endif
}

// Softmax with a running maximum (Milakov & Gimelshein 2018): what the tiles so far add up to.
typedef struct {
	float top;   // highest score
	float16 sum; // of exp(score - top), by lane
	float16 acc[HEAD_VECS];
} running;

// One tile, of which a query sees the positions below its limit; from n on no query sees any.
INLINE void add_tile(running *state, const float (*q)[HEAD_PAD], const global uchar *keys, const global uchar *values,
                     uint base, const uint *limits, uint n)
{
	float16 scores[QUERIES];
	float weights[QUERIES][TILE];
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
		if (base + TILE > limits[r]) {
			int16 at = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (int16)((int)base);
			scores[r] = select((float16)HIDDEN, scores[r], at < (int16)((int)limits[r]));
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
	for (uint j = 0; j < n; j++) {
#pragma unroll
		for (uint i = 0; i < HEAD_VECS; i++) {
			float16 v = v_load(values, j, i);
#pragma unroll
			for (uint r = 0; r < QUERIES; r++)
				state[r].acc[i] = fma((float16)weights[r][j], v, state[r].acc[i]);
		}
	}
}

// Joins what another work-item or split has added up.
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

// out (n_tok, out_stride) = softmax(q K^T / sqrt(HEAD_DIM)) V over the keys 0 .. position + token; q rotated here from
// qkv. appends: the newest k and v, of one token, are appended here too, by the work-item that reads them: only where
// one block holds all queries of a KV head. Head h uses KV head (first_head + h) / GROUP - first_kv.
// With several splits partial (n_splits, n_tok, n_heads, PARTIAL_ROW) takes sums, maximum and denominator instead.
// Work-group (block of queries, KV head, split).
kernel IN_VECTORS __attribute__((reqd_work_group_size(ATTENTION_ITEMS, 1, 1)))
void attention(global float *out, uint out_stride, uint out_offset, global float *partial, global uchar *k_cache,
               global uchar *v_cache, uint n_tiles, uint position, uint n_tok, uint appends, const global float *qkv,
               uint stride, uint k_offset, uint v_offset, const global float *rope, const global float *q_weight,
               const global float *k_weight, float eps, uint n_heads, uint first_head, uint first_kv)
{
	uint kv = get_group_id(1), split = get_group_id(2), n_splits = get_num_groups(2), item = get_local_id(0);
	uint begin = max((first_kv + kv) * GROUP, first_head) - first_head;
	uint n_own = min((first_kv + kv + 1) * GROUP - first_head, n_heads) - begin; // query heads of this KV head here
	uint first = (get_num_groups(0) - 1 - get_group_id(0)) * QUERIES;            // the longest rows first
	if (first >= n_own * n_tok)
		return;
	float q[QUERIES][HEAD_PAD];
	uint limits[QUERIES];
	running state[QUERIES];
	for (uint r = 0; r < QUERIES; r++) {
		uint id = min(first + r, n_own * n_tok - 1), t = id / n_own;
		const global float *from = qkv + (size_t)t * stride + (begin + id % n_own) * HEAD_DIM;
		load_rotated(q[r], from, rope + (size_t)(position + t) * ROPE_DIM, q_weight, eps);
		for (uint i = 0; i < HEAD_VECS; i++) {
			vstore16(vload16(i, q[r]) * (1.0f / sqrt((float)HEAD_DIM)), i, q[r]);
			state[r].acc[i] = 0.0f;
		}
		limits[r] = position + t + 1;
		state[r].top = LOWEST;
		state[r].sum = 0.0f;
	}
	uint n_keys = limits[QUERIES - 1], used = (n_keys + TILE - 1) / TILE;
	uint from = used * split / n_splits, to = used * (split + 1) / n_splits;
	global uchar *keys = k_cache + (size_t)kv * n_tiles * KV_TILE_BYTES;
	global uchar *values = v_cache + (size_t)kv * n_tiles * KV_TILE_BYTES;
	if (appends && split == n_splits - 1 && (to - 1 - from) % ATTENTION_ITEMS == item)
		append(keys, values, position, qkv + k_offset + kv * HEAD_DIM, qkv + v_offset + kv * HEAD_DIM, rope, k_weight, eps);
	for (uint tile = from + item; tile < to; tile += ATTENTION_ITEMS) {
		size_t at = (size_t)tile * KV_TILE_BYTES;
		add_tile(state, q, keys + at, values + at, tile * TILE, limits, min(n_keys - tile * TILE, (uint)TILE));
	}
#if ATTENTION_ITEMS > 1
	local float tops[ATTENTION_ITEMS], sums[ATTENTION_ITEMS];
	local float16 accs[ATTENTION_ITEMS][HEAD_VECS];
	tops[item] = state[0].top;
	sums[item] = sum16(state[0].sum);
	for (uint i = 0; i < HEAD_VECS; i++)
		accs[item][i] = state[0].acc[i];
	barrier(CLK_LOCAL_MEM_FENCE);
	if (item)
		return;
	for (uint o = 1; o < ATTENTION_ITEMS; o++) {
		float16 acc[HEAD_VECS];
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = accs[o][i];
		join(&state[0], tops[o], sums[o], acc);
	}
#endif
	for (uint r = 0; r < QUERIES && first + r < n_own * n_tok; r++) {
		uint t = (first + r) / n_own, h = begin + (first + r) % n_own;
		float sum = sum16(state[r].sum);
		if (n_splits == 1) {
			for (uint i = 0; i < HEAD_VECS; i++)
				state[r].acc[i] /= sum;
			store_head(out + (size_t)t * out_stride, out_stride, out_offset, h, n_heads, state[r].acc);
		} else {
			global float *p = partial + (((size_t)split * n_tok + t) * n_heads + h) * PARTIAL_ROW;
			for (uint i = 0; i < HEAD_VECS; i++)
				vstore16(state[r].acc[i], i, p);
			p[HEAD_PAD] = state[r].top;
			p[HEAD_PAD + 1] = sum;
		}
	}
}

// Joins the splits in their order. Work-item (head, token).
kernel IN_VECTORS void attention_merge(global float *out, uint out_stride, uint out_offset, const global float *partial,
                                       uint n_splits)
{
	uint h = get_global_id(0), t = get_global_id(1), n_heads = get_global_size(0), n_tok = get_global_size(1);
	running all;
	all.top = LOWEST;
	all.sum = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] = 0.0f;
	for (uint s = 0; s < n_splits; s++) {
		const global float *p = partial + (((size_t)s * n_tok + t) * n_heads + h) * PARTIAL_ROW;
		float16 acc[HEAD_VECS];
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = vload16(i, p);
		join(&all, p[HEAD_PAD], p[HEAD_PAD + 1], acc);
	}
	float sum = sum16(all.sum);
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] /= sum;
	store_head(out + (size_t)t * out_stride, out_stride, out_offset, h, n_heads, all.acc);
}
