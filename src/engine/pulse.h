/* pulse.h - whether ranks have become faster than they were, without the text's work: a kernel that only counts runs
 * for some milliseconds now and then. It tells of ranks that were left out of steps, too. */
#ifndef EVN_PULSE_H
#define EVN_PULSE_H

#include "engine/engine.h"

typedef struct evn_pulse evn_pulse;

evn_status evn_pulse_create(evn_pulse **out, const evn_engine *e, evn_error *err);
/* These ranks, one bit for each, are slow now. The first runs, beside the next steps, say how slow. */
evn_status evn_pulse_begin(evn_pulse *p, uint64_t ranks, evn_error *err);
/* Begins a run when it is time for one, and looks at the last one. True if the slowest rank of the last runs took
 * much less time than the slowest one at first. Between steps; it does not wait. */
bool evn_pulse_is_faster(evn_pulse *p);
void evn_pulse_free(evn_pulse *p); /* before the queues; they are finished */

#endif
