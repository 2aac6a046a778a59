/* ops_gemm.c - products by CLBlast: with plain rows, with quantised rows that are dequantised in pieces, and with
 * low-rank additions. For long prompts and for training. */
#include "nn/ops_internal.h"

/* The scratch for weights that are dequantised for GEMM. Larger matrices are divided into chunks of rows. */
#define SCRATCH_BYTES ((uint64_t)32 << 20)

/* ---- plain rows ------------------------------------------------------------------------------------------------ */

static evn_status multiply(evn_ops *o, evn_product_kind kind, const evn_product *shape, const evn_buf *a,
						   const evn_buf *b, evn_buf *c, evn_error *err)
{
	EVN_TRY(evn_product_begin(o->times, o->q, kind, 2.0 * shape->m * shape->n * shape->k, err));
	EVN_TRY(evn_multiply(o->q, shape, a, b, c, err));
	return evn_product_end(o->times, o->q, err);
}

evn_status evn_op_plain(evn_ops *o, const evn_plain_product *p, evn_columns y, evn_columns x, evn_error *err)
{
	const evn_product shape = {.m = p->n,
							   .n = p->w->rows,
							   .k = p->w->columns,
							   .b_transposed = true,
							   .lda = x.stride,
							   .ldb = p->w->stride,
							   .ldc = y.stride,
							   .a_offset = x.offset,
							   .c_offset = y.offset,
							   .alpha = p->alpha,
							   .beta = p->beta};
	return multiply(o, EVN_FORWARD, &shape, x.buf, p->w->buf, y.buf, err);
}

evn_status evn_op_plain_back(evn_ops *o, const evn_plain_product *p, evn_columns dx, evn_columns dy, evn_error *err)
{
	const evn_product shape = {.m = p->n,
							   .n = p->w->columns,
							   .k = p->w->rows,
							   .lda = dy.stride,
							   .ldb = p->w->stride,
							   .ldc = dx.stride,
							   .a_offset = dy.offset,
							   .c_offset = dx.offset,
							   .alpha = p->alpha,
							   .beta = p->beta};
	return multiply(o, EVN_BACK_INPUT, &shape, dy.buf, p->w->buf, dx.buf, err);
}

evn_status evn_op_plain_gradient(evn_ops *o, const evn_plain_product *p, evn_columns dy, evn_columns x,
								 evn_error *err)
{
	const evn_product shape = {.m = p->w->rows,
							   .n = p->w->columns,
							   .k = p->n,
							   .a_transposed = true,
							   .lda = dy.stride,
							   .ldb = x.stride,
							   .ldc = p->w->stride,
							   .a_offset = dy.offset,
							   .b_offset = x.offset,
							   .alpha = p->alpha,
							   .beta = p->beta};
	return multiply(o, EVN_BACK_WEIGHT, &shape, dy.buf, x.buf, p->w->buf, err);
}

evn_status evn_op_addition(evn_ops *o, evn_columns y, evn_columns x, const evn_addition *r, uint32_t n_tok,
						   evn_error *err)
{
	const evn_columns low = {r->low, r->b.stride, 0};
	const evn_plain_product down = {.w = &r->a, .n = n_tok, .alpha = 1};
	const evn_plain_product up = {.w = &r->b, .n = n_tok, .alpha = r->scale, .beta = 1};
	y.offset += r->y_offset;
	EVN_TRY(evn_op_plain(o, &down, low, x, err));
	return evn_op_plain(o, &up, y, low, err);
}

/* ---- any rows -------------------------------------------------------------------------------------------------- */

/* A GEMM with a part's rows in chunks. Each chunk is dequantised into scratch and multiplied. */
typedef struct {
	evn_buf *out;
	uint32_t out_stride;
	const evn_buf *in;
	uint32_t in_stride, n_tok;
	bool back; /* dx += dy W instead of y = x W^T */
	bool adds; /* adds to the result of an earlier chunk of the same matrix in dx */
} gemm_job;

static evn_status gemm_chunk(evn_ops *o, const gemm_job *j, uint32_t row, uint32_t rows, uint32_t columns,
							 evn_error *err)
{
	evn_product p = {.m = j->n_tok, .lda = j->in_stride, .ldb = rows, .ldc = j->out_stride, .alpha = 1};
	if (j->back) { /* scratch is [columns, rows], the transpose of W */
		p.n = columns;
		p.k = rows;
		p.b_transposed = true;
		p.a_offset = row;
		p.beta = j->adds ? 1 : 0;
	} else {
		p.n = rows;
		p.k = columns;
		p.c_offset = row;
	}
	return evn_multiply(o->q, &p, j->in, o->scratch, j->out, err);
}

static evn_status gemm_part(evn_ops *o, gemm_job *j, const evn_matrix_part *p, evn_error *err)
{
	uint32_t columns = p->n_steps * p->quant->group_len;
	uint64_t tile_bytes = (uint64_t)columns * EVN_TILE_ROWS * sizeof(float);
	if (tile_bytes > SCRATCH_BYTES)
		return evn_fail(err, EVN_ERR_LIMIT, "a matrix of %u columns: at most %llu are multiplied by GEMM", columns,
						(unsigned long long)(SCRATCH_BYTES / (EVN_TILE_ROWS * sizeof(float))));
	if (!o->scratch)
		EVN_TRY(
			evn_buf_create(&o->scratch, evn_queue_device(o->q), SCRATCH_BYTES, EVN_BUF_DEVICE, "GEMM scratch", err));
	uint32_t most = (uint32_t)(SCRATCH_BYTES / tile_bytes), n_tiles = p->rows / EVN_TILE_ROWS;
	for (uint32_t first = 0; first < n_tiles; first += most) {
		uint32_t n = n_tiles - first < most ? n_tiles - first : most;
		EVN_TRY(evn_op_dequantize(o, p, first, n, err));
		EVN_TRY(gemm_chunk(o, j, p->y_offset + first * EVN_TILE_ROWS, n * EVN_TILE_ROWS, columns, err));
		j->adds = true;
	}
	return EVN_OK;
}

/* The product with all rows of m: plain rows at once, quantised rows part by part. */
static evn_status gemm(evn_ops *o, gemm_job *j, const evn_matrix *m, evn_error *err)
{
	const evn_product_kind kind = j->back ? EVN_BACK_INPUT : EVN_FORWARD;
	const evn_columns out = {j->out, j->out_stride, 0}, in = {(evn_buf *)j->in, j->in_stride, 0};
	const evn_plain_product plain = {.w = &m->plain, .n = j->n_tok, .alpha = 1};
	if (m->plain.rows)
		return (j->back ? evn_op_plain_back : evn_op_plain)(o, &plain, out, in, err);
	EVN_TRY(evn_product_begin(o->times, o->q, kind, 2.0 * j->n_tok * m->rows * m->columns, err));
	for (uint32_t i = 0; i < m->n_parts; i++)
		EVN_TRY(gemm_part(o, j, &m->parts[i], err));
	return evn_product_end(o->times, o->q, err);
}

evn_status evn_op_gemm(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	gemm_job j = {.out = y, .out_stride = y_stride, .in = x, .in_stride = x_stride, .n_tok = n_tok};
	return gemm(o, &j, m, err);
}

evn_status evn_op_gemm_back(evn_ops *o, evn_buf *dx, uint32_t x_stride, const evn_buf *dy, uint32_t y_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	gemm_job j = {.out = dx, .out_stride = x_stride, .in = dy, .in_stride = y_stride, .n_tok = n_tok, .back = true};
	return gemm(o, &j, m, err);
}
