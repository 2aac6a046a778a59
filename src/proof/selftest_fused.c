/* selftest_fused.c - known answers for the kernels that compute a block of one row in one launch. Their intermediate
 * results stay in memory. Each part is therefore compared with the answers of selftest_matrix.c and selftest_heads.c
 * for the input that it really had. */
#include <stdio.h>
#include <string.h>

#include "nn/ops_fused.h"
#include "proof/selftest_parts.h"

typedef struct {
	const char *name, *quant;
	bool tiny;
	evn_attention_config config;
	evn_heads_at of;
	uint32_t dim; /* the columns of x and the rows of y */
	evn_dot dot;
} attention_shape;

typedef struct {
	const char *quant;
	bool tiny;
	uint32_t dim;
	evn_range ff;     /* the range that is held */
	evn_range window; /* the part of it that is used */
	evn_nonlinearity gate;
	evn_dot dot;
} ff_shape;

/* The data of a fused block: W_in, stacked from n_in tensors, and W_out, cut by columns. */
typedef struct {
	evn_ops *ops;
	evn_act_format format;
	evn_nonlinearity gate;
	evn_weights in[EVN_MATRIX_PARTS], out;
	evn_row_block blocks[EVN_MATRIX_PARTS];
	uint32_t n_in, offsets[EVN_MATRIX_PARTS];
	evn_range columns; /* the columns of W_out */
	evn_matrix m_in, m_out;
	evn_case_array x, y;
	const evn_buf *x_buf;
} fused_data;

/* rows[i] of tensor i are held. W_out is (dim, columns.end). */
static evn_status make(evn_cases *c, fused_data *d, const evn_quant *quant, uint32_t dim, const evn_range *rows,
					   evn_dot dot, evn_error *err)
{
	for (uint32_t i = 0; i < d->n_in; i++) {
		EVN_TRY(evn_case_weights(c, &d->in[i], quant, rows[i].end, dim, err));
		d->blocks[i] = (evn_row_block){&d->in[i].tensor, rows[i]};
	}
	uint32_t out_columns = (uint32_t)evn_round_up(d->columns.end, quant->block_len);
	EVN_TRY(evn_case_weights(c, &d->out, quant, dim, out_columns, err));
	EVN_TRY(evn_matrix_split_output(&d->m_in, c->q, d->blocks, d->n_in, d->offsets, err));
	EVN_TRY(evn_matrix_split_input(&d->m_out, c->q, &d->out.tensor, d->columns, err));
	EVN_TRY(evn_ops_create(&d->ops, c->q, &(evn_ops_config){.dot = dot, .gate = d->gate}, err));
	d->format = evn_op_act_format(d->ops, &d->m_in, EVN_DECODE);
	EVN_TRY(evn_case_input(c, &d->x, evn_round_up(d->m_in.columns, EVN_PAD), err));
	EVN_TRY(evn_case_output(c, &d->y, evn_round_up(d->m_out.rows, EVN_PAD), err));
	d->x_buf = d->x.buf;
	return d->format == EVN_ACT_Q8 ? evn_case_round(c, d->ops, &d->x, (uint32_t)d->x.n, &d->x_buf, err) : EVN_OK;
}

static void free_fused(fused_data *d)
{
	evn_matrix_free(&d->m_in);
	evn_matrix_free(&d->m_out);
	evn_ops_free(d->ops);
}

/* Row r of block i of W_in times x. */
static void expect_in(const fused_data *d, uint32_t i, uint32_t r, double *want, double *bound)
{
	const evn_row_product p = {.w = &d->in[i], .columns = {0, (uint32_t)d->in[i].tensor.shape[0]}};
	evn_expect_row(&p, d->blocks[i].rows.begin + r, d->x.values, want, bound);
}

/* Checks the values between the two products, then replaces the expected ones by the device's. */
static evn_status check_between(evn_cases *c, const fused_data *d, evn_case_array *a, const char *what,
								evn_error *err)
{
	EVN_TRY(evn_case_check_format(c, a, d->format, what, err));
	return d->format == EVN_ACT_Q8 ? evn_case_read_q8(c, a, a->buf, err)
								   : evn_read(c->q, a->buf, 0, a->values, a->n * sizeof *a->values, err);
}

