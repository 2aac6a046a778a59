/* layout.h - the device layouts that the planner considers: a device as a whole, or a CPU as equal sub-devices, each
 * with a rank. A driver's own threads sleep and wake at every kernel; ranks of few cores that use flags can be
 * faster. */
#ifndef EVN_LAYOUT_H
#define EVN_LAYOUT_H

#include "ocl/ocl.h"
#include "plan/plan.h"

typedef struct {
	uint32_t n; /* ranks */
	evn_pick picks[EVN_MAX_RANKS];
	char name[96]; /* "0:0", "0:0/1@1", "0:0/1+1" */
} evn_layout;

/* One device or sub-device, as picked. */
evn_layout evn_layout_of(const evn_system *s, const evn_pick *pick);
/* Every usable device whole; then each CPU of N cores as 2, 4 and 8 parts of equally many cores, and up to 8 cores as
 * N parts of one. Returns how many, at most EVN_MAX_CANDIDATES. */
uint32_t evn_layouts_list(const evn_system *s, evn_layout *out);

#endif
