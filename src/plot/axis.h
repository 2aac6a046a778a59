/* axis.h - maps values to places along an axis, and places the ticks. */
#ifndef EVN_PLOT_AXIS_H
#define EVN_PLOT_AXIS_H

#include "base/base.h"

#define EVN_AXIS_TICKS 24

typedef struct {
	double min, max; /* the range shown; min < max */
	bool log;
	uint32_t n_ticks;
	double ticks[EVN_AXIS_TICKS]; /* all within min..max */
	char labels[EVN_AXIS_TICKS][16];
} evn_axis;

/* Makes an axis that shows low..high (finite; > 0 if log) with at most about `most_ticks` (2 to 20) ticks. round: the
 * ends move outwards to ticks. */
evn_axis evn_axis_make(double low, double high, bool log, bool round, uint32_t most_ticks);
double evn_axis_place(const evn_axis *a, double value); /* 0 for min, 1 for max */
/* The smallest number >= least that is 1, 2 or 5 times a power of ten. */
double evn_nice_step(double least);

#endif
