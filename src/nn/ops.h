/* ops.h - one launcher for each operation. An evn_ops has the kernels of one queue; each is built when it is first
 * used. Buffers are activation matrices as described in matrix.h. All calls only enqueue. */
#ifndef EVN_OPS_H
#define EVN_OPS_H

#include "nn/dot.h"
#include "nn/matrix.h"
#include "nn/norm.h"

typedef struct evn_ops evn_ops;

/* EVN_SILU, EVN_GELU (the form with tanh): act(gate) * up. EVN_CLAMPED: gpt-oss's (kernels/gate/). */
typedef enum { EVN_SILU, EVN_GELU, EVN_CLAMPED, EVN_NONLINEARITIES } evn_nonlinearity;

/* Those of networks without a gate: GELU by tanh or by erf; max(x, 0). */
typedef enum { EVN_BY_TANH, EVN_BY_ERF, EVN_RELU } evn_activation;

typedef struct {
	evn_dot dot;               /* the dot kind of products with integer weights; EVN_DOT_NONE: activations stay f32 */
	evn_nonlinearity gate;     /* how gate and up are combined */
	evn_activation activation; /* what evn_op_activate computes */
	bool runs; /* blocks of tokens in runs (kernels/blocks.cl) for all weights, not only for those beyond a cache */
} evn_ops_config;

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err);
void evn_ops_free(evn_ops *ops);

/* Says whether rows of prompts are multiplied by dequantising and CLBlast. Otherwise, and for decoded rows, kernels
 * read the quantised blocks. */
void evn_ops_set_gemm(evn_ops *ops, bool prompts_by_gemm);

/* With 1 lane one of two kernels multiplies several rows: for 8 rows at once (lanes/matvec.cl), or for blocks of 64
 * (lanes/matmul.cl). Both give the same bits. cost: the time of a row in a full block of 64, divided by its time
 * among 8; 0: not known. */
void evn_ops_set_block_cost(evn_ops *ops, double cost);
#define EVN_BLOCKS_ALWAYS 0x1p-20
#define EVN_BLOCKS_NEVER 0x1p20

/* n rows of one phase (nn/batch.h). A row's result depends on the phase, never on n. */
typedef struct {
	uint32_t n;
	evn_phase phase;
} evn_rows;

/* Kernels work on blocks of EVN_BLOCK_TOKENS rows. If n > 1 is not a multiple, they also read and write the rows up
 * to the next multiple. Every activation matrix has memory for these rows. */

/* The format in which evn_op_linear and evn_op_gate_up read x. The kernel that writes x must use it. */
evn_act_format evn_op_act_format(const evn_ops *ops, const evn_matrix *m, evn_phase phase);

/* y (n, y_stride) columns [0, m->rows) = x (n, x_stride) W^T + additions + bias; x_stride >= m->columns. */
evn_status evn_op_linear(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						 const evn_matrix *m, evn_rows rows, evn_error *err);
/* One of the two products from which evn_op_linear chooses, without additions and bias. The other one is evn_op_gemm
 * (ops_gemm.h). */
evn_status evn_op_quantised(evn_ops *ops, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
							uint32_t x_stride, const evn_matrix *m, uint32_t n_tok, evn_error *err);

/* The products before W_out in a gated feed-forward block: y (n, y_stride) = gate(x G^T, x U^T) in the format
 * y_format. m stacks G and U; U's rows begin at up_offset. The other columns of y become zeros. If G and U have the
 * same format, no bias and no GEMM, one kernel computes it; with 1 lane only for one row or in blocks of 64.
 * Otherwise the products go through gate_up (n, gate_up_stride). */
evn_status evn_op_gate_up(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						  uint32_t x_stride, const evn_matrix *m, uint32_t up_offset, evn_buf *gate_up,
						  uint32_t gate_up_stride, evn_rows rows, evn_error *err);

/* norm->y = the norm of the rows first .. first + n_tok of x (.., stride). */
evn_status evn_op_norm(evn_ops *ops, const evn_norm *norm, const evn_buf *x, uint32_t first, uint32_t n_tok,
					   uint32_t stride, evn_error *err);
/* x = kept * x + scale * the norm of rows of `from` by norm->post; then norm->y = the norm of x. All have n_tok rows
 * of `stride`. If kept is 0, what x held does not matter. */
evn_status evn_op_add_normed(evn_ops *ops, const evn_norm *norm, evn_buf *x, const evn_buf *from, float kept,
							 float scale, uint32_t n_tok, uint32_t stride, evn_error *err);
/* y (n_tok, stride) = x (n_tok, stride), converted from f32 to the format y_format. */
evn_status evn_op_store(evn_ops *ops, evn_act_format y_format, evn_buf *y, const evn_buf *x, uint32_t stride,
						uint32_t n_tok, evn_error *err);
/* y[t][i] = gate(gu[t][i], gu[t][up_offset + i]) for i < width, and zeros up to y_stride. width is a multiple of
 * 16. */
evn_status evn_op_swiglu(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *gu,
						 uint32_t gu_stride, uint32_t up_offset, uint32_t width, uint32_t n_tok, evn_error *err);
/* y[t][i] = f(x[t][i]) for i < width, and zeros up to y_stride; f: the activation. width is a multiple of 16. */
evn_status evn_op_activate(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						   uint32_t x_stride, uint32_t width, uint32_t n_tok, evn_error *err);
/* Dropout: a fraction of the elements becomes zero. Each element is decided by its place and the key alone. The other
 * elements are scaled up. */
typedef struct {
	float fraction; /* in [0, 1) */
	uint64_t key;
} evn_dropout;
/* y (n values, a multiple of 16) = scale times the elements of x that stay. y may be x. The same function of dy is
 * the gradient. */
evn_status evn_op_dropout(evn_ops *ops, evn_buf *y, const evn_buf *x, uint64_t n, const evn_dropout *d, float scale,
						  evn_error *err);
/* y (n_tok, stride) += b (width) in columns [0, width). width is a multiple of 16. */
evn_status evn_op_add_bias(evn_ops *ops, evn_buf *y, uint32_t stride, const evn_buf *b, uint32_t width,
						   uint32_t n_tok, evn_error *err);

/* RMS norms of queries and of keys over the heads of all ranks. Columns of qkv in floats. */
typedef struct {
	evn_buf *qkv; /* (n_rows, stride): q at column 0, k at k_offset */
	uint32_t stride, q_width, k_offset, k_width;
	uint32_t k_of_others;   /* the first columns of k, whose squares another rank adds */
	const evn_buf *weights; /* of the queries from first_q on, of the keys from first_k on */
	uint32_t first_q, first_k;
	uint32_t all_q, all_k; /* the elements of all heads of the model */
	float eps;
} evn_head_norms;
#define EVN_HEAD_SUMS 32u /* floats of a row of sums; two are used */
/* sums (n_rows, EVN_HEAD_SUMS) = this rank's squares. */
evn_status evn_op_head_squares(evn_ops *ops, const evn_head_norms *n, evn_buf *sums, uint32_t n_rows, evn_error *err);
/* Norms q and k in place. sums: of all ranks. */
evn_status evn_op_head_norms(evn_ops *ops, const evn_head_norms *n, const evn_buf *sums, uint32_t n_rows,
							 evn_error *err);

#endif
