/* ops_attention.c - divides attention into work-groups, and launches its kernels. */
#include "nn/ops_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SPLITS 64u
#define MIN_SPLIT_KEYS 256u /* fewer keys are read in less time than a launch of the joining kernel takes */
#define GROUPS_PER_UNIT 4u  /* for GPUs, which hide latency by other work-groups */
#define PROMPT_FLOATS 4096u /* the queries of a work-group of a prompt, with 1 lane */
#define PROMPT_KEYS 64u     /* and the keys that it takes at a time */

/* A buffer that grows when it is needed. */
typedef struct {
	evn_buf *buf;
	uint64_t floats;
} scratch;

struct evn_attention_ops {
	evn_queue *q;
	evn_attention_config config;
	uint32_t lanes; /* the device's, when the kernels were made */
	evn_kernel *append, *merge[EVN_ACT_FORMATS],
		*attention[EVN_ACT_FORMATS][EVN_MAX_QUERIES + 1]; /* [format][queries of a work-group] */
	evn_kernel *store[EVN_ACT_FORMATS];
	evn_kernel *prompt[EVN_ACT_FORMATS]; /* with 1 lane: the rows of a prompt by tiles */
	evn_kernel *rotate, *sequences;
	evn_kernel *blocks[EVN_MAX_QUANTS][EVN_ACT_FORMATS][EVN_MAX_QUERIES + 1]; /* [weights][format of x][queries] */
	scratch partial;                                                          /* the states of the splits */
	scratch attended; /* f32 rows that are converted to another format afterwards */
};

/* ---- formats of the cache -------------------------------------------------------------------------------------- */

typedef struct {
	const char *kernel;    /* kernels/kv/<kernel>.cl */
	uint32_t vec_bytes;    /* bytes of 16 dimensions of 16 positions */
	uint32_t scales_bytes; /* bytes of what 32 dimensions of 16 positions share: their scales */
} kv_format;

static const kv_format formats[] = {
	[EVN_KV_F32] = {"f32", 1024, 0},
	[EVN_KV_F16] = {"f16", 512, 0},
	[EVN_KV_Q8_0] = {"q8_0", 256, 32},
	[EVN_KV_Q4_0] = {"q4_0", 0, 256 + 32}, /* codes are in pairs, too */
};

static uint32_t head_vecs(uint32_t head_dim) { return (head_dim + 15) / 16; }

uint64_t evn_kv_block_bytes(evn_kv_cache format, uint32_t head_dim)
{
	const kv_format *f = &formats[format];
	const uint64_t vecs = head_vecs(head_dim);
	return EVN_KV_BLOCK_TILES * (vecs * f->vec_bytes + (vecs + 1) / 2 * f->scales_bytes);
}

static uint64_t split_row(uint32_t head_dim) { return EVN_PARTIAL_ROW(head_vecs(head_dim) * 16); }

static uint32_t most_splits(uint32_t n_keys)
{
	return n_keys / MIN_SPLIT_KEYS < MAX_SPLITS ? n_keys / MIN_SPLIT_KEYS : MAX_SPLITS;
}

uint64_t evn_attention_split_bytes(uint32_t head_dim, uint32_t n_heads, uint32_t n_rows, uint32_t n_ctx)
{
	return (uint64_t)most_splits(n_ctx) * n_heads * n_rows * split_row(head_dim) * sizeof(float);
}

/* ---- kernels --------------------------------------------------------------------------------------------------- */

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err)
{
	evn_attention_ops *o = *out = calloc(1, sizeof *o);
	if (!o)
		return evn_fail_memory(err, "attention kernels", sizeof *o);
	*o = (evn_attention_ops){.q = q, .config = *config};
	o->lanes = evn_device_lanes(evn_queue_device(q));
	return EVN_OK;
}

void evn_attention_ops_free(evn_attention_ops *o)
{
	if (!o)
		return;
	evn_buf_free(o->partial.buf);
	evn_buf_free(o->attended.buf);
	free(o);
}

const evn_attention_config *evn_attention_ops_config(const evn_attention_ops *o) { return &o->config; }

evn_kernel **evn_attention_block_kernel(evn_attention_ops *o, const evn_quant *quant, evn_act_format format,
										uint32_t queries)
{
	return &o->blocks[quant - evn_quant_at(0)][format][queries];
}

static bool is_limited(const evn_attention_config *c) { return c->windowed || c->soft_capped; }

