/* linear.c - see linear.h. */
#include "train/linear.h"

/* The gradient of a matrix, which has the shape of its value. */
static evn_plain gradient_of(const evn_param *p, const evn_plain *value)
{
	evn_plain g = *value;
	g.buf = p->gradient;
	return g;
}

static evn_status addition_backward(const evn_linear *l, const evn_gradient_ops *o, uint32_t i, evn_columns dx,
									evn_columns x, evn_columns dy, uint32_t n_tok, evn_error *err)
{
	const evn_addition *r = &l->additions[i];
	const evn_columns low = {r->low, r->b.stride, 0}, d_low = {o->d_low, r->b.stride, 0};
	const evn_plain d_a = gradient_of(&l->a[i], &r->a), d_b = gradient_of(&l->b[i], &r->b);
	const evn_plain_product down = {.w = &r->a, .n = n_tok, .alpha = 1};
	const evn_plain_product down_back = {.w = &r->a, .n = n_tok, .alpha = 1, .beta = 1};
	const evn_plain_product up_back = {.w = &r->b, .n = n_tok, .alpha = r->scale};
	const evn_plain_product of_a = {.w = &d_a, .n = n_tok, .alpha = 1, .beta = 1};
	const evn_plain_product of_b = {.w = &d_b, .n = n_tok, .alpha = r->scale, .beta = 1};
	dy.offset += r->y_offset;
	EVN_TRY(evn_op_plain(o->ops, &down, low, x, err));
	EVN_TRY(evn_op_plain_gradient(o->ops, &of_b, dy, low, err));
	EVN_TRY(evn_op_plain_back(o->ops, &up_back, d_low, dy, err));
	EVN_TRY(evn_op_plain_gradient(o->ops, &of_a, d_low, x, err));
	return evn_op_plain_back(o->ops, &down_back, dx, d_low, err);
}

evn_status evn_linear_backward(const evn_linear *l, const evn_gradient_ops *o, evn_buf *dx, evn_columns x,
							   evn_columns dy, uint32_t n_tok, evn_error *err)
{
	const uint32_t shift = x.offset + l->m->x_shift;
	if (l->bias.gradient)
		EVN_TRY(evn_op_bias_gradient(o->backward, l->bias.gradient, dy.buf, dy.stride, l->bias.rows, n_tok, err));
	if (l->weight.gradient) {
		const evn_plain d_w = gradient_of(&l->weight, &l->m->plain);
		const evn_plain_product of_w = {.w = &d_w, .n = n_tok, .alpha = 1, .beta = 1};
		EVN_TRY(evn_op_plain_gradient(o->ops, &of_w, dy, x, err));
	}
	EVN_TRY(evn_op_gemm_back(o->ops, dx, x.stride, dy.buf, dy.stride, l->m, n_tok, err));
	const evn_columns from = {x.buf, x.stride, shift}, to = {dx, x.stride, shift};
	for (uint32_t i = 0; i < l->n_additions; i++)
		EVN_TRY(addition_backward(l, o, i, to, from, dy, n_tok, err));
	return EVN_OK;
}

void evn_linear_free(evn_linear *l)
{
	evn_param_free(&l->weight);
	evn_param_free(&l->bias);
	for (uint32_t i = 0; i < l->n_additions; i++) {
		evn_param_free(&l->a[i]);
		evn_param_free(&l->b[i]);
	}
}
