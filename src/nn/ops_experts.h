/* ops_experts.h - the operations of a mixture of experts: the choice of k experts for each row, on the device, and
 * products with the chosen experts' matrices. A pair is a row and one of its experts. All calls only enqueue. */
#ifndef EVN_OPS_EXPERTS_H
#define EVN_OPS_EXPERTS_H

#include "nn/ops.h"

/* The choice for the rows of a step. The buffers have room for the rows that evn_expert_rows says. */
typedef struct {
	uint32_t n_experts, k;
	bool normed;                      /* a row's weights are divided by their sum */
	bool sigmoid;                     /* a weight is the logistic function of the score, not a probability */
	float factor;                     /* of the sum of a row's experts */
	uint32_t n_groups, n_used_groups; /* of experts, at most EVN_EXPERT_GROUPS; below 2: none */
	const evn_buf *choice_bias;       /* (n_experts): is added to logistic functions for the choice alone; or NULL */
	const evn_buf *scales;            /* (n_experts): factors of the experts' outputs; NULL: none */
	evn_buf *scores;                  /* (rows, n_experts padded to 16) */
	evn_buf *ranks;                   /* the same; with groups or biases only */
	evn_buf *experts, *weights, *places; /* (rows, k): of pairs; the best expert first */
	evn_buf *counts, *of_blocks;         /* for many pairs: of experts; of blocks of rows */
} evn_routing;

/* The router: W (n_experts, dim), the norm of its rows, and what is added to scores. */
typedef struct {
	const evn_buf *w;    /* in tiles of 16 rows of f32, columns padded to the stride of x */
	const evn_buf *norm; /* weights of an RMS norm */
	const evn_buf *bias; /* (n_experts padded to 16) */
	uint32_t dim;
	float eps;
} evn_router;

/* The rows that experts multiply: one for each pair, or blocks of EVN_BLOCK_TOKENS rows with the same expert. */
typedef struct {
	const evn_buf *experts; /* of each row or block */
	uint32_t n;             /* rows, whole blocks of them if they are grouped */
	bool grouped;
} evn_expert_set;

/* The most rows for n rows of activations, grouped or not. */
uint32_t evn_expert_rows(uint32_t n_experts, uint32_t k, uint32_t n);

/* rates (n, n_rates padded to 16) = n_rates rows of r times the normed rows of x (n, stride), and r's bias. */
evn_status evn_op_rates(evn_ops *ops, evn_buf *rates, uint32_t n_rates, const evn_router *r, const evn_buf *x,
						uint32_t stride, uint32_t n, evn_error *err);
/* Chooses for n rows of x (.., stride), which are not normed yet. All ranks choose alike. */
evn_status evn_op_choose(evn_ops *ops, const evn_routing *c, const evn_router *r, const evn_buf *x, uint32_t stride,
						 uint32_t n, evn_error *err);
/* Finds the rows to multiply, grouped if pairs are many. A pair's result does not depend on this. */
evn_status evn_op_group(evn_ops *ops, const evn_routing *c, uint32_t n, evn_expert_set *out, evn_error *err);
/* y (set->n, stride) = the rows of x (n, stride) of a grouped set. */
evn_status evn_op_gather(evn_ops *ops, const evn_routing *c, evn_act_format format, evn_buf *y, const evn_buf *x,
						 uint32_t stride, uint32_t n, evn_error *err);
/* y (set->n, y_stride) columns [0, m->rows) = x W^T + bias with the matrix of each row's expert. x has a row for
 * `shared` rows of y, 1 if they are grouped. */
evn_status evn_op_experts(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						  uint32_t shared, const evn_matrix *m, const evn_expert_set *set, evn_phase phase,
						  evn_error *err);
/* y (n, stride) = the sum of each row's pairs in x (.., stride), by their weights and the experts' scales. */
evn_status evn_op_add_experts(evn_ops *ops, const evn_routing *c, evn_buf *y, const evn_buf *x, uint32_t stride,
							  uint32_t n, evn_error *err);

/* What a shared expert adds. */
typedef struct {
	evn_buf *y;       /* (n, stride) */
	const evn_buf *x; /* the same: the output of the shared expert */
	uint32_t stride, n;
	bool adds; /* to y; otherwise y is overwritten */
} evn_shared_rows;
/* y (+)= x; with r->w, times the logistic function of r's one row times the normed row of `input` (n, stride). */
evn_status evn_op_add_shared(evn_ops *ops, const evn_routing *c, const evn_router *r, const evn_buf *input,
							 const evn_shared_rows *rows, evn_error *err);

#endif
