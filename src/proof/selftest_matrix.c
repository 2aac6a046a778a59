/* selftest_matrix.c - known answers for matrix products in every weight format. The decoders alone must be exact.
 * Matrix-vector products and GEMM must be within the error of an f32 sum.
 *
 * The bound: with w = scale * quant + offset, a product w x is the sum of (scale * quant) x and offset x. A kernel
 * may add these in any order. A term thus has at most one rounding for each of the n columns and for each group's
 * offset (a group has 16 columns or more), and 4 more in the scale, the product and the offset. With
 * g = roundings(n + n / 16 + 4):
 *   |got - want| <= g * sum (|scale * quant| + |offset|) |x|   (Higham 2002, section 3.1).
 *
 * The zero point of a K format without minima counts as its offset, because kernels/group_q8.cl adds it like one. */
#include "nn/ops_gemm.h"
#include "proof/selftest_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXTRA 32 /* extra columns, which test the strides */

typedef struct {
	const evn_quant *quant;
	uint32_t rows, columns, n_tok;
	bool gemm;
	evn_dot dot;
	evn_nonlinearity gate;
	double block_cost; /* see evn_ops_set_block_cost; 0: the usual */
} linear_shape;

/* How a product is computed. */
typedef struct {
	bool gemm;
	evn_dot dot;
	double block_cost;
} multiplier;

/* A normal half in (-1, 1) that is not near zero. */
static uint16_t random_half(evn_cases *c)
{
	float r = evn_case_random(c);
	return evn_float_to_half(copysignf(0.0625f + 0.9375f * fabsf(r), r));
}

static void fill_block(evn_cases *c, const evn_quant *q, uint8_t *block)
{
	uint8_t *p = block;
	for (const evn_quant_field *f = q->fields; f->unit_bytes; f++)
		for (uint32_t u = 0; u < f->n_units; u++, p += f->unit_bytes) {
			uint32_t bits = evn_case_bits(c);
			float value = evn_case_random(c);
			if (q->block_len == 1 && f->unit_bytes == 4)
				memcpy(&bits, &value, sizeof bits);
			if (f->unit_bytes == 2)
				bits = random_half(c);
			if (!strcmp(q->name, "MXFP4") && f->unit_bytes == 1)
				bits = 124 | (bits & 3); /* an exponent: scales of 1 / 16 to 1 / 2 */
			if (!strcmp(q->name, "NVFP4") && f->unit_bytes == 1)
				bits = 32 | (bits & 31); /* scales of 1 / 16 to 15 / 16 */
			if (!strcmp(q->name, "BF16"))
				bits = 0x3f00u | (bits & 0x80ffu); /* 0.5 to 2, with either sign */
			memcpy(p, &bits, f->unit_bytes);
		}
}

static bool has_offset(const evn_quant *q)
{
	if (q->block_len == 256)
		return true;
	for (const evn_quant_field *f = q->fields; f->unit_bytes; f++)
		if (f->unit_bytes == 2 && f->n_units == 2)
			return true;
	return false;
}

/* Sets the quants to zero. Quants are the fields of 32-bit words. */
static void zero_quants(const evn_quant *q, uint8_t *block)
{
	for (const evn_quant_field *f = q->fields; f->unit_bytes; f++) {
		if (f->unit_bytes == 4)
			memset(block, 0, (size_t)f->unit_bytes * f->n_units);
		block += f->unit_bytes * f->n_units;
	}
}

evn_status evn_case_weights(evn_cases *c, evn_weights *out, const evn_quant *q, uint32_t rows, uint32_t columns,
							evn_error *err)
{
	uint64_t n = (uint64_t)rows * columns, bytes = n / q->block_len * q->block_bytes;
	void *blocks, *w, *offset, *zeroed;
	EVN_TRY(evn_case_memory(c, &blocks, bytes, err));
	EVN_TRY(evn_case_memory(c, &zeroed, bytes, err));
	EVN_TRY(evn_case_memory(c, &w, n * sizeof(float), err));
	EVN_TRY(evn_case_memory(c, &offset, n * sizeof(float), err));
	for (uint64_t at = 0; at < bytes; at += q->block_bytes)
		fill_block(c, q, (uint8_t *)blocks + at);
	evn_dequantize(q, blocks, w, n);
	if (has_offset(q)) {
		memcpy(zeroed, blocks, bytes);
		for (uint64_t at = 0; at < bytes; at += q->block_bytes)
			zero_quants(q, (uint8_t *)zeroed + at);
		evn_dequantize(q, zeroed, offset, n);
	}
	*out = (evn_weights){.w = w, .offset = offset};
	out->tensor = (evn_tensor){.name = {"self-test", 9},
							   .quant = q,
							   .n_dims = 2,
							   .shape = {columns, rows, 1, 1},
							   .size_bytes = bytes,
							   .data = blocks};
	return EVN_OK;
}