void evn_spec_attention(evn_spec *s, const evn_attention_ops *o, uint32_t queries)
{
	const evn_attention_config *c = &o->config;
	evn_spec_part(s, "KV_CACHE", "kv/%s.cl", formats[c->kv_cache].kernel);
	evn_spec_define(s, "HEAD_DIM", c->head_dim);
	evn_spec_define(s, "ROPE_DIM", c->rope_dim);
	evn_spec_define(s, "GROUP", c->group);
	evn_spec_define(s, "QUERIES", queries);
	evn_spec_option(s, c->rope_neox ? "-DROPE_NEOX" : "");
	evn_spec_option(s, c->qk_norm ? "-DQK_NORM" : "");
	evn_spec_option(s, c->v_norm ? "-DV_NORM" : "");
	evn_spec_option(s, c->whole ? "-DWHOLE" : "");
	evn_spec_option(s, is_limited(c) ? "-DLIMITED" : "");
	evn_spec_option(s, c->windowed ? "-DWINDOW" : "");
	evn_spec_option(s, c->soft_capped ? "-DSOFT_CAP" : "");
	evn_spec_option(s, c->sinks ? "-DSINKS" : "");
	evn_spec_option(s, c->query_scales ? "-DQUERY_SCALES" : "");
	evn_spec_option(s, c->biased ? "-DBIASED" : "");
	evn_spec_option(s, c->crosses ? "-DMEMORY" : "");
}

/* With 1 lane the kernels have files of their own, and their work-groups have several items. */
static const char *file_of(const evn_attention_ops *o, const char *vectors, const char *scalars)
{
	return o->lanes > 1 ? vectors : scalars;
}

static size_t items_of(const evn_attention_ops *o) { return o->lanes > 1 ? 1 : EVN_LANE_ITEMS; }

/* The kernel is built when it is first used. */
static evn_status append_kernel(evn_attention_ops *o, evn_error *err)
{
	if (o->append)
		return EVN_OK;
	evn_spec spec = evn_spec_of(file_of(o, "attention_append.cl", "lanes/attention_append.cl"));
	evn_spec_attention(&spec, o, 1);
	return evn_kernel_get(&o->append, o->q, &spec, "attention_append", err);
}

/* A kernel that writes the result of attention, as f32 or in blocks. */
static evn_status attend_kernel(evn_attention_ops *o, evn_kernel **k, const char *file, const char *name,
								evn_act_format format, uint32_t queries, evn_error *err)
{
	if (*k)
		return EVN_OK;
	evn_spec spec = evn_spec_of(file);
	evn_spec_attention(&spec, o, queries);
	evn_spec_store(&spec, format);
	evn_spec_option(&spec, format == EVN_ACT_F32 ? "" : "-DHEAD_BLOCKS");
	return evn_kernel_get(k, o->q, &spec, name, err);
}

/* ---- launches -------------------------------------------------------------------------------------------------- */

/* The smallest number of parts with which the compute units are idle for less than a tenth of the time. */
static uint32_t choose_splits(const evn_attention_ops *o, uint64_t n_groups, uint32_t n_keys)
{
	const evn_device *d = evn_queue_device(o->q);
	uint64_t slots = (uint64_t)evn_device_units(d) * (o->lanes > 1 ? 1 : GROUPS_PER_UNIT);
	const uint32_t most = most_splits(n_keys);
	uint32_t best = 1;
	double least = 2;
	for (uint32_t n = 1; n <= most && least > 1.1; n++) {
		uint64_t groups = n_groups * n, rounds = (groups + slots - 1) / slots;
		double waste = (double)(rounds * slots) / (double)groups;
		if (n == 1 || waste < least) {
			least = waste;
			best = n;
		}
	}
	return best;
}

/* The most query heads of one KV head on this rank. */
static uint32_t most_own(const evn_attention_ops *o, uint32_t n_heads)
{
	return n_heads < o->config.group ? n_heads : o->config.group;
}

static uint32_t queries_for(uint32_t n_own, uint32_t n_rows)
{
	const uint64_t n_queries = (uint64_t)n_own * n_rows;
	return n_queries < EVN_MAX_QUERIES ? (uint32_t)n_queries : EVN_MAX_QUERIES;
}

uint32_t evn_attention_queries(const evn_attention_ops *o, const evn_attention *a, const evn_row_set *rows)
{
	uint32_t longest = 1;
	for (uint32_t i = 0; i < rows->n_spans; i++)
		longest = rows->spans[i].n_rows > longest ? rows->spans[i].n_rows : longest;
	return queries_for(most_own(o, a->n_heads), longest);
}

