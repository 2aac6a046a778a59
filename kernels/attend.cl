// attend.cl - attention over the KV cache, as one work-item computes it. A work-group has up to QUERIES
// queries of one KV head, so that a tile of 16 keys and values is read once for all of them. It attends to one of
// n_splits parts of the keys; attention_merge joins the parts (flash-decoding, Dao et al. 2023). Parameters: those of
// attention_tile.cl; HEAD_BLOCKS: heads begin and end at blocks of 32 columns and are written in the format of STORE,
// otherwise as f32.
#include "attention_tile.cl"
#include STORE

// Writes head h to row t of out, at column offset + h * HEAD_DIM. The first and the last head also write the zeros
// beside the heads.
#ifdef HEAD_BLOCKS
INLINE void store_head(global float *out, size_t t, uint stride, uint offset, uint h, uint n_heads, const float16 *head)
{
	uint first = (offset + h * HEAD_DIM) / 32, end = first + HEAD_DIM / 32;
	for (uint b = 0; h == 0 && b < first; b++)
		store_block(out, t, stride, b, (float16)0.0f, (float16)0.0f);
	for (uint b = first; b < end; b++)
		store_block(out, t, stride, b, head[2 * (b - first)], head[2 * (b - first) + 1]);
	for (uint b = end; h == n_heads - 1 && b < stride / 32; b++)
		store_block(out, t, stride, b, (float16)0.0f, (float16)0.0f);
}
#else
INLINE void store_head(global float *out, size_t t, uint stride, uint offset, uint h, uint n_heads, const float16 *head)
{
	global float *row = out + t * stride, *o = row + offset + h * HEAD_DIM;
	for (uint i = 0; h == 0 && i < offset; i++)
		row[i] = 0.0f;
	for (uint i = offset + n_heads * HEAD_DIM; h == n_heads - 1 && i < stride; i++)
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
#endif

// Computes the state of a block's queries over one part of the keys. The queries are rotated here. appends: the newest k
// and v, of the one row of the span, are appended here too, by the item that reads them. This is allowed only if one
// block has all queries of a KV head.
INLINE void attend(running *state, const attention_input *a, const row_span *s, query_block b, uint split, uint appends)
{
	float q[QUERIES][HEAD_PAD];
	uint limits[QUERIES];
	for (uint r = 0; r < QUERIES; r++) {
		uint id = query_number(&b, s, r), t = id / b.n_own;
		const global float *from = a->qkv + (size_t)(s->first_row + t) * a->stride + (b.begin + id % b.n_own) * HEAD_DIM;
		const global float *angles = a->rope + (size_t)(s->position + t) * a->rope_stride;
		load_rotated(q[r], from, angles, a->norms, a->eps);
		for (uint i = 0; i < HEAD_VECS; i++) {
			vstore16(vload16(i, q[r]) * query_scale(a, angles), i, q[r]);
			state[r].acc[i] = 0.0f;
		}
#ifdef BIASED
		state[r].biases = biases_of(a, b.begin + id % b.n_own);
		state[r].position = (int)(s->position + t);
#endif
		limits[r] = KEY_LIMIT(s, t);
		state[r].top = LOWEST;
		state[r].sum = 0.0f;
#ifdef SINKS
		if (split == 0) {
			state[r].top = sink(a, b.begin + id % b.n_own);
			state[r].sum.s0 = 1.0f;
		}
#endif
	}
	uint n_keys = limits[QUERIES - 1], used = (n_keys + EVN_KV_TILE - 1) / EVN_KV_TILE;
	uint begin = first_key(a, limits[0]) / EVN_KV_TILE; // of the first query, which has the lowest limit
	uint from = begin + (used - begin) * split / s->n_splits, to = begin + (used - begin) * (split + 1) / s->n_splits;
	if (appends && split == s->n_splits - 1)
		append(a, s, b.kv, s->first_row);
	for (uint tile = from; tile < to; tile++) {
		size_t at = tile_begin(a, s, b.kv, tile);
		add_tile(state, q, a, a->k_cache + at, a->v_cache + at, tile * EVN_KV_TILE, limits,
		         min(n_keys - tile * EVN_KV_TILE, (uint)EVN_KV_TILE));
	}
}

// out (n_rows, out_stride): writes the results of these queries. Their states cover all keys.
INLINE void store_attended(running *state, const attention_input *a, const row_span *s, query_block b, global float *out,
                           uint out_stride, uint out_offset)
{
	for (uint r = 0; r < QUERIES && b.first + r < b.n_own * s->n_rows; r++) {
		size_t row = s->first_row + (b.first + r) / b.n_own;
		float sum = sum16(state[r].sum);
		for (uint i = 0; i < HEAD_VECS; i++)
			state[r].acc[i] /= sum;
		store_head(out, row, out_stride, out_offset, b.begin + (b.first + r) % b.n_own, a->n_heads, state[r].acc);
	}
}

// partial (n_rows, n_heads, most_splits, EVN_PARTIAL_ROW(HEAD_PAD)): writes the sums, the maximum and the denominator
// of the states, which cover one part of the keys.
INLINE void store_partial(const running *state, const attention_input *a, const row_span *s, query_block b, uint split,
                          uint most_splits, global float *partial)
{
	for (uint r = 0; r < QUERIES && b.first + r < b.n_own * s->n_rows; r++) {
		size_t row = s->first_row + (b.first + r) / b.n_own, h = b.begin + (b.first + r) % b.n_own;
		global float *p = partial + ((row * a->n_heads + h) * most_splits + split) * EVN_PARTIAL_ROW(HEAD_PAD);
		for (uint i = 0; i < HEAD_VECS; i++)
			vstore16(state[r].acc[i], i, p);
		p[HEAD_PAD] = state[r].top;
		p[HEAD_PAD + 1] = sum16(state[r].sum);
	}
}