/* ---- the decoders ---------------------------------------------------------------------------------------------- */

/* Dequantises tiles 1 and 2 of three, transposed. ggml rounds a weight at most once, and so does fma, so the values
 * must be equal. */
static evn_status run_dequantize(evn_cases *c, const linear_shape *s, const evn_weights *w, const evn_matrix *m,
								 evn_error *err)
{
	const uint32_t n_tiles = 2, ld = (n_tiles + 1) * EVN_TILE_ROWS;
	evn_spec spec = evn_spec_of("dequantize.cl");
	evn_kernel *k;
	evn_case_array out;
	evn_spec_part(&spec, "WEIGHTS", "quant/%s.cl", s->quant->kernel);
	evn_spec_lanes(&spec, evn_device_lanes(evn_queue_device(c->q)));
	EVN_TRY(evn_kernel_get(&k, c->q, &spec, "dequantize", err));
	EVN_TRY(evn_case_output(c, &out, (uint64_t)m->columns * ld, err));
	for (uint32_t col = 0; col < m->columns; col++)
		for (uint32_t i = 0; i < n_tiles * EVN_TILE_ROWS; i++) {
			uint32_t row = EVN_TILE_ROWS + i;
			bool padding = row >= s->rows || col >= s->columns;
			out.want[col * ld + i] = padding ? 0.0 : (double)w->w[row * s->columns + col];
		}
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, out.buf);
	evn_arg_u32(&a, ld);
	evn_arg_buf(&a, m->parts[0].tiles);
	evn_arg_u32(&a, m->parts[0].tile_steps);
	evn_arg_u32(&a, m->parts[0].tile_steps);
	const size_t items = EVN_TILE_ROWS / evn_device_lanes(evn_queue_device(c->q));
	EVN_TRY(evn_launch(&a, 2, (size_t[]){m->parts[0].n_steps, n_tiles}, (size_t[]){items, 1}, err));
	return evn_case_check(c, &out, "out", err);
}

static evn_status dequantize_case(evn_cases *c, const void *shape, evn_error *err)
{
	const linear_shape *s = shape;
	evn_weights w;
	evn_matrix m = {0};
	EVN_TRY(evn_case_weights(c, &w, s->quant, s->rows, s->columns, err));
	evn_status st = evn_matrix_split_output(&m, c->q, &(evn_row_block){&w.tensor, {0, s->rows}}, 1, NULL, err);
	if (st == EVN_OK)
		st = run_dequantize(c, s, &w, &m, err);
	evn_matrix_free(&m);
	return st;
}

/* ---- products -------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_case_array x, y;
	uint32_t n_tok, x_stride, y_stride;
} activations;

/* x is zero outside the product's columns. */
static evn_status make_activations(evn_cases *c, activations *a, const evn_matrix *m, const evn_row_product *p,
								   uint32_t n_tok, evn_error *err)
{
	uint32_t end = p->x_first + evn_range_len(p->columns);
	*a = (activations){
		.n_tok = n_tok, .x_stride = m->columns + EXTRA, .y_stride = (uint32_t)evn_round_up(m->rows, EVN_PAD) + EXTRA};
	EVN_TRY(evn_case_rows_make(c, &a->x, n_tok, a->x_stride, err));
	for (uint32_t i = 0; i < a->x.n; i++)
		if (i % a->x_stride < p->x_first || i % a->x_stride >= end)
			a->x.values[i] = 0;
	EVN_TRY(evn_case_upload(c, &a->x, err));
	return evn_case_rows_output(c, &a->y, n_tok, a->y_stride, err);
}

void evn_expect_row(const evn_row_product *p, uint32_t row, const float *x, double *want, double *bound)
{
	const uint64_t columns = p->w->tensor.shape[0];
	const float *w = p->w->w + row * columns, *offset = p->w->offset + row * columns;
	const double n = evn_range_len(p->columns);
	double sum = 0, magnitude = 0;
	for (uint32_t col = p->columns.begin; col < p->columns.end; col++) {
		double xv = (double)x[p->x_first + col - p->columns.begin], wv = (double)w[col], ov = (double)offset[col];
		sum += wv * xv;
		magnitude += (fabs(wv - ov) + fabs(ov)) * fabs(xv);
	}
	*want = sum;
	*bound = evn_roundings(n + n / 16 + 4) * magnitude;
}

