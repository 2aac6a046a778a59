/* layout.h - the device layouts that the planner considers: a device as a whole, or a CPU as equal sub-devices, each
 * with a rank. A driver's own threads sleep and wake at every kernel; ranks of few cores that use flags can be
 * faster. */
#ifndef EVN_LAYOUT_H
#define EVN_LAYOUT_H

#include "ocl/ocl.h"
#include "plan/plan.h"

typedef struct {
	uint32_t n; /* its ranks */
	evn_pick picks[EVN_MAX_RANKS];
	char name[96]; /* "0:0", "0:0/1@1", "0:0/1+1" */
} evn_layout;

/* The layout of one picked device or sub-device. */
evn_layout evn_layout_of(const evn_system *s, const evn_pick *pick);
/* Lists every usable device as a whole, then each CPU of N cores as 2, 4 and 8 sub-devices of equal size, and up to 8
 * cores also as N sub-devices of one core. Returns the number of layouts, at most EVN_MAX_CANDIDATES. */
uint32_t evn_layouts_list(const evn_system *s, evn_layout *out);

#endif
