#include "nn/dot.h"

#define BYTES true

static const struct {
	const char *name, *defines;
	const char *feature; /* the feature that the device must have; NULL for none */
	uint32_t lanes;
	bool reads_bytes;
} dots[EVN_DOT_COUNT] = {
	[EVN_DOT_NONE] = {"f32", "", NULL, 16, false},
	[EVN_DOT_PLAIN] = {"plain", "", NULL, 16, BYTES},
	[EVN_DOT_KHR] = {"khr", "-DDOT_KHR", "int_dot", 16, BYTES},
	[EVN_DOT_AVX2] = {"avx2", "-DDOT_AVX2", "avx2", 16, BYTES},
	[EVN_DOT_VNNI256] = {"vnni256", "-DDOT_VNNI256", "vnni256", 16, BYTES},
	[EVN_DOT_VNNI512] = {"vnni512", "-DDOT_VNNI512", "vnni512", 16, BYTES},
	[EVN_DOT_LANES_NONE] = {"lanes-f32", "", NULL, 1, false},
	[EVN_DOT_LANES_PLAIN] = {"lanes-plain", "", NULL, 1, BYTES},
	[EVN_DOT_LANES_KHR] = {"lanes-khr", "-DDOT_KHR", "int_dot", 1, BYTES},
	[EVN_DOT_SDOT4] = {"sdot4", "-DDOT_SDOT4", "sdot4", 1, BYTES},
	[EVN_DOT_SUDOT4] = {"sudot4", "-DDOT_SUDOT4", "sudot4", 1, BYTES},
	[EVN_DOT_DP4A] = {"dp4a", "-DDOT_DP4A", "dp4a", 1, BYTES},
};

const char *evn_dot_name(evn_dot dot) { return dots[dot].name; }
uint32_t evn_dot_lanes(evn_dot dot) { return dots[dot].lanes; }
bool evn_dot_reads_bytes(evn_dot dot) { return dots[dot].reads_bytes; }
bool evn_dot_is_plain(evn_dot dot) { return dot == EVN_DOT_PLAIN || dot == EVN_DOT_LANES_PLAIN; }
bool evn_dot_is_x86(evn_dot dot) { return dot >= EVN_DOT_AVX2 && dot <= EVN_DOT_VNNI512; }
evn_dot evn_dot_f32(uint32_t lanes) { return lanes == 1 ? EVN_DOT_LANES_NONE : EVN_DOT_NONE; }

void evn_spec_dot(evn_spec *s, evn_dot dot, const evn_device *d)
{
	if (dot == EVN_DOT_KHR || dot == EVN_DOT_LANES_KHR)
		evn_spec_option(s, evn_device_language(d));
	evn_spec_option(s, dots[dot].defines);
}

uint32_t evn_dots_of_format(bool bytes)
{
	uint32_t set = 0;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		set |= (uint32_t)(dots[dot].reads_bytes == bytes) << dot;
	return set;
}

uint32_t evn_dots_for_floats(uint32_t set)
{
	uint32_t floats = 0;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		if (set >> dot & 1)
			floats |= 1u << evn_dot_f32(dots[dot].lanes);
	return floats;
}

bool evn_dot_possible(evn_dot dot, const evn_device *d)
{
	return dots[dot].lanes == evn_device_lanes(d) && (!dots[dot].feature || evn_device_has(d, dots[dot].feature));
}

evn_dot evn_dot_best(const evn_device *d)
{
	evn_dot best = EVN_DOT_COUNT - 1;
	while (!evn_dot_possible(best, d))
		best--;
	return best;
}