/* ---- row tables ------------------------------------------------------------------------------------------------ */

uint64_t evn_row_table_words(uint32_t n_spans, uint64_t n_blocks)
{
	return EVN_SPAN_WORDS * (1 + (uint64_t)n_spans) + n_blocks;
}

/* Rows of a prompt keep the device busy by their number. The keys of a decoded row are divided into parts instead. */
static uint32_t splits_of(const evn_attention_ops *o, const evn_span *s, uint32_t n_kv)
{
	if (o->config.splits)
		return o->config.splits;
	return s->phase == EVN_PROMPT ? 1 : choose_splits(o, n_kv, s->position + 1);
}

void evn_row_table_fill(const evn_attention_ops *o, evn_row_set *rows, uint32_t n_kv, uint32_t *words)
{
	uint32_t at = EVN_SPAN_WORDS * (1 + rows->n_spans);
	memset(words, 0, at * sizeof *words);
	words[0] = rows->n_spans;
	rows->most_splits = 1;
	rows->has_row_pairs = false;
	for (uint32_t i = 0; i < rows->n_spans; i++) {
		const evn_span *s = &rows->spans[i];
		const uint32_t n_keys = rows->of_memory ? s->position : s->position + s->n_rows;
		const uint32_t n_splits = splits_of(o, s, n_kv), n_blocks = evn_blocks_for(n_keys);
		const uint32_t span[] = {s->first_row - rows->spans[0].first_row, s->n_rows, s->position, n_splits, at};
		memcpy(words + EVN_SPAN_WORDS * (1 + i), span, sizeof span);
		memcpy(words + at, s->slot->table, n_blocks * sizeof *words);
		at += n_blocks;
		rows->most_splits = n_splits > rows->most_splits ? n_splits : rows->most_splits;
		rows->has_row_pairs |= i > 0 && s->slot == rows->spans[i - 1].slot;
	}
}

/* ---- launches -------------------------------------------------------------------------------------------------- */

void evn_arg_attention(evn_args *a, const evn_attention_ops *o, const evn_attention *at, const evn_row_set *rows)
{
	const evn_buf *unread = at->rope; /* every argument must be set */
	evn_arg_buf(a, at->qkv);
	evn_arg_u32x4(a, (uint32_t[]){at->qkv_stride, at->k_offset, at->v_offset, at->rope_stride});
	evn_arg_u32x4(a, (uint32_t[]){at->n_heads, at->skip, at->n_kv_held, at->first_held});
	evn_arg_f32x2(a, (float[]){at->scale, at->norm_eps});
	evn_arg_buf(a, at->k_cache);
	evn_arg_buf(a, at->v_cache);
	evn_arg_buf(a, at->rope);
	evn_arg_buf(a, at->norms ? at->norms : unread);
	evn_arg_buf(a, rows->table);
	if (is_limited(&o->config)) {
		evn_arg_u32(a, at->window);
		evn_arg_f32(a, at->soft_cap);
	}
}

evn_status evn_op_append(evn_attention_ops *o, const evn_attention *at, const evn_row_set *rows, evn_error *err)
{
	EVN_TRY(append_kernel(o, err));
	evn_args a = evn_args_begin(o->append);
	evn_arg_attention(&a, o, at, rows);
	return evn_launch(&a, 2, (size_t[]){at->n_kv, rows->n_rows}, (size_t[]){items_of(o), 1}, err);
}

static evn_status grow(evn_attention_ops *o, scratch *s, uint64_t floats, const char *what, evn_error *err)
{
	if (floats <= s->floats)
		return EVN_OK;
	evn_buf_free(s->buf);
	*s = (scratch){0};
	EVN_TRY(evn_buf_create(&s->buf, evn_queue_device(o->q), floats * sizeof(float), EVN_BUF_DEVICE, what, err));
	s->floats = floats;
	/* The host writes the zeros, because Oclgrind 21.10 forgets that work-groups after the first have written to a
	 * buffer. */
	void *host;
	EVN_TRY(evn_map(o->q, s->buf, floats * sizeof(float), EVN_MAP_OVERWRITE, true, &host, err));
	memset(host, 0, floats * sizeof(float));
	return evn_unmap(o->q, s->buf, host, err);
}

evn_status evn_attention_rows(evn_attention_ops *o, uint32_t stride, uint32_t n_tok, evn_buf **out, evn_error *err)
{
	EVN_TRY(grow(o, &o->attended, (uint64_t)n_tok * stride, "attention output", err));
	*out = o->attended.buf;
	return EVN_OK;
}

