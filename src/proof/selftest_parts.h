/* selftest_parts.h - what the cases of fused blocks (selftest_fused.c) have from those of their parts: products
 * (selftest_matrix.c) and attention (selftest_heads.c), expected values with their bounds. */
#ifndef EVN_SELFTEST_PARTS_H
#define EVN_SELFTEST_PARTS_H

#include "proof/selftest_case.h"

/* ---- products ---------------------------------------------------------------------------------------------------
 */

typedef struct {
	evn_tensor tensor;
	float *w;      /* (rows, columns) */
	float *offset; /* w where its quant is zero; only where the format has offsets, else zeros */
} evn_weights;

evn_status evn_case_weights(evn_cases *c, evn_weights *out, const evn_quant *q, uint32_t rows, uint32_t columns,
							evn_error *err);

/* A block of a weight tensor times x: column columns.begin meets x[x_first]; row rows.begin goes to y[y_offset]. */
typedef struct {
	const evn_weights *w;
	evn_range rows, columns;
	uint32_t x_first, y_offset;
} evn_row_product;

/* Row `row` of the tensor times x. */
void evn_expect_row(const evn_row_product *p, uint32_t row, const float *x, double *want, double *bound);
/* silu(g) u of a gate within dg of g and an up within du of u: the slope of silu is at most 1.1, its kernel's own
 * error as in selftest_rows.c. */
void evn_expect_gated(double g, double dg, double u, double du, double *want, double *bound);
/* Where kernels read 8-bit activations: *out = x (.., stride) as such, and x's values become what they say. */
evn_status evn_case_round(evn_cases *c, evn_ops *ops, evn_case_array *x, uint32_t stride, const evn_buf **out,
						  evn_error *err);

/* ---- attention --------------------------------------------------------------------------------------------------
 */

#define EVN_RUN_EPS 1e-6f

/* Which heads of a model are computed, from which position on. */
typedef struct {
	uint32_t n_heads, n_kv, first_head, first_kv, position;
} evn_heads_at;

#define EVN_RUN_UNUSED_KV 1u /* KV heads in the cache before those that are computed */

/* One run: `position` tokens fill the cache at once, then n_tok more are looked at: one is decoded, several are a
 * prompt's. */
typedef struct {
	evn_attention_config config;
	evn_heads_at of;
	evn_attention at;
	uint32_t n_tok, n_keys, out_stride, out_offset;
	evn_case_array past, qkv, rope, weights_qk, k_cache, v_cache, out, tables[2];
	uint32_t n_ctx, n_blocks;         /* positions that the caches are for, and their blocks */
	evn_slot slot;                    /* in another order than the positions' */
	evn_span spans[2];                /* of the past, of the tokens looked at */
	const uint8_t *k_tiles, *v_tiles; /* the caches as the device left them */
	double *weights;                  /* one query's, over all keys */
} evn_attention_run;

/* Inputs and buffers of a run whose config, heads, position, columns of qkv, n_tok and out_offset are set. */
evn_status evn_attention_run_make(evn_cases *c, evn_attention_run *r, evn_error *err);
/* The tokens looked at, as attention takes them. */
evn_status evn_attention_run_rows(evn_cases *c, const evn_attention_ops *ops, evn_attention_run *r, evn_row_set *out,
								  evn_error *err);
/* The first `position` tokens. */
evn_status evn_attention_run_fill(evn_cases *c, evn_attention_ops *ops, evn_attention_run *r, evn_act_format form,
								  evn_error *err);
/* The caches, when the other tokens have been looked at. */
evn_status evn_attention_run_read(evn_cases *c, evn_attention_run *r, evn_error *err);
/* Every position of the cache holds its token's k and v; the positions no token has yet are untouched. */
void evn_check_cache(evn_cases *c, const evn_attention_run *r);
/* What r->out must be, given the caches. */
void evn_expect_attended(evn_attention_run *r);

#endif
