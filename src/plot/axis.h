/* axis.h - from values to places along an axis, and where its ticks stand. */
#ifndef EVN_PLOT_AXIS_H
#define EVN_PLOT_AXIS_H

#include "base/base.h"

#define EVN_AXIS_TICKS 24

typedef struct {
	double min, max; /* of what is shown, min < max */
	bool log;
	uint32_t n_ticks;
	double ticks[EVN_AXIS_TICKS]; /* within min..max */
	char labels[EVN_AXIS_TICKS][16];
} evn_axis;

/* An axis that shows low..high (finite; > 0 where log) with about `most_ticks` (2 to 20) ticks at most. round: the
 * ends move out to ticks. */
evn_axis evn_axis_make(double low, double high, bool log, bool round, uint32_t most_ticks);
double evn_axis_place(const evn_axis *a, double value); /* 0 at min, 1 at max */
/* The smallest 1, 2 or 5 times a power of ten that is >= least. */
double evn_nice_step(double least);

#endif
