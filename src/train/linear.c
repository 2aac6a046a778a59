/* linear.c - see linear.h. */
#include "train/linear.h"

/* An activation matrix (n_tok, stride), from column `offset` on. */
typedef struct {
	const evn_buf *buf;
	uint32_t stride, offset;
} columns;

static evn_status multiply(const evn_products *p, evn_product_kind kind, const evn_product *shape, const evn_buf *a,
						   const evn_buf *b, evn_buf *c, evn_error *err)
{
	EVN_TRY(evn_product_begin(p->times, p->q, kind, 2.0 * shape->m * shape->n * shape->k, err));
	EVN_TRY(evn_multiply(p->q, shape, a, b, c, err));
	return evn_product_end(p->times, p->q, err);
}

/* y (n_tok, out) = alpha x (n_tok, in) W^T + beta y. */
static evn_status forward(const evn_products *p, evn_buf *y, columns at_y, columns x, const evn_param *w, uint32_t in,
						  uint32_t n_tok, float alpha, float beta, evn_error *err)
{
	const evn_product shape = {.m = n_tok,
							   .n = w->rows,
							   .k = in,
							   .b_transposed = true,
							   .lda = x.stride,
							   .ldb = w->stride,
							   .ldc = at_y.stride,
							   .a_offset = x.offset,
							   .c_offset = at_y.offset,
							   .alpha = alpha,
							   .beta = beta};
	return multiply(p, EVN_FORWARD, &shape, x.buf, w->value, y, err);
}

/* dx (n_tok, in) = alpha dy (n_tok, out) W + beta dx. */
static evn_status backward_input(const evn_products *p, evn_buf *dx, columns at_x, columns dy, const evn_param *w,
								 uint32_t in, uint32_t n_tok, float alpha, float beta, evn_error *err)
{
	const evn_product shape = {.m = n_tok,
							   .n = in,
							   .k = w->rows,
							   .lda = dy.stride,
							   .ldb = w->stride,
							   .ldc = at_x.stride,
							   .a_offset = dy.offset,
							   .c_offset = at_x.offset,
							   .alpha = alpha,
							   .beta = beta};
	return multiply(p, EVN_BACK_INPUT, &shape, dy.buf, w->value, dx, err);
}

/* dW (out, in) += alpha dy^T x. */
static evn_status backward_weight(const evn_products *p, const evn_param *w, columns dy, columns x, uint32_t in,
								  uint32_t n_tok, float alpha, evn_error *err)
{
	const evn_product shape = {.m = w->rows,
							   .n = in,
							   .k = n_tok,
							   .a_transposed = true,
							   .lda = dy.stride,
							   .ldb = x.stride,
							   .ldc = w->stride,
							   .a_offset = dy.offset,
							   .b_offset = x.offset,
							   .alpha = alpha,
							   .beta = 1};
	return multiply(p, EVN_BACK_WEIGHT, &shape, dy.buf, x.buf, w->gradient, err);
}

static uint32_t low_stride(const evn_linear *l) { return (uint32_t)evn_round_up(l->lora_rank, EVN_PAD); }

static double frozen_flops(const evn_linear *l, uint32_t n_tok)
{
	return 2.0 * n_tok * l->frozen.rows * l->frozen.columns;
}

static evn_status product(const evn_linear *l, const evn_products *p, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						  uint32_t x_stride, uint32_t n_tok, evn_error *err)
{
	const columns from = {x, x_stride, l->x_shift};
	if (l->weight.rows)
		return forward(p, y, (columns){y, y_stride, 0}, from, &l->weight, l->in, n_tok, 1, 0, err);
	EVN_TRY(evn_product_begin(p->times, p->q, EVN_FORWARD, frozen_flops(l, n_tok), err));
	EVN_TRY(evn_op_gemm(p->ops, y, y_stride, x, x_stride, &l->frozen, n_tok, err));
	EVN_TRY(evn_product_end(p->times, p->q, err));
	const columns low = {p->low, low_stride(l), 0};
	for (uint32_t i = 0; i < l->n_lora; i++) {
		const evn_lora *r = &l->lora[i];
		EVN_TRY(forward(p, p->low, low, from, &r->a, l->in, n_tok, 1, 0, err));
		EVN_TRY(forward(p, y, (columns){y, y_stride, r->y_offset}, low, &r->b, l->lora_rank, n_tok, l->lora_scale, 1,
						err));
	}
	return EVN_OK;
}

evn_status evn_linear_forward(const evn_linear *l, const evn_products *p, evn_buf *y, uint32_t y_stride,
							  const evn_buf *x, uint32_t x_stride, uint32_t n_tok, evn_error *err)
{
	EVN_TRY(product(l, p, y, y_stride, x, x_stride, n_tok, err));
	if (!l->bias.value)
		return EVN_OK;
	return evn_op_add_bias(p->ops, y, y_stride, l->bias.value, (uint32_t)evn_param_floats(&l->bias), n_tok, err);
}

static evn_status lora_backward(const evn_linear *l, const evn_products *p, const evn_lora *r, evn_buf *dx, columns x,
								columns dy, uint32_t n_tok, evn_error *err)
{
	const columns low = {p->low, low_stride(l), 0}, d_low = {p->d_low, low_stride(l), 0};
	dy.offset = r->y_offset;
	EVN_TRY(forward(p, p->low, low, x, &r->a, l->in, n_tok, 1, 0, err));
	EVN_TRY(backward_weight(p, &r->b, dy, low, l->lora_rank, n_tok, l->lora_scale, err));
	EVN_TRY(backward_input(p, p->d_low, d_low, dy, &r->b, l->lora_rank, n_tok, l->lora_scale, 0, err));
	EVN_TRY(backward_weight(p, &r->a, d_low, x, l->in, n_tok, 1, err));
	return backward_input(p, dx, x, d_low, &r->a, l->in, n_tok, 1, 1, err);
}

evn_status evn_linear_backward(const evn_linear *l, const evn_products *p, evn_buf *dx, const evn_buf *x,
							   uint32_t x_stride, const evn_buf *dy, uint32_t y_stride, uint32_t n_tok,
							   evn_error *err)
{
	const columns from = {x, x_stride, l->x_shift}, d_out = {dy, y_stride, 0};
	if (l->bias.gradient)
		EVN_TRY(evn_op_bias_gradient(p->backward, l->bias.gradient, dy, y_stride, l->bias.rows, n_tok, err));
	if (l->weight.rows) {
		EVN_TRY(backward_weight(p, &l->weight, d_out, from, l->in, n_tok, 1, err));
		return backward_input(p, dx, from, d_out, &l->weight, l->in, n_tok, 1, 0, err);
	}
	EVN_TRY(evn_product_begin(p->times, p->q, EVN_BACK_INPUT, frozen_flops(l, n_tok), err));
	EVN_TRY(evn_op_gemm_back(p->ops, dx, x_stride, dy, y_stride, &l->frozen, n_tok, err));
	EVN_TRY(evn_product_end(p->times, p->q, err));
	for (uint32_t i = 0; i < l->n_lora; i++)
		EVN_TRY(lora_backward(l, p, &l->lora[i], dx, from, d_out, n_tok, err));
	return EVN_OK;
}

void evn_linear_free(evn_linear *l)
{
	evn_param_free(&l->weight);
	evn_param_free(&l->bias);
	evn_matrix_free(&l->frozen);
	for (uint32_t i = 0; i < l->n_lora; i++) {
		evn_param_free(&l->lora[i].a);
		evn_param_free(&l->lora[i].b);
	}
}
