/* memory.h - what a device and the host may hold for a plan, and the context that fits. */
#ifndef EVN_ENGINE_MEMORY_H
#define EVN_ENGINE_MEMORY_H

#include "engine/prepare.h"

/* What each of n equal parts of a device may hold. rule may be NULL. */
uint64_t evn_memory_limit(const evn_device_info *info, const evn_device_rule *rule, uint32_t n);
/* What all devices without memory of their own may hold together. */
uint64_t evn_host_bytes(void);
/* Each rank without memory of its own gets an equal part of the host's as its limit. */
void evn_divide_host_evenly(evn_plan_candidate *ranks, uint32_t n);
/* Without a context in the options it is the model's own. If the candidates cannot hold its KV cache, they get the
 * longest one that fits, and a warning says so. Changes p's limits and shape. */
evn_status evn_fit_context(evn_prepared *p, const evn_options *o, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err);

#endif