static void expect_product(activations *a, const evn_row_product *p)
{
	const uint32_t rows = evn_range_len(p->rows), padded = (uint32_t)evn_round_up(rows, EVN_TILE_ROWS);
	for (uint32_t t = 0; t < a->n_tok; t++)
		for (uint32_t r = 0; r < padded; r++) {
			uint64_t at = (uint64_t)t * a->y_stride + p->y_offset + r;
			a->y.want[at] = a->y.bound[at] = 0;
			if (r < rows)
				evn_expect_row(p, p->rows.begin + r, a->x.values + (uint64_t)t * a->x_stride, &a->y.want[at],
							   &a->y.bound[at]);
		}
}

evn_status evn_case_round(evn_cases *c, evn_ops *ops, evn_case_array *x, uint32_t stride, const evn_buf **out,
						  evn_error *err)
{
	evn_case_array rounded;
	EVN_TRY(evn_case_rows_output(c, &rounded, (uint32_t)(x->n / stride), stride, err));
	EVN_TRY(evn_op_store(ops, EVN_ACT_Q8, rounded.buf, x->buf, stride, (uint32_t)(x->n / stride), err));
	for (uint64_t i = 0; i < rounded.n; i++) {
		rounded.want[i] = (double)x->values[i];
		rounded.bound[i] = 0;
	}
	EVN_TRY(evn_case_check_q8(c, &rounded, "x", err));
	*out = rounded.buf;
	return evn_case_read_q8(c, x, rounded.buf, err);
}

static evn_status launch_product(evn_cases *c, evn_ops *ops, const evn_matrix *m, const evn_row_product *products,
								 uint32_t n, uint32_t n_tok, bool gemm, evn_error *err)
{
	activations a;
	EVN_TRY(make_activations(c, &a, m, &products[0], n_tok, err));
	const evn_buf *x = a.x.buf;
	evn_act_format format = gemm ? EVN_ACT_F32 : evn_op_act_format(ops, m, EVN_DECODE);
	if (format == EVN_ACT_Q8)
		EVN_TRY(evn_case_round(c, ops, &a.x, a.x_stride, &x, err));
	for (uint32_t i = 0; i < n; i++)
		expect_product(&a, &products[i]);
	EVN_TRY(gemm ? evn_op_gemm(ops, a.y.buf, a.y_stride, x, a.x_stride, m, n_tok, err)
				 : evn_op_quantised(ops, a.y.buf, a.y_stride, format, x, a.x_stride, m, n_tok, err));
	return evn_case_check(c, &a.y, "y", err);
}

static evn_status multiply(evn_cases *c, const evn_matrix *m, const evn_row_product *products, uint32_t n,
						   uint32_t n_tok, multiplier how, evn_error *err)
{
	const evn_ops_config config = {.dot = how.dot, .runs = true};
	evn_ops *ops;
	evn_status s = evn_ops_create(&ops, c->q, &config, err);
	if (s == EVN_OK)
		evn_ops_set_block_cost(ops, how.block_cost);
	if (s == EVN_OK)
		s = launch_product(c, ops, m, products, n, n_tok, how.gemm, err);
	evn_ops_free(ops);
	return s;
}

static evn_status linear_case(evn_cases *c, const void *shape, evn_error *err)
{
	const linear_shape *s = shape;
	evn_weights w;
	evn_matrix m = {0};
	EVN_TRY(evn_case_weights(c, &w, s->quant, s->rows, s->columns, err));
	const evn_row_product p = {.w = &w, .rows = {0, s->rows}, .columns = {0, s->columns}};
	evn_status st = evn_matrix_split_output(&m, c->q, &(evn_row_block){&w.tensor, p.rows}, 1, NULL, err);
	if (st == EVN_OK)
		st = multiply(c, &m, &p, 1, s->n_tok, (multiplier){s->gemm, s->dot, s->block_cost}, err);
	evn_matrix_free(&m);
	return st;
}

