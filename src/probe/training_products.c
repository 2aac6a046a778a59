/* training_products.c - see training_products.h. */
#include "probe/training_products.h"

#define TOKENS 512u /* of a pass: fewer than most trainings have, enough to fill a device */

static uint32_t padded_length(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_PAD); }

/* Of zeros: what is multiplied does not matter, as long as it is no denormal number. */
static evn_status make_operand(evn_queue *q, evn_buf **out, uint64_t rows, uint32_t columns, evn_error *err)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), rows * columns * sizeof(float), EVN_BUF_DEVICE, "matrix", err));
	return evn_fill_zero(q, *out, err);
}

evn_status evn_training_products_create(evn_training_products *p, evn_queue *q, const evn_matrix *matrices,
										uint32_t n, evn_error *err)
{
	uint32_t columns = 0, rows = 0;
	uint64_t weights = 0;
	*p = (evn_training_products){.q = q, .matrices = matrices, .n = n, .n_tok = TOKENS};
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t size = (uint64_t)matrices[i].rows * padded_length(matrices[i].columns);
		columns = padded_length(matrices[i].columns) > columns ? padded_length(matrices[i].columns) : columns;
		rows = padded_length(matrices[i].rows) > rows ? padded_length(matrices[i].rows) : rows;
		weights = size > weights ? size : weights;
	}
	EVN_TRY(make_operand(q, &p->x, TOKENS, columns, err));
	EVN_TRY(make_operand(q, &p->y, TOKENS, rows, err));
	return make_operand(q, &p->w, weights, 1, err);
}

void evn_training_products_free(evn_training_products *p)
{
	evn_buf_free(p->x);
	evn_buf_free(p->y);
	evn_buf_free(p->w);
	*p = (evn_training_products){0};
}

/* y = x W^T, then dx from dy and W, then dW from dy and x, as src/nn/ops_gemm.c has them. */
static evn_status run_one(const evn_training_products *p, const evn_matrix *m, evn_error *err)
{
	const uint32_t in = padded_length(m->columns), out = padded_length(m->rows);
	const evn_product forward = {.m = p->n_tok,
								 .n = m->rows,
								 .k = m->columns,
								 .b_transposed = true,
								 .lda = in,
								 .ldb = in,
								 .ldc = out,
								 .alpha = 1};
	const evn_product input = {
		.m = p->n_tok, .n = m->columns, .k = m->rows, .lda = out, .ldb = in, .ldc = in, .alpha = 1};
	const evn_product weight = {.m = m->rows,
								.n = m->columns,
								.k = p->n_tok,
								.a_transposed = true,
								.lda = out,
								.ldb = in,
								.ldc = in,
								.alpha = 1,
								.beta = 1};
	EVN_TRY(evn_multiply(p->q, &forward, p->x, p->w, p->y, err));
	EVN_TRY(evn_multiply(p->q, &input, p->y, p->w, p->x, err));
	return evn_multiply(p->q, &weight, p->y, p->x, p->w, err);
}

evn_status evn_training_products_run(const evn_training_products *p, evn_error *err)
{
	for (uint32_t i = 0; i < p->n; i++)
		EVN_TRY(run_one(p, &p->matrices[i], err));
	return evn_queue_finish(p->q, err);
}

double evn_training_products_flops(const evn_training_products *p)
{
	double flops = 0;
	for (uint32_t i = 0; i < p->n; i++)
		flops += 3 * 2.0 * p->n_tok * p->matrices[i].rows * p->matrices[i].columns;
	return flops;
}