/* Checks y = W_out times the values between the products. */
static evn_status check_out(evn_cases *c, fused_data *d, const float *between, evn_error *err)
{
	const uint32_t rows = (uint32_t)d->out.tensor.shape[1];
	const evn_row_product p = {.w = &d->out, .columns = d->columns, .x_first = d->m_out.x_shift};
	for (uint32_t r = 0; r < d->m_out.rows; r++) {
		d->y.want[r] = d->y.bound[r] = 0;
		if (r < rows)
			evn_expect_row(&p, r, between, &d->y.want[r], &d->y.bound[r]);
	}
	return evn_case_check(c, &d->y, "y", err);
}

/* ---- attention ------------------------------------------------------------------------------------------------- */

/* Checks qkv and replaces the expected values by the device's, because the heads work on those. */
static evn_status check_qkv(evn_cases *c, const fused_data *d, evn_case_array *qkv, evn_error *err)
{
	EVN_TRY(evn_read(c->q, qkv->buf, 0, qkv->values, qkv->n * sizeof *qkv->values, err));
	for (uint32_t i = 0; i < d->n_in; i++)
		for (uint32_t r = 0; r < evn_range_len(d->blocks[i].rows); r++) {
			double want, bound;
			uint32_t at = d->offsets[i] + r;
			expect_in(d, i, r, &want, &bound);
			evn_case_compare(c, "qkv", at, (double)qkv->values[at], want, bound, 1);
		}
	return EVN_OK;
}

static evn_status run_attention(evn_cases *c, fused_data *d, evn_attention_run *r, evn_attention_ops *ops,
								evn_error *err)
{
	const evn_fused fused = {.y = d->y.buf, .x = d->x_buf, .in = &d->m_in, .out = &d->m_out};
	evn_row_set row;
	EVN_TRY(evn_attention_run_fill(c, ops, r, d->format, err));
	EVN_TRY(evn_attention_run_rows(c, ops, r, &row, err));
	EVN_TRY(evn_op_attention_block(d->ops, ops, &fused, &r->at, &row, r->out.buf, r->out_stride, err));
	EVN_TRY(check_qkv(c, d, &r->qkv, err));
	EVN_TRY(evn_attention_run_read(c, r, err));
	evn_check_cache(c, r);
	evn_expect_attended(r);
	EVN_TRY(check_between(c, d, &r->out, "attended", err));
	return check_out(c, d, r->out.values, err);
}

static evn_status attention_parts(evn_cases *c, const attention_shape *s, fused_data *d, evn_attention_ops **ops,
								  evn_error *err)
{
	const uint32_t dim = s->config.head_dim;
	const evn_range heads = {s->of.first_head * dim, (s->of.first_head + s->of.n_heads) * dim};
	const evn_range kv_heads = {s->of.first_kv * dim, (s->of.first_kv + s->of.n_kv) * dim};
	evn_attention_run r = {.config = s->config, .of = s->of, .n_tok = 1};
	d->n_in = 3;
	d->columns = heads;
	EVN_TRY(make(c, d, evn_quant_by_name(s->quant), s->dim, (evn_range[]){heads, kv_heads, kv_heads}, s->dot, err));
	r.out_offset = d->m_out.x_shift;
	r.out_columns = d->m_out.columns;
	r.at.k_offset = d->offsets[1];
	r.at.v_offset = d->offsets[2];
	r.at.qkv_stride = (uint32_t)evn_round_up(d->m_in.rows, EVN_PAD);
	EVN_TRY(evn_attention_run_make(c, &r, err));
	EVN_TRY(evn_attention_ops_create(ops, c->q, &r.config, err));
	return run_attention(c, d, &r, *ops, err);
}

static evn_status attention_case(evn_cases *c, const void *shape, evn_error *err)
{
	fused_data d = {0};
	evn_attention_ops *ops = NULL;
	evn_status s = attention_parts(c, shape, &d, &ops, err);
	evn_attention_ops_free(ops);
	free_fused(&d);
	return s;
}

