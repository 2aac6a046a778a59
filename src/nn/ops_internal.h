/* ops_internal.h - what the launchers of one evn_ops share. For src/nn/ops*.c only. */
#ifndef EVN_OPS_INTERNAL_H
#define EVN_OPS_INTERNAL_H

#include "nn/ops_gemm.h"
#include "nn/ops_attention.h"

#define EVN_MAX_QUANTS 32
#define EVN_MAX_QUERIES 8u /* queries of one work-group of attention; more would not fit into registers */
#define EVN_TILE_CHOICES 3

/* The kernels of products with one weight format. */
typedef struct {
	evn_kernel *matvec[EVN_ACT_FORMATS][EVN_TILE_CHOICES]; /* [format of x][choice of tiles] */
	evn_kernel *matmul[EVN_ACT_FORMATS];                   /* [format of x] */
	evn_kernel *matvec_experts[EVN_ACT_FORMATS][2];        /* [format of x][several tokens of one expert] */
	evn_kernel *matmul_experts[EVN_ACT_FORMATS];
	evn_kernel *matvec_swiglu[EVN_ACT_FORMATS][EVN_ACT_FORMATS]; /* [format of x][format of y] */
	evn_kernel *matmul_swiglu[EVN_ACT_FORMATS][EVN_ACT_FORMATS];
	evn_kernel *dequantize;
	evn_kernel *feed_forward_block[EVN_ACT_FORMATS]; /* [format of x] */
} evn_product_kernels;

/* Those of a choice of experts. */
typedef struct {
	evn_kernel *route, *rank, *choose, *count, *place, *gather, *add, *add_shared, *add_bias;
} evn_expert_kernels;

/* Those of DeltaNets and gated heads (ops_delta.c). */
typedef struct {
	evn_kernel *conv, *unit, *rule, *gate, *split_gates, *apply_gates;
} evn_delta_kernels;

/* Those of inputs by layer (ops_layers.c). */
typedef struct {
	evn_kernel *take, *add, *project, *gate[EVN_ACT_FORMATS]; /* [format of y] */
} evn_layer_kernels;

/* Those of attention over a latent vector (ops_latent.c). */
typedef struct {
	evn_kernel *norm, *rows, *values;
} evn_latent_kernels;

struct evn_ops {
	evn_queue *q;
	evn_ops_config config;
	bool prompts_by_gemm;
	double block_cost;                                               /* see evn_ops_set_block_cost */
	uint32_t lanes;                                                  /* the device's, when the kernels were made */
	uint32_t items;                                                  /* work-items that share a norm's row */
	evn_kernel *norm[EVN_NORM_KINDS][EVN_ACT_FORMATS];               /* [kind][format of y] */
	evn_kernel *add_normed[EVN_NORM_KINDS][EVN_ACT_FORMATS];         /* the same */
	evn_kernel *swiglu[EVN_ACT_FORMATS], *activate[EVN_ACT_FORMATS]; /* [format of y] */
	evn_kernel *add_bias, *dropout, *top, *head_squares, *head_norms;
	evn_expert_kernels experts;
	evn_delta_kernels delta;
	evn_layer_kernels layers;
	evn_latent_kernels latent;
	evn_product_kernels products[EVN_MAX_QUANTS];
	evn_buf *scratch; /* for dequantised weights */
	evn_product_times *times;
};

/* ops.c */
/* Launches work-items (LANES columns, row) for whole columns, a multiple of 16. */
evn_status evn_launch_columns(const evn_ops *o, evn_args *a, uint32_t columns, uint32_t n_rows, evn_error *err);
/* The same for kernels that write rows of `stride` columns by store_block or store_lane. */
evn_status evn_launch_stores(const evn_ops *o, evn_args *a, uint32_t stride, uint32_t n_rows, evn_error *err);
/* Columns [y_offset, y_offset + width) of y (n_tok, stride) += entries of b from b_offset on. */
evn_status evn_add_bias(evn_ops *o, evn_buf *y, uint32_t stride, uint32_t y_offset, const evn_buf *b,
						uint32_t b_offset, uint32_t width, uint32_t n_tok, evn_error *err);

/* Sets the part GATE. */
void evn_spec_gate(evn_spec *s, const evn_ops *o);

/* ops_product.c */
evn_status evn_kernels_of(evn_ops *o, const evn_quant *quant, evn_product_kernels **out, evn_error *err);
/* The spec of a kernel that multiplies activations of this format with weights: one row at a time, or a block of
 * rows. */
evn_spec evn_spec_row_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format);
evn_spec evn_spec_lane_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format,
							   uint32_t tokens);
evn_spec evn_spec_block_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format);
/* True if a kernel with several tiles for each work-item stays small enough. */
bool evn_reads_tiles(const evn_quant *quant, evn_act_format format);

/* Dequantises tiles [first_tile, first_tile + n_tiles) of the part to o->scratch, [columns, rows]. */
evn_status evn_op_dequantize(evn_ops *o, const evn_matrix_part *p, uint32_t first_tile, uint32_t n_tiles,
							 evn_error *err);
void evn_arg_tiles(evn_args *a, const evn_matrix_part *p); /* sets the arguments of a window of weights */
/* For stacked gate and up rows or two views of them. True if one kernel can read both; the number of tiles from the
 * first gate tile to the first up tile. */
bool evn_in_one_buffer(const evn_matrix *m);
uint32_t evn_up_tile(const evn_matrix *m, uint32_t up_offset);

/* ops_attention.c */
/* Sets the parts and defines of kernels/attend.cl for work-groups of this many queries. */
void evn_spec_attention(evn_spec *s, const evn_attention_ops *ops, uint32_t queries);
/* The place of the kernel that computes a whole attention block with these heads (ops_fused.c). */
evn_kernel **evn_attention_block_kernel(evn_attention_ops *ops, const evn_quant *quant, evn_act_format format,
										uint32_t queries);
uint32_t evn_attention_queries(const evn_attention_ops *ops, const evn_attention *a, const evn_row_set *rows);
/* ATTENTION_PARAMETERS of heads.cl */
void evn_arg_attention(evn_args *a, const evn_attention_ops *ops, const evn_attention *at, const evn_row_set *rows);
/* Scratch for f32 rows (n_tok, stride), valid until the next call. */
evn_status evn_attention_rows(evn_attention_ops *ops, uint32_t stride, uint32_t n_tok, evn_buf **out, evn_error *err);

static inline evn_status evn_launch2(evn_args *a, size_t groups_x, size_t groups_y, size_t items, evn_error *err)
{
	return evn_launch(a, 2, (size_t[]){groups_x, groups_y}, (size_t[]){items, 1}, err);
}

#endif