/* Where the result of attention is written. */
typedef struct {
	evn_act_format format; /* blocks only if heads begin and end at block borders */
	evn_buf *buf;
	uint32_t stride, offset;
} attended_rows;

static void arg_rows(evn_args *a, const attended_rows *out)
{
	evn_arg_buf(a, out->buf);
	evn_arg_u32x2(a, (uint32_t[]){out->stride, out->offset});
}

static evn_status merge(evn_attention_ops *o, const attended_rows *out, const evn_row_set *rows, uint32_t n_heads,
						evn_error *err)
{
	evn_kernel **k = &o->merge[out->format];
	EVN_TRY(attend_kernel(o, k, file_of(o, "attention_merge.cl", "lanes/attention_merge.cl"), "attention_merge",
						  out->format, 1, err));
	evn_args a = evn_args_begin(*k);
	arg_rows(&a, out);
	evn_arg_buf(&a, o->partial.buf);
	evn_arg_u32(&a, rows->most_splits);
	evn_arg_buf(&a, rows->table);
	return evn_launch(&a, 2, (size_t[]){n_heads, rows->n_rows}, (size_t[]){items_of(o), 1}, err);
}

/* The work-groups for the queries of one KV head in all spans, `queries` in each. */
static size_t count_blocks(const evn_row_set *rows, uint32_t n_own, uint32_t queries)
{
	size_t n = 0;
	for (uint32_t i = 0; i < rows->n_spans; i++)
		n += ((size_t)n_own * rows->spans[i].n_rows + queries - 1) / queries;
	return n;
}

/* The queries of a work-group of lanes/attention_prompt.cl: as many as have 16 KB of local memory, so that two
 * work-groups fit into 64 KB. 0: heads are too large, or the device has too little, so prompts are computed as
 * decoded rows are. It follows from heads and device alone, so every row of a prompt is computed by the same kernel.
 */
static uint32_t prompt_queries(const evn_attention_ops *o)
{
	const uint32_t pad = 16 * head_vecs(o->config.head_dim), most = pad ? PROMPT_FLOATS / pad : 0;
	const uint32_t queries = most >= 32 ? 32 : most >= 16 ? 16 : most >= 8 ? 8 : 0;
	const uint64_t bytes = (uint64_t)queries * (pad + PROMPT_KEYS + 4) * sizeof(float) + 1024;
	return o->lanes > 1 || o->config.splits > 1 || bytes > evn_device_local_bytes(evn_queue_device(o->q)) ? 0
																										  : queries;
}

static evn_status attend_prompt(evn_attention_ops *o, const attended_rows *out, const evn_attention *at,
								const evn_row_set *rows, uint32_t queries, evn_error *err)
{
	evn_kernel **k = &o->prompt[out->format];
	if (!o->config.crosses && !at->shares)
		EVN_TRY(evn_op_append(o, at, rows, err));
	EVN_TRY(attend_kernel(o, k, "lanes/attention_prompt.cl", "attention_prompt", out->format, queries, err));
	evn_args a = evn_args_begin(*k);
	evn_arg_attention(&a, o, at, rows);
	arg_rows(&a, out);
	return evn_launch(&a, 2, (size_t[]){count_blocks(rows, most_own(o, at->n_heads), queries), at->n_kv},
					  (size_t[]){EVN_LANE_ITEMS, 1}, err);
}

static evn_status attend(evn_attention_ops *o, const attended_rows *out, const evn_attention *at,
						 const evn_row_set *rows, evn_error *err)
{
	const uint32_t tile = rows->phase == EVN_PROMPT ? prompt_queries(o) : 0;
	if (tile)
		return attend_prompt(o, out, at, rows, tile, err);
	const uint32_t n_own = most_own(o, at->n_heads), queries = evn_attention_queries(o, at, rows);
	/* The attention kernel appends the keys of its own row only. */
	const bool none = o->config.crosses || at->shares;
	const bool appends = rows->phase == EVN_DECODE && n_own <= queries && !rows->has_row_pairs && !none;
	if (!appends && !none)
		EVN_TRY(evn_op_append(o, at, rows, err));
	if (rows->most_splits > 1) {
		const uint64_t floats = split_row(o->config.head_dim) * rows->most_splits * rows->n_rows * at->n_heads;
		EVN_TRY(grow(o, &o->partial, floats, "attention's splits", err));
	}
	evn_kernel **k = &o->attention[out->format][queries];
	EVN_TRY(attend_kernel(o, k, file_of(o, "attention.cl", "lanes/attention.cl"), "attention", out->format, queries,
						  err));
	evn_args a = evn_args_begin(*k);
	evn_arg_attention(&a, o, at, rows);
	arg_rows(&a, out);
	evn_arg_buf(&a, rows->most_splits > 1 ? o->partial.buf : out->buf);
	evn_arg_u32(&a, appends);
	const size_t groups[] = {count_blocks(rows, n_own, queries), at->n_kv, rows->most_splits};
	EVN_TRY(evn_launch(&a, 3, groups, (size_t[]){items_of(o), 1, 1}, err));
	return rows->most_splits > 1 ? merge(o, out, rows, at->n_heads, err) : EVN_OK;
}

