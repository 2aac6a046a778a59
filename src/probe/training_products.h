/* training_products.h - a layer's matrix products as training makes them, to be timed: in f32 forward, for the
 * gradient of the input and for that of the weights. Isolated GEMM says little of them: two of three are transposed,
 * and what copies and gaps between kernels cost differs between drivers by a factor of two. */
#ifndef EVN_TRAINING_PRODUCTS_H
#define EVN_TRAINING_PRODUCTS_H

#include "nn/matrix.h"

typedef struct {
	evn_queue *q;
	const evn_matrix *matrices; /* their shapes count, not their weights */
	uint32_t n, n_tok;
	evn_buf *x, *y, *w;
} evn_training_products;

/* Released by evn_training_products_free, whatever the status. */
evn_status evn_training_products_create(evn_training_products *p, evn_queue *q, const evn_matrix *matrices,
										uint32_t n, evn_error *err);
void evn_training_products_free(evn_training_products *p);
/* Enqueues all of them and waits. */
evn_status evn_training_products_run(const evn_training_products *p, evn_error *err);
double evn_training_products_flops(const evn_training_products *p);

#endif
