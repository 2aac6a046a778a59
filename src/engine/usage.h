/* usage.h - the ways of using a machine's devices that the planner weighs: a device whole, or a CPU as equal
 * sub-devices, a rank each. A driver's own threads sleep and wake at every kernel; ranks of few cores that meet by
 * flags can be faster. */
#ifndef EVN_USAGE_H
#define EVN_USAGE_H

#include "ocl/ocl.h"
#include "plan/plan.h"

typedef struct {
	uint32_t n; /* ranks */
	evn_pick picks[EVN_MAX_RANKS];
	char name[96]; /* "0:0", "0:0/1@1", "0:0/1+1" */
} evn_usage;

/* One device or sub-device, as picked. */
evn_usage evn_usage_of(const evn_system *s, const evn_pick *pick);
/* Every usable device whole; then each CPU of N cores as 2, 4 and 8 parts of equally many cores, and up to 8 cores as
 * N parts of one. Returns how many, at most EVN_MAX_CANDIDATES. */
uint32_t evn_usages_list(const evn_system *s, evn_usage *out);

#endif
