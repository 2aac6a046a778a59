/* ops_internal.h - what the launchers of one evn_ops share; for src/nn/ops*.c only. */
#ifndef EVN_OPS_INTERNAL_H
#define EVN_OPS_INTERNAL_H

#include "nn/ops.h"

#define EVN_MAX_QUANTS 32
#define EVN_TILE_CHOICES 3

/* Products with the weights of one format. */
typedef struct {
	evn_kernel *matvec[EVN_FORMS][EVN_TILE_CHOICES]; /* [form of x][tiles of an item] */
	evn_kernel *swiglu[EVN_FORMS][EVN_FORMS];        /* [form of x][form of y] */
	evn_kernel *matmul[EVN_FORMS];                   /* [form of x] */
	evn_kernel *dequantize;
} evn_product_kernels;

struct evn_ops {
	evn_queue *q;
	evn_ops_config config;
	uint32_t gemm_from;
	uint32_t items;                                  /* work-items that share a row or tile */
	evn_kernel *norm[EVN_NORM_KINDS][EVN_FORMS];     /* [kind][form of y] */
	evn_kernel *swiglu[EVN_FORMS], *gelu[EVN_FORMS]; /* [form of y] */
	evn_kernel *add_bias;
	evn_product_kernels products[EVN_MAX_QUANTS];
	evn_buf *scratch; /* dequantised weights */
};

static inline evn_status evn_launch2(evn_args *a, size_t groups_x, size_t groups_y, size_t items, evn_error *err)
{
	return evn_launch(a, 2, (size_t[]){groups_x, groups_y}, (size_t[]){items, 1}, err);
}

#endif