/* A view of some rows and columns. Everything outside it must stay unchanged. */
static evn_status window_case(evn_cases *c, const void *shape, evn_error *err)
{
	const linear_shape *s = shape;
	const uint32_t step = s->quant->group_len;
	const evn_range rows = {EVN_TILE_ROWS, 4 * EVN_TILE_ROWS}, columns = {step, 4 * step};
	uint32_t y_offset = 0;
	evn_weights w;
	evn_matrix m = {0}, of_rows, view;
	EVN_TRY(evn_case_weights(c, &w, s->quant, s->rows, s->columns, err));
	evn_status st = evn_matrix_split_output(&m, c->q, &(evn_row_block){&w.tensor, {0, s->rows}}, 1, NULL, err);
	if (st == EVN_OK) {
		evn_matrix_view_output(&of_rows, &m, &(uint32_t){0}, 1, &rows, &y_offset);
		evn_matrix_view_input(&view, &of_rows, columns);
		const evn_row_product p = {.w = &w, .rows = rows, .columns = columns};
		st = multiply(c, &view, &p, 1, s->n_tok, (multiplier){s->gemm, s->dot, s->block_cost}, err);
	}
	evn_matrix_free(&m);
	return st;
}

/* The columns begin and end inside a weight block, if a block has more than one column. */
static evn_status split_input_case(evn_cases *c, const void *shape, evn_error *err)
{
	const linear_shape *s = shape;
	const uint32_t step = s->quant->group_len;
	const evn_range columns = {step + 5, 3 * step - 7};
	evn_weights w;
	evn_matrix m = {0};
	EVN_TRY(evn_case_weights(c, &w, s->quant, s->rows, s->columns, err));
	evn_status st = evn_matrix_split_input(&m, c->q, &w.tensor, columns, err);
	if (st == EVN_OK) {
		const evn_row_product p = {.w = &w, .rows = {0, s->rows}, .columns = columns, .x_first = m.x_shift};
		st = multiply(c, &m, &p, 1, s->n_tok, (multiplier){s->gemm, s->dot, s->block_cost}, err);
	}
	evn_matrix_free(&m);
	return st;
}

#define STACKED 3u

typedef struct {
	const char *quants[STACKED];
	evn_range rows[STACKED];
	evn_dot dot;
} stack_shape;

/* Row ranges of three tensors in one matrix, as for q, k and v. */
static evn_status stacked_case(evn_cases *c, const void *shape, evn_error *err)
{
	const stack_shape *s = shape;
	const uint32_t columns = 512, rows = 40;
	evn_weights w[STACKED];
	evn_row_block blocks[STACKED];
	evn_row_product products[STACKED];
	uint32_t y_offsets[STACKED];
	evn_matrix m = {0};
	for (uint32_t i = 0; i < STACKED; i++) {
		EVN_TRY(evn_case_weights(c, &w[i], evn_quant_by_name(s->quants[i]), rows, columns, err));
		blocks[i] = (evn_row_block){&w[i].tensor, s->rows[i]};
	}
	evn_status st = evn_matrix_split_output(&m, c->q, blocks, STACKED, y_offsets, err);
	for (uint32_t i = 0; st == EVN_OK && i < STACKED; i++)
		products[i] = (evn_row_product){&w[i], s->rows[i], {0, columns}, 0, y_offsets[i]};
	if (st == EVN_OK)
		st = multiply(c, &m, products, STACKED, 2, (multiplier){.dot = s->dot}, err);
	evn_matrix_free(&m);
	return st;
}

/* ---- gate and up ----------------------------------------------------------------------------------------------- */

/* All three are g / (1 + exp(-e)) times up. exp has 3 ulp, and e has roundings of its own unless it is g. The sum
 * with 1 and the last product have one rounding each, the division 2.5 ulp. One more unit covers the products of
 * these errors. If exp(-e) exceeds f32 the result may be 0; the error is then less than |g up| 2^-127. The slopes are
 * at most 1.1, that of GELU 1.13. */
void evn_expect_gated(evn_nonlinearity act, evn_gate_up x, double *want, double *bound)
{
	double g = x.g, u = x.u, e = g;
	if (act == EVN_CLAMPED) {
		g = fmin(g, 7);
		u = fmax(fmin(u, 7), -7) + 1;
		e = (double)1.702f * g;
	} else if (act == EVN_GELU) {
		e = 1.5957691216057308 * g * (1 + 0.044715 * g * g);
	}
	const double of_e = act == EVN_SILU ? 0 : evn_roundings(6) * fabs(e) / (1 + exp(e)) + EVN_UNIT;
	const double relative = EVN_EXP_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3) + of_e, y = g / (1 + exp(-e));
	*want = y * u;
	*bound = (act == EVN_GELU ? 1.2 : 1.1) * x.dg * (fabs(u) + x.du) + fabs(y) * x.du +
			 relative * (fabs(y * u) + x.dg * fabs(u)) + fabs(g * u) * 0x1p-127;
}

