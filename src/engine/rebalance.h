/* rebalance.h - shares that follow the speeds of the devices. What each rank's work took is compared with what its
 * measured rates predict. If other shares would make steps faster, blocks move to other ranks (move.h). */
#ifndef EVN_REBALANCE_H
#define EVN_REBALANCE_H

#include "engine/engine.h"

typedef struct evn_rebalance evn_rebalance;

/* Shares change only if the options say so and the user has given none. Whether flags are better for short sums is
 * tried in any case, unless the user has named a method. *out is NULL if nothing can change. */
evn_status evn_rebalance_create(evn_rebalance **out, const evn_engine *e, evn_error *err);
/* Before the queues of the ranks. `abandoned`: a device hangs, and what its queue uses must stay. */
void evn_rebalance_free(evn_rebalance *r, bool abandoned);

/* Before a step, and after one that succeeded. r may be NULL. A move that was decided goes on before steps, some
 * blocks each time. The lock must be held. An error is one of a device: the step cannot be computed either. */
evn_status evn_rebalance_before_step(evn_rebalance *r, evn_engine *e, evn_error *err);
void evn_rebalance_after_step(evn_rebalance *r, evn_engine *e, const evn_step_seen *seen);

#endif
