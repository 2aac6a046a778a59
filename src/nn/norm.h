/* norm.h - norms of rows, alone and after a sum over ranks, and the memory formats of activations. */
#ifndef EVN_NORM_H
#define EVN_NORM_H

#include "group/comm.h"

/* The memory format of the activation matrix that a product reads: f32 rows, or rows of 8-bit blocks (kernels/q8.cl).
 * The latter need less memory than f32 rows of the same stride. */
typedef enum { EVN_ACT_F32, EVN_ACT_Q8, EVN_ACT_FORMATS } evn_act_format;
void evn_spec_store(evn_spec *s, evn_act_format format); /* sets the part STORE: the format that a kernel writes */

/* A norm of rows (n_rows, stride). It writes y (n_rows, stride) in the format that the next product reads. */
/* EVN_NORM_REPLACE: a LayerNorm; x becomes the norm as well. */
typedef enum { EVN_NORM_RMS, EVN_NORM_LAYER, EVN_NORM_NONE, EVN_NORM_REPLACE, EVN_NORM_KINDS } evn_norm_kind;
typedef struct {
	evn_norm_kind kind;
	evn_act_format format;
	evn_buf *y;
	const evn_buf *w, *bias; /* (stride); NULL if the kind of norm has none */
	uint32_t dim;            /* the true width */
	float eps;
	const evn_buf *post; /* after a sum: weights of an RMS norm of the sum itself, before it is added; or NULL */
} evn_norm;

/* Sets the parts NORM and STORE. `items` work-items share a row (evn_device_row_items). */
void evn_spec_norm(evn_spec *s, evn_norm_kind kind, evn_act_format format, uint32_t items);
void evn_arg_norm(evn_args *a, const evn_norm *n, uint32_t stride);
/* Launches k, the kernel norm_rows of norm_rows.cl, for the rows first .. first + n_rows of x (.., stride). */
evn_status evn_norm_launch(evn_kernel *k, uint32_t items, const evn_norm *n, const evn_buf *x, uint32_t first,
						   uint32_t n_rows, uint32_t stride, evn_error *err);

/* An epilogue that computes the norm of a sum's rows in the kernel that adds. n must live as long as the sum. NULL:
 * none. */
evn_epilogue evn_norm_epilogue(const evn_norm *n);

#endif