/* Computes gate and up rows in one launch, for all rows or for a window of them. */
static evn_status gate_up(evn_cases *c, evn_ops *ops, const evn_matrix *whole, const evn_weights *w, evn_range window,
						  const uint32_t *y_offsets, const linear_shape *s, evn_error *err)
{
	const uint32_t n_tok = s->n_tok;
	const evn_nonlinearity act = s->gate;
	const evn_act_format y_format = evn_dot_reads_bytes(s->dot) ? EVN_ACT_Q8 : EVN_ACT_F32;
	const uint32_t rows = evn_range_len(window), columns = (uint32_t)w[0].tensor.shape[0];
	uint32_t offsets[2];
	evn_matrix view, *m = &view;
	evn_matrix_view_output(m, whole, y_offsets, 2, (evn_range[]){window, window}, offsets);
	const uint32_t up_offset = offsets[1], y_stride = (uint32_t)evn_round_up(up_offset, EVN_PAD) + EVN_PAD;
	activations a;
	evn_case_array y;
	const evn_row_product products[] = {{&w[0], window, {0, columns}, 0, 0},
										{&w[1], window, {0, columns}, 0, up_offset}};
	EVN_TRY(make_activations(c, &a, m, products, n_tok, err));
	EVN_TRY(evn_case_rows_output(c, &y, n_tok, y_stride, err));
	const evn_buf *x = a.x.buf;
	if (evn_op_act_format(ops, m, EVN_DECODE) == EVN_ACT_Q8)
		EVN_TRY(evn_case_round(c, ops, &a.x, a.x_stride, &x, err));
	expect_product(&a, &products[0]);
	expect_product(&a, &products[1]);
	for (uint32_t i = 0; i < y.n; i++) {
		uint64_t at = i / y_stride * (uint64_t)a.y_stride + i % y_stride;
		y.want[i] = y.bound[i] = 0;
		if (i % y_stride >= rows)
			continue;
		const uint64_t up = at + up_offset;
		evn_expect_gated(act, (evn_gate_up){a.y.want[at], a.y.bound[at], a.y.want[up], a.y.bound[up]}, &y.want[i],
						 &y.bound[i]);
	}
	EVN_TRY(evn_op_gate_up(ops, y_format, y.buf, y_stride, x, a.x_stride, m, up_offset, a.y.buf, a.y_stride,
						   (evn_rows){n_tok, EVN_DECODE}, err));
	return evn_case_check_format(c, &y, y_format, "y", err);
}