evn_status evn_op_attention(evn_attention_ops *o, evn_act_format format, evn_buf *out, uint32_t out_stride,
							uint32_t out_offset, const evn_attention *at, const evn_row_set *rows, evn_error *err)
{
	attended_rows to = {format, out, out_stride, out_offset};
	if (format == EVN_ACT_F32 || (o->config.head_dim % 32 == 0 && out_offset % 32 == 0))
		return attend(o, &to, at, rows, err);
	to.format = EVN_ACT_F32;
	EVN_TRY(evn_attention_rows(o, out_stride, rows->n_rows, &to.buf, err));
	EVN_TRY(attend(o, &to, at, rows, err));
	const uint32_t items = evn_device_row_items(evn_queue_device(o->q));
	if (!o->store[format]) {
		evn_spec spec = evn_spec_of("norm_rows.cl");
		evn_spec_norm(&spec, EVN_NORM_NONE, format, items);
		EVN_TRY(evn_kernel_get(&o->store[format], o->q, &spec, "norm_rows", err));
	}
	const evn_norm stored = {.kind = EVN_NORM_NONE, .format = format, .y = out};
	return evn_norm_launch(o->store[format], items, &stored, to.buf, 0, rows->n_rows, out_stride, err);
}

/* ---- whole sequences ------------------------------------------------------------------------------------------- */

void evn_spec_heads(evn_spec *s, const evn_attention_config *c)
{
	evn_spec_define(s, "HEAD_DIM", c->head_dim);
	evn_spec_define(s, "ROPE_DIM", c->rope_dim);
	evn_spec_option(s, c->rope_neox ? "-DROPE_NEOX" : "");
}

static evn_status sequences_kernel(const evn_attention_ops *o, evn_kernel **k, const char *file, const char *name,
								   evn_error *err)
{
	evn_spec spec = evn_spec_of(file);
	evn_spec_heads(&spec, &o->config);
	return *k ? EVN_OK : evn_kernel_get(k, o->q, &spec, name, err);
}

evn_status evn_op_rotate(evn_attention_ops *o, evn_buf *qkv, const evn_sequences *s, const evn_buf *rope, bool back,
						 evn_error *err)
{
	EVN_TRY(sequences_kernel(o, &o->rotate, "rope_rows.cl", "rope_rows", err));
	evn_args a = evn_args_begin(o->rotate);
	evn_arg_buf(&a, qkv);
	evn_arg_u32(&a, s->stride);
	evn_arg_u32(&a, s->n_heads);
	evn_arg_u32(&a, s->k_offset);
	evn_arg_buf(&a, rope);
	evn_arg_u32(&a, s->n_ctx);
	evn_arg_f32(&a, back ? -1.0f : 1.0f);
	return evn_launch_vectors(&a, 2, (size_t[]){s->n_heads + s->n_kv, (size_t)s->n_ctx * s->n_sequences}, err);
}

evn_status evn_op_attention_sequences(evn_attention_ops *o, evn_buf *out, evn_buf *lse, const evn_buf *qkv,
									  const evn_sequences *s, evn_error *err)
{
	EVN_TRY(sequences_kernel(o, &o->sequences, "attention_sequences.cl", "attention_sequences", err));
	if (s->out_stride > s->n_heads * o->config.head_dim)
		EVN_TRY(evn_fill_zero(o->q, out, err));
	evn_args a = evn_args_begin(o->sequences);
	evn_arg_buf(&a, out);
	evn_arg_buf(&a, lse);
	evn_arg_buf(&a, qkv);
	evn_arg_struct(&a, s, sizeof *s);
	return evn_launch_vectors(&a, 3, (size_t[]){s->n_ctx / EVN_SEQUENCE_GRAIN, s->n_heads, s->n_sequences}, err);
}
