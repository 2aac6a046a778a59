/* product_times.h - how fast a rank's products by GEMM run in the midst of other work: their arithmetic over the time
 * between what was queued before them and their own end, so that copies and gaps between their kernels count. */
#ifndef EVN_PRODUCT_TIMES_H
#define EVN_PRODUCT_TIMES_H

#include "ocl/ocl.h"

typedef enum { EVN_FORWARD, EVN_BACK_INPUT, EVN_BACK_WEIGHT, EVN_PRODUCT_KINDS } evn_product_kind;

typedef struct {
	double flops, ns;
} evn_product_sum;

typedef struct {
	evn_event *before, *after;
	evn_product_kind kind;
	double flops;
} evn_product_time;

typedef struct {
	bool wanted;             /* of products that are begun from now on */
	evn_product_time *times; /* not yet added up */
	size_t n, room;
	evn_product_sum sums[EVN_PRODUCT_KINDS]; /* since they were last cleared; no ns where the driver tells no times */
} evn_product_times;

/* Around a product of so many operations: begin before it is queued, end behind it. t may be NULL. */
evn_status evn_product_begin(evn_product_times *t, evn_queue *q, evn_product_kind kind, double flops, evn_error *err);
evn_status evn_product_end(evn_product_times *t, evn_queue *q, evn_error *err);
/* Adds up those whose products have ended: all, once the queue has been waited for. */
void evn_product_times_add(evn_product_times *t);
void evn_product_times_clear(evn_product_times *t);

#endif