static evn_status gate_up_case(evn_cases *c, const void *shape, evn_error *err)
{
	const linear_shape *s = shape;
	const evn_ops_config config = {.dot = s->dot, .gate = s->gate, .runs = true};
	evn_weights w[2];
	evn_matrix m = {0};
	evn_ops *ops = NULL;
	for (int i = 0; i < 2; i++)
		EVN_TRY(evn_case_weights(c, &w[i], s->quant, s->rows, s->columns, err));
	const evn_row_block blocks[2] = {{&w[0].tensor, {0, s->rows}}, {&w[1].tensor, {0, s->rows}}};
	uint32_t y_offsets[2];
	evn_status st = evn_matrix_split_output(&m, c->q, blocks, 2, y_offsets, err);
	if (st == EVN_OK)
		st = evn_ops_create(&ops, c->q, &config, err);
	if (st == EVN_OK)
		evn_ops_set_block_cost(ops, s->block_cost);
	const evn_range rows[] = {{0, s->rows}, {EVN_TILE_ROWS, s->rows}, {EVN_TILE_ROWS, 2 * EVN_TILE_ROWS}};
	for (size_t i = 0; st == EVN_OK && i < sizeof rows / sizeof *rows; i++)
		if (rows[i].begin < rows[i].end && rows[i].end <= s->rows)
			st = gate_up(c, ops, &m, w, rows[i], y_offsets, s, err);
	evn_ops_free(ops);
	evn_matrix_free(&m);
	return st;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

const char *evn_gate_name(evn_nonlinearity gate)
{
	static const char *const names[EVN_NONLINEARITIES] = {"", " gelu", " clamped"};
	return names[gate];
}

/* Every format is tested with SiLU, one of them with every gate; a proof is for one gate. */
static bool has_gate(const evn_cases *c, const evn_quant *q, evn_nonlinearity gate)
{
	return c->options.subject ? gate == c->options.gate
							  : gate == EVN_SILU || (!c->options.one_gate && !strcmp(q->kernel, "q8_0"));
}

/* Products of blocks of 64 rows and tokens, with 1 lane: whole ones and parts of both. A window begins and ends
 * inside. */
static void lane_block_cases(evn_cases *c, const evn_quant *q, evn_dot dot)
{
	const uint32_t step = q->group_len, n_tok = EVN_LANE_BLOCK_TOKENS + 3;
	const char *how = evn_dot_name(dot);
	linear_shape s = {.quant = q,
					  .rows = c->options.tiny ? 20 : EVN_LANE_BLOCK_ROWS + 5,
					  .columns = (!c->options.tiny ? 9
								  : step > 32      ? 1
												   : 3) *
								 step, /* 9: more than there are slices */
					  .n_tok = n_tok,
					  .dot = dot,
					  .block_cost = EVN_BLOCKS_ALWAYS};
	evn_case_run(c, &(evn_case){linear_case, &s, "matmul", q}, "%s %ux%u x%u in blocks", how, s.rows, s.columns,
				 s.n_tok);
	s.rows = 80;
	s.columns = 5 * step;
	s.n_tok = 2;
	evn_case_run(c, &(evn_case){window_case, &s, "matmul", q}, "%s window in blocks", how);
	s.rows = c->options.tiny ? 5 : 37;
	s.columns = 2 * step;
	s.n_tok = n_tok;
	if (c->options.few_formats && q->block_len > 1 && strcmp(q->kernel, "q8_0"))
		return; /* the formats differ in what matmul has too */
	for (s.gate = 0; s.gate < EVN_NONLINEARITIES; s.gate++)
		if (has_gate(c, q, s.gate))
			evn_case_run(c, &(evn_case){gate_up_case, &s, "gate and up", q}, "%s%s %ux%u x%u in blocks", how,
						 evn_gate_name(s.gate), s.rows, s.columns, s.n_tok);
}

/* Products with one dot kind. */
static void product_cases(evn_cases *c, const evn_quant *q, evn_dot dot)
{
	/* the device itself would use this dot kind */
	const bool is_own = !evn_dot_reads_bytes(dot) || dot == evn_dot_best(evn_queue_device(c->q));
	const bool tiny = c->options.tiny || evn_dot_is_plain(dot) || !is_own;
	const uint32_t step = q->group_len, odd = q->block_len == 1 ? 41 : step; /* float formats need no whole groups */
	const char *how = evn_dot_name(dot);
	const linear_shape products[] = {
		{.quant = q, .rows = 1, .columns = odd, .n_tok = 1},
		{.quant = q,
		 .rows = 17,
		 .columns = 3 * step,
		 .n_tok = tiny ? 9 : 43}, /* two runs of token blocks and some more tokens */
		{.quant = q, .rows = 48, .columns = 1536, .n_tok = 1},
		{.quant = q,
		 .rows = 40 * 16 + 5,
		 .columns = step,
		 .n_tok = 1}, /* several tiles for a work-item; the last one is partial */
	};
	for (size_t i = 0; i < (tiny ? 2 : sizeof products / sizeof *products); i++) {
		linear_shape s = products[i];
		s.dot = dot;
		const char *subject = s.n_tok > 1 ? "matmul" : s.rows > 16 * EVN_TILE_ROWS ? "matvec" : "matvec of few rows";
		evn_case_run(c, &(evn_case){linear_case, &s, subject, q}, "%s %ux%u x%u", how, s.rows, s.columns, s.n_tok);
	}
	linear_shape s = {.quant = q, .rows = tiny ? 3 : 33, .columns = 4 * step, .n_tok = 1, .dot = dot};
	evn_case_run(c, &(evn_case){split_input_case, &s, "matvec of few rows", q}, "%s split input", how);
	s = (linear_shape){.quant = q, .rows = 80, .columns = 5 * step, .n_tok = 9, .dot = dot};
	evn_case_run(c, &(evn_case){window_case, &s, "matmul", q}, "%s window", how);
	/* Five blocks of tokens, of which the last begins a new run, and a part of one. Most of the time is compiling. */
	const uint32_t n_tok = c->options.tiny ? 9 : is_own ? 42 : 2;
	s = (linear_shape){.quant = q, .rows = tiny ? 5 : 37, .columns = 2 * step, .dot = dot};
	for (s.gate = 0; s.gate < EVN_NONLINEARITIES; s.gate++)
		for (int alone = 0; alone < 2 && has_gate(c, q, s.gate); alone++) {
			s.n_tok = alone ? 1 : n_tok;
			evn_case_run(c, &(evn_case){gate_up_case, &s, "gate and up", q}, "%s%s %ux%u x%u", how,
						 evn_gate_name(s.gate), s.rows, s.columns, s.n_tok);
		}
	if (evn_dot_lanes(dot) == 1)
		lane_block_cases(c, q, dot);
}

static bool is_one_of_two(const evn_quant *q) { return !strcmp(q->kernel, "f16") || !strcmp(q->kernel, "q4_1"); }

static bool stands_for_its_kind(const evn_quant *q)
{
	static const char *const kinds[] = {"f16", "q4_1", "q6_k", "q8_0", "mxfp4"};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(q->kernel, kinds[i]))
			return true;
	return false;
}

