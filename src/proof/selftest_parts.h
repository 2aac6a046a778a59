/* selftest_parts.h - what the cases of fused blocks (selftest_fused.c) share with those of products
 * (selftest_matrix.c) and of attention (selftest_heads.c): the expected values with their bounds. */
#ifndef EVN_SELFTEST_PARTS_H
#define EVN_SELFTEST_PARTS_H

#include "proof/selftest_case.h"

/* ---- products -------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_tensor tensor;
	float *w;      /* (rows, columns) */
	float *offset; /* the value of w with a zero quant, if the format has offsets; zeros otherwise */
} evn_weights;

evn_status evn_case_weights(evn_cases *c, evn_weights *out, const evn_quant *q, uint32_t rows, uint32_t columns,
							evn_error *err);

/* A block of a weight tensor times x. Column columns.begin is multiplied by x[x_first]. Row rows.begin goes to
 * y[y_offset]. */
typedef struct {
	const evn_weights *w;
	evn_range rows, columns;
	uint32_t x_first, y_offset;
} evn_row_product;

/* Row `row` of the tensor times x. */
void evn_expect_row(const evn_row_product *p, uint32_t row, const float *x, double *want, double *bound);
/* For the names of cases: " gelu"; nothing for SiLU. */
const char *evn_gate_name(evn_nonlinearity gate);
/* A gate and an up, with the bounds of their errors. */
typedef struct {
	double g, dg, u, du;
} evn_gate_up;
/* Their combination. */
void evn_expect_gated(evn_nonlinearity act, evn_gate_up x, double *want, double *bound);
/* For kernels that read 8-bit activations. Writes x (.., stride) in that format to *out, and sets x's values to the
 * rounded ones. */
evn_status evn_case_round(evn_cases *c, evn_ops *ops, evn_case_array *x, uint32_t stride, const evn_buf **out,
						  evn_error *err);

/* ---- attention ------------------------------------------------------------------------------------------------- */

#define EVN_RUN_EPS 1e-6f
#define EVN_RUN_WINDOW 21u /* less than two tiles */
#define EVN_RUN_SOFT_CAP 3.0f

/* The heads of a model that are computed, and the position of the first token. */
typedef struct {
	uint32_t n_heads, n_kv, first_head, first_kv, position;
} evn_heads_at;

#define EVN_RUN_UNUSED_KV 1u /* KV heads in the cache before the computed ones */

/* One run. `position` tokens fill the cache in one step. The next n_tok tokens are the tested ones: one token is
 * decoded, several are a prompt. */
typedef struct {
	evn_attention_config config;
	evn_heads_at of;
	evn_attention at;
	uint32_t n_tok, n_keys, out_stride, out_offset;
	uint32_t out_columns; /* out has at least so many; those that no head has are 0 */
	evn_case_array past, qkv, rope, weights_qk, k_cache, v_cache, out, tables[2];
	uint32_t n_ctx, n_blocks;         /* positions of the caches, and their cache blocks */
	evn_slot slot;                    /* its blocks are not in the order of the positions */
	evn_span spans[2];                /* the span that fills the cache; the span of the tested tokens */
	const uint8_t *k_tiles, *v_tiles; /* the caches after the run */
	double *weights;                  /* the softmax of one query over all keys */
} evn_attention_run;

/* Makes inputs and buffers of a run. config, heads, position, columns of qkv, n_tok and out_offset must be set. */
evn_status evn_attention_run_make(evn_cases *c, evn_attention_run *r, evn_error *err);
/* The tested tokens as a row set. */
evn_status evn_attention_run_rows(evn_cases *c, const evn_attention_ops *ops, evn_attention_run *r, evn_row_set *out,
								  evn_error *err);
/* Runs the first `position` tokens. */
evn_status evn_attention_run_fill(evn_cases *c, evn_attention_ops *ops, evn_attention_run *r, evn_act_format format,
								  evn_error *err);
/* Reads the caches after the tested tokens. */
evn_status evn_attention_run_read(evn_cases *c, evn_attention_run *r, evn_error *err);
/* Checks that every position of the cache holds its token's k and v, and that the positions after the last token are
 * unchanged. */
void evn_check_cache(evn_cases *c, const evn_attention_run *r);
/* Sets the expected values of r->out from the caches. */
void evn_expect_attended(evn_attention_run *r);

#endif