/* ---- the feed-forward network ---------------------------------------------------------------------------------- */

static evn_status run_feed_forward(evn_cases *c, fused_data *d, evn_range window, evn_error *err)
{
	uint32_t offsets[2];
	evn_matrix in, out;
	evn_matrix_view_output(&in, &d->m_in, d->offsets, 2, (evn_range[]){window, window}, offsets);
	evn_matrix_view_input(&out, &d->m_out, window);
	const evn_fused fused = {.y = d->y.buf, .x = d->x_buf, .in = &in, .out = &out};
	const uint32_t stride = (uint32_t)evn_round_up(out.columns, EVN_PAD);
	evn_case_array gated;
	EVN_TRY(evn_case_output(c, &gated, stride, err));
	EVN_TRY(evn_op_feed_forward_block(d->ops, &fused, offsets[1], gated.buf, stride, err));
	for (uint32_t i = 0; i < stride; i++) {
		evn_gate_up of;
		gated.want[i] = 0;
		if (i >= evn_range_len(window))
			continue;
		expect_in(d, 0, window.begin + i, &of.g, &of.dg);
		expect_in(d, 1, window.begin + i, &of.u, &of.du);
		evn_expect_gated(d->gate, of, &gated.want[i], &gated.bound[i]);
	}
	EVN_TRY(check_between(c, d, &gated, "gated", err));
	d->columns = (evn_range){d->columns.begin + window.begin, d->columns.begin + window.end};
	return check_out(c, d, gated.values, err);
}

static evn_status feed_forward_case(evn_cases *c, const void *shape, evn_error *err)
{
	const ff_shape *s = shape;
	fused_data d = {.n_in = 2, .columns = s->ff, .gate = s->gate};
	evn_status st = make(c, &d, evn_quant_by_name(s->quant), s->dim, (evn_range[]){s->ff, s->ff}, s->dot, err);
	if (st == EVN_OK)
		st = run_feed_forward(c, &d, s->window, err);
	free_fused(&d);
	return st;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

#define HEAD(dim, rope) .head_dim = dim, .rope_dim = rope
#define LOCAL(heads, kv) .n_heads = heads, .n_kv = kv

/* Covers heads that begin in the middle of a weight block, a part of a KV head's queries, and more query heads than a
 * work-group takes. */
static const attention_shape attentions[] = {
	{"20",
	 "Q4_1",
	 true,
	 {HEAD(20, 12), .group = 2},
	 {LOCAL(2, 1), .first_head = 2, .first_kv = 1, .position = 16},
	 .dim = 64},
	{"20 in a window, capped, a sink",
	 "Q4_1",
	 true,
	 {HEAD(20, 12), .group = 2, .windowed = true, .soft_capped = true, .sinks = true},
	 {LOCAL(2, 1), .first_head = 2, .first_kv = 1, .position = 40},
	 .dim = 64},
	{"20", "F16", true, {HEAD(20, 20), .group = 1}, {LOCAL(1, 1), .position = 3}, .dim = 33},
	{"64, heads 4-8 of 9 over 3",
	 "Q4_0",
	 false,
	 {HEAD(64, 64), .group = 3, .kv_cache = EVN_KV_F16},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 300},
	 .dim = 576},
	{"64, no past", "Q8_0", false, {HEAD(64, 64), .group = 3}, {LOCAL(3, 1)}, .dim = 96},
	{"80 partly neox, heads 1-2 of 3",
	 "Q8_0",
	 false,
	 {HEAD(80, 32), .group = 1, .rope_neox = true, .kv_cache = EVN_KV_Q8_0},
	 {LOCAL(2, 2), .first_head = 1, .first_kv = 1, .position = 31},
	 .dim = 160},
	{"80 qk_norm, 12 heads to one",
	 "Q4_1",
	 false,
	 {HEAD(80, 80), .group = 12, .qk_norm = true},
	 {LOCAL(12, 1), .position = 40},
	 .dim = 352},
	{"64", "F32", false, {HEAD(64, 64), .group = 2}, {LOCAL(3, 2), .first_head = 1, .position = 15}, .dim = 100},
	{"128, ends in a step", "Q6_K", false, {HEAD(128, 128), .group = 2}, {LOCAL(3, 2), .position = 17}, .dim = 256},
};

