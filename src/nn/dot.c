#include "nn/dot.h"

static const struct {
	const char *name, *defines;
	const char *feature; /* the feature that the device must have; NULL for none */
} dots[EVN_DOT_COUNT] = {
	[EVN_DOT_NONE] = {"f32", "", NULL},
	[EVN_DOT_PLAIN] = {"plain", "", NULL},
	[EVN_DOT_KHR] = {"khr", "-cl-std=CL3.0 -DDOT_KHR", "int_dot"},
	[EVN_DOT_AVX2] = {"avx2", "-DDOT_AVX2", "avx2"},
	[EVN_DOT_VNNI256] = {"vnni256", "-DDOT_VNNI256", "vnni256"},
	[EVN_DOT_VNNI512] = {"vnni512", "-DDOT_VNNI512", "vnni512"},
};

const char *evn_dot_name(evn_dot dot) { return dots[dot].name; }
const char *evn_dot_defines(evn_dot dot) { return dots[dot].defines; }

bool evn_dot_possible(evn_dot dot, const evn_device *d)
{
	return !dots[dot].feature || evn_device_has(d, dots[dot].feature);
}

evn_dot evn_dot_best(const evn_device *d)
{
	evn_dot best = EVN_DOT_COUNT - 1;
	while (!evn_dot_possible(best, d))
		best--;
	return best;
}
