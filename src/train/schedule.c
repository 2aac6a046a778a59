#include "train/schedule.h"

#include <math.h>

#define BETA1 0.9
#define BETA2 0.95
#define EPS 1e-8

static double rate_at(const evn_train_options *o, uint32_t step)
{
	if (step < o->warmup)
		return o->rate * (step + 1) / o->warmup;
	double done = o->steps > o->warmup ? (double)(step - o->warmup) / (o->steps - o->warmup) : 1;
	return o->min_rate + (o->rate - o->min_rate) * 0.5 * (1 + cos(3.14159265358979323846 * done));
}

evn_adamw evn_adamw_at(const evn_train_options *o, uint32_t step)
{
	return (evn_adamw){.rate = (float)rate_at(o, step),
					   .beta1 = (float)BETA1,
					   .beta2 = (float)BETA2,
					   .eps = (float)EPS,
					   .decay = (float)o->decay,
					   .unbias1 = (float)(1 / (1 - pow(BETA1, step + 1.0))),
					   .unbias2 = (float)(1 / (1 - pow(BETA2, step + 1.0)))};
}