static const ff_shape feed_forwards[] = {
	{"Q4_1", true, 64, {32, 96}, .window = {0, 48}},
	{"F16", true, 33, {0, 17}, .window = {0, 17}},
	{"Q4_0", false, 576, {0, 800}, .window = {0, 800}},
	{"Q8_0", false, 160, {32, 208}, .window = {64, 160}},
	{"F32", false, 100, {0, 77}, .window = {0, 77}},
	{"Q4_1", true, 64, {32, 96}, .window = {0, 48}, .gate = EVN_GELU},
	{"Q6_K", false, 256, {256, 512}, .window = {0, 256}},
};

static void attention_of(evn_cases *c, attention_shape s, evn_dot dot)
{
	s.dot = dot;
	evn_case_run(c, &(evn_case){attention_case, &s, "attention block", evn_quant_by_name(s.quant)}, "%s %s",
				 evn_dot_name(dot), s.name);
}

static void feed_forward_of(evn_cases *c, ff_shape s, evn_dot dot)
{
	s.dot = dot;
	evn_case_run(c, &(evn_case){feed_forward_case, &s, "feed-forward block", evn_quant_by_name(s.quant)}, "%s%s",
				 evn_dot_name(dot), evn_gate_name(s.gate));
}

/* The f32 kernels of K formats have no fused kernel: they compute one tile only. */
static bool has_fused(const evn_quant *q, evn_dot dot)
{
	return evn_dot_lanes(dot) > 1 && (evn_dot_reads_bytes(dot) ? q->block_len > 1 : q->group_len == 32);
}

/* Cases run with f32 activations and with the device's own dot kind. */
static bool runs(const evn_cases *c, const char *quant, bool tiny, evn_dot dot)
{
	const evn_dot best = evn_dot_best(evn_queue_device(c->q));
	if (!tiny && c->options.tiny)
		return false;
	return has_fused(evn_quant_by_name(quant), dot) &&
		   (dot == EVN_DOT_NONE || dot == (c->options.tiny ? EVN_DOT_PLAIN : best));
}

/* One case for each format, with the given heads. */
static void fused_of_model(evn_cases *c, evn_dot dot)
{
	const evn_attention_config *heads = c->options.heads;
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const evn_quant *q = evn_quant_at(i);
		const uint32_t step = q->group_len;
		if (!evn_selftest_has_fused(evn_queue_device(c->q), q, c->options.dots & 1u << dot))
			continue;
		attention_of(c,
					 (attention_shape){"of the model",
									   q->name,
									   false,
									   *heads,
									   {LOCAL(2 * heads->group, 2), .position = 259},
									   .dim = 2 * step},
					 dot);
		feed_forward_of(
			c,
			(ff_shape){q->name, false, 2 * step, {step, 4 * step}, .window = {0, 2 * step}, .gate = c->options.gate},
			dot);
	}
}

bool evn_selftest_has_fused(const evn_device *d, const evn_quant *q, uint32_t dots)
{
	bool has = false;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		has |= (dots >> dot & 1) && has_fused(q, dot);
	return has && evn_device_is_cpu(d) && evn_device_units(d) == 1; /* other devices run the parts */
}

/* For devices that compute with vectors. */
void evn_selftest_fused(evn_cases *c)
{
	const evn_device *d = evn_queue_device(c->q);
	if (c->options.tiny_heads || evn_device_lanes(d) == 1)
		return;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++) {
		if (c->options.heads) {
			fused_of_model(c, dot);
			continue;
		}
		for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++)
			if (runs(c, attentions[i].quant, attentions[i].tiny, dot))
				attention_of(c, attentions[i], dot);
		for (size_t i = 0; i < sizeof feed_forwards / sizeof *feed_forwards; i++)
			if (runs(c, feed_forwards[i].quant, feed_forwards[i].tiny, dot))
				feed_forward_of(c, feed_forwards[i], dot);
	}
}
