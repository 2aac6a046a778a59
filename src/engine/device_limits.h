/* device_limits.h - what a plan must respect besides the size of a device's memory. */
#ifndef EVN_DEVICE_LIMITS_H
#define EVN_DEVICE_LIMITS_H

#include "engine/prepare.h"

/* A layer's keys, or its values, are one buffer. Reduces memory[rank] of each rank whose largest one would be larger
 * than its device allows, so that it gets a smaller share of the next split. False if there is none. */
bool evn_limit_caches(const evn_prepared *p, uint64_t *memory);
/* A graphics card that also drives a display must not compute too long without a pause. Reduces the batch, so that no
 * launch of a prompt takes longer than that. */
void evn_limit_batch(evn_prepared *p);

#endif
