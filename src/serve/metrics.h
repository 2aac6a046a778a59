/* metrics.h - what the server counts beside the scheduler: how long requests took. */
#ifndef EVN_SERVE_METRICS_H
#define EVN_SERVE_METRICS_H

#include "evener/requests.h"

#include <stdatomic.h>

enum { N_BOUNDS = 14 };

typedef struct {
	_Atomic uint64_t
		counts[N_BOUNDS + 1]; /* of values up to each bound and above the one before; the last: above all */
	_Atomic uint64_t sum_ns;
} histogram;

typedef struct {
	histogram first_token, next_token, whole, queue, prefill, decode;
	_Atomic uint64_t most_tokens; /* of a request, with its prompt */
} metrics;

void histogram_add(histogram *h, double seconds);
void metrics_request(metrics *m, const evn_request_result *r, double seconds);

#endif
