/* tap.h - copies of the input and of the output of one product, taken on one rank in the middle of a step, to be
 * computed again on the host (proof/check.h). */
#ifndef EVN_TAP_H
#define EVN_TAP_H

#include "nn/micro_batch.h"

/* A row of activations on the host. */
typedef struct {
	float *values;
	uint32_t n;
	float *scales; /* one for each 32 values, of which they are whole multiples; NULL: they were not rounded */
} evn_row_copy;

/* EVN_TAP_IN: W_in. Its output is what follows directly: gated values, or queries, keys and values, of which only the
 * values are as the product left them. EVN_TAP_OUT: W_out. */
typedef enum { EVN_TAP_IN, EVN_TAP_OUT } evn_tap_product;

typedef struct evn_tap {
	uint32_t block; /* attention or feed-forward */
	evn_tap_product product;
	bool taken; /* false: this rank has no units of the block */
	evn_phase phase;
	evn_row_copy x, y; /* of the first row of the step */
} evn_tap;

/* After the block was computed. The host waits for the device. */
evn_status evn_tap_take(evn_tap *t, const evn_walker *w, const evn_micro_batch *mb, evn_error *err);
/* Frees the copies; the tap can be used again. */
void evn_tap_clear(evn_tap *t);

#endif
