/* worst.h - the largest of errors one after the other. A NaN is larger than all and stays, where fmax drops it: a
 * test that compares with NaN must fail. */
#ifndef EVN_TEST_WORST_H
#define EVN_TEST_WORST_H

#include <math.h>

static inline double worse(double worst, double error) { return isnan(worst) || error <= worst ? worst : error; }

#endif
