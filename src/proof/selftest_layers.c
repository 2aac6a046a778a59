/* selftest_layers.c - known answers for the inputs of layers by the token (kernels/layer_inputs.cl). */
#include "nn/ops_layers.h"
#include "proof/selftest_parts.h"

#include <math.h>

enum { DIM = 40, STRIDE = 64, LAYERS = 3, INPUTS = 21, ROW = STRIDE + 96, PATCH = 80, N_TOK = 3, WIDTH = 32 };

static evn_layer_inputs inputs_of(const evn_case_array *rows)
{
	return (evn_layer_inputs){rows->buf, ROW, STRIDE, INPUTS};
}

static evn_status check_taking(evn_cases *c, evn_ops *ops, const evn_case_array *rows, evn_error *err)
{
	const evn_layer_inputs in = inputs_of(rows);
	evn_case_array x;
	EVN_TRY(evn_case_output(c, &x, N_TOK * STRIDE, err));
	for (uint32_t i = 0; i < N_TOK * STRIDE; i++)
		x.want[i] = (double)rows->values[i / STRIDE * ROW + i % STRIDE];
	EVN_TRY(evn_op_take_rows(ops, x.buf, STRIDE, &in, 0, N_TOK, err));
	EVN_TRY(evn_case_check(c, &x, "x", err));
	for (uint32_t i = 0; i < N_TOK * STRIDE; i++)
		x.want[i] = (double)rows->values[i / STRIDE * ROW + PATCH + i % STRIDE];
	EVN_TRY(evn_op_take_rows(ops, x.buf, STRIDE, &in, PATCH, N_TOK, err));
	EVN_TRY(evn_case_check(c, &x, "patches", err));
	for (uint32_t i = 0; i < N_TOK * STRIDE; i++) {
		const double added = (double)rows->values[i / STRIDE * ROW + i % STRIDE];
		x.want[i] += added;
		x.bound[i] = EVN_UNIT * fabs(x.want[i]);
	}
	EVN_TRY(evn_op_add_rows(ops, x.buf, STRIDE, rows->buf, ROW, N_TOK, err));
	return evn_case_check(c, &x, "sums", err);
}

/* The error of the norm's factor, two products, a sum and the factor of the mean. */
static void expect_mean(const float *v, const float *w, double eps, double *want, double *bound)
{
	double squares = 0;
	for (uint32_t i = 0; i < INPUTS; i++)
		squares += (double)v[i] * (double)v[i];
	const double factor = 1 / sqrt(squares / INPUTS + eps);
	const double relative = evn_roundings(INPUTS + 4) + EVN_SQRT_ERROR + 2 * EVN_DIVIDE_ERROR;
	for (uint32_t i = 0; i < INPUTS; i++) {
		const double normed = (double)v[i] * factor * (double)w[i];
		bound[i] = sqrt(0.5) * (relative * fabs(normed) + 4 * EVN_UNIT * (fabs(normed) + fabs(want[i])));
		want[i] = (want[i] + normed) * sqrt(0.5);
	}
}

static evn_status check_projection(evn_cases *c, evn_ops *ops, evn_case_array *rows, evn_error *err)
{
	const evn_layer_inputs in = inputs_of(rows);
	const uint32_t stride = 64;
	evn_case_array projected, w;
	EVN_TRY(evn_case_input(c, &projected, (uint64_t)N_TOK * stride, err));
	EVN_TRY(evn_case_input(c, &w, INPUTS, err));
	const evn_layer_projection p = {projected.buf, w.buf, stride, LAYERS, 1e-3f};
	for (uint32_t t = 0; t < N_TOK; t++)
		for (uint32_t layer = 0; layer < LAYERS; layer++) {
			const uint32_t at = t * ROW + STRIDE + layer * INPUTS;
			expect_mean(projected.values + t * stride + layer * INPUTS, w.values, (double)p.eps, rows->want + at,
						rows->bound + at);
		}
	EVN_TRY(evn_op_add_projected(ops, &in, &p, N_TOK, err));
	return evn_case_check(c, rows, "inputs", err);
}

/* A rank has some units of the layer: they begin in the middle. */
static evn_status check_gate(evn_cases *c, evn_ops *ops, evn_act_format format, evn_error *err)
{
	const uint32_t first = STRIDE + INPUTS + 2, units = INPUTS - 2, x_stride = WIDTH + EVN_PAD;
	evn_case_array rows, x, y;
	EVN_TRY(evn_case_input(c, &rows, N_TOK * ROW, err));
	EVN_TRY(evn_case_array_make(c, &x, (uint64_t)N_TOK * x_stride, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)N_TOK * STRIDE, err));
	const evn_layer_inputs in = inputs_of(&rows);
	for (uint32_t t = 0; t < N_TOK; t++)
		for (uint32_t i = 0; i < STRIDE; i++) {
			const uint32_t at = t * STRIDE + i;
			y.want[at] = 0;
			if (i < x_stride)
				x.values[t * x_stride + i] *= i < units ? 6 : 0;
			if (i < units)
				evn_expect_gated(EVN_GELU,
								 (evn_gate_up){.g = (double)x.values[t * x_stride + i],
											   .u = (double)rows.values[t * ROW + first + i]},
								 &y.want[at], &y.bound[at]);
		}
	EVN_TRY(evn_case_upload(c, &x, err));
	EVN_TRY(evn_op_gate_by_layer(ops, format, y.buf, STRIDE, x.buf, x_stride, WIDTH, &in, first, N_TOK, err));
	return evn_case_check_format(c, &y, format, "y", err);
}

static evn_status layers_case(evn_cases *c, const void *shape, evn_error *err)
{
	const evn_act_format format = *(const evn_act_format *)shape;
	const evn_ops_config config = {0};
	evn_ops *ops;
	evn_case_array rows;
	EVN_TRY(evn_case_output(c, &rows, N_TOK * ROW, err));
	evn_status s = evn_ops_create(&ops, c->q, &config, err);
	if (s == EVN_OK)
		s = check_taking(c, ops, &rows, err);
	if (s == EVN_OK)
		s = check_projection(c, ops, &rows, err);
	if (s == EVN_OK)
		s = check_gate(c, ops, format, err);
	evn_ops_free(ops);
	return s;
}

void evn_selftest_layers(evn_cases *c)
{
	for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++)
		if (evn_case_has_format(c, format))
			evn_case_run(c, &(evn_case){layers_case, &format, EVN_LAYER_INPUTS, NULL}, "%s",
						 format == EVN_ACT_Q8 ? "q8" : "f32");
}
