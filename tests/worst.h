/* worst.h - the largest of several errors. A NaN counts as the largest and stays; fmax would drop it, and a test that
 * compares with NaN must fail. */
#ifndef EVN_TEST_WORST_H
#define EVN_TEST_WORST_H

#include <math.h>

static inline double worse(double worst, double error) { return isnan(worst) || error <= worst ? worst : error; }

#endif