/* Which cases run. With f32 activations and with the device's own dot kind: every format. With the other dot kinds of
 * the device's width: one format of each kind, because the decoders are the same. If options.dots is set: exactly
 * those dot kinds. */
static bool has_products(const evn_cases *c, const evn_quant *q, evn_dot dot)
{
	const evn_device *d = evn_queue_device(c->q);
	if ((c->options.dots && !(c->options.dots >> dot & 1)) || !evn_dot_possible(dot, d))
		return false;
	if (!evn_dot_reads_bytes(dot))
		return !c->options.few_variants || q->block_len == 1;
	if (q->block_len == 1)
		return false;
	if (c->options.few_variants)
		return dot == evn_dot_best(d);
	return stands_for_its_kind(q) || c->options.dots || (!evn_dot_is_plain(dot) && dot == evn_dot_best(d));
}

static void format_cases(evn_cases *c, const evn_quant *q)
{
	const bool tiny = c->options.tiny;
	const uint32_t step = q->group_len, odd = q->block_len == 1 ? 41 : step; /* float formats need no whole groups */
	linear_shape s = {.quant = q, .rows = 35, .columns = odd};
	evn_case_run(c, &(evn_case){dequantize_case, &s, "dequantize", q}, "%ux%u", s.rows, s.columns);
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		if (has_products(c, q, dot))
			product_cases(c, q, dot);
	if (tiny)
		return;
	s = (linear_shape){.quant = q, .rows = 33, .columns = 3 * step, .n_tok = 5, .gemm = true};
	evn_case_run(c, &(evn_case){linear_case, &s, "gemm", q}, "%ux%u x%u", s.rows, s.columns, s.n_tok);
	s = (linear_shape){.quant = q, .rows = 80, .columns = 5 * step, .n_tok = 5, .gemm = true};
	evn_case_run(c, &(evn_case){window_case, &s, "gemm", q}, "window");
}

void evn_selftest_matrices(evn_cases *c)
{
	static const stack_shape stacks[] = {
		{{"Q4_1", "Q4_1", "Q6_K"}, {{3, 20}, {0, 16}, {5, 40}}, 0},
		{{"Q8_0", "F16", "F16"}, {{39, 40}, {7, 7}, {1, 3}}, 0}, /* the second range is empty */
	};
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (c->options.few_variants ? is_one_of_two(evn_quant_at(i))
									: !c->options.few_formats || stands_for_its_kind(evn_quant_at(i)))
			format_cases(c, evn_quant_at(i));
	for (size_t i = 0; !c->options.tiny && !c->options.few_variants && i < sizeof stacks / sizeof *stacks; i++)
		for (int plain = 0; plain < 2; plain++) {
			stack_shape s = stacks[i];
			s.dot = evn_dot_f32(evn_device_lanes(evn_queue_device(c->q))) + (plain ? 1 : 0);
			evn_case_run(c, &(evn_case){stacked_case, &s, "matvec stacked", NULL}, "%s %s %s %s", s.quants[0],
						 s.quants[1], s.quants[2], evn_dot_name(s.dot));
		}
}
