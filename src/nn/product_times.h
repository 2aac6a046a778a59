/* product_times.h - the speed of a rank's products by GEMM within other work. It is their arithmetic divided by the
 * time from the end of the commands before a product to its own end, so copies and gaps between its kernels count. */
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
	bool wanted;             /* times products that begin from now on */
	evn_product_time *times; /* those that are not yet added up */
	size_t n, room;
	evn_product_sum sums[EVN_PRODUCT_KINDS]; /* since they were last cleared; 0 ns if the driver reports no times */
} evn_product_times;

/* Call begin before a product of this many operations is enqueued, and end after it. t may be NULL. */
evn_status evn_product_begin(evn_product_times *t, evn_queue *q, evn_product_kind kind, double flops, evn_error *err);
evn_status evn_product_end(evn_product_times *t, evn_queue *q, evn_error *err);
/* Adds up the times of products that have completed. These are all if the queue is finished. */
void evn_product_times_add(evn_product_times *t);
void evn_product_times_clear(evn_product_times *t);

#endif
