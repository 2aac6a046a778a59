/* fixed_profile.c - fixed rates, for tests of what an engine computes. Such tests give their shares or need no
 * particular ones, and measuring would take most of their time. The linker replaces the real functions by these two
 * (--wrap). test_profile, test_tune and the programs of tests/cli measure for real. */
#include "engine/profile.h"

#include <stdlib.h>
#include <string.h>

evn_status __wrap_evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s,
								   const evn_model *m, const evn_profile_options *o, evn_error *err);
evn_status __wrap_evn_profile_get(evn_profile *out, const evn_system *s, const evn_pick *picks, uint32_t n,
								  const evn_model *m, const evn_profile_options *o, evn_error *err);

/* The dot kind of a rank, and with it its width: EVENER_TEST_DOTS names them, with commas between them. */
static evn_dot dot_of(uint32_t rank)
{
	const char *names = getenv("EVENER_TEST_DOTS");
	while (names && rank--)
		names = strchr(names, ',') ? strchr(names, ',') + 1 : NULL;
	for (evn_dot dot = EVN_DOT_NONE; names && dot < EVN_DOT_COUNT; dot++)
		if (!strncmp(names, evn_dot_name(dot), strcspn(names, ",")) && !evn_dot_name(dot)[strcspn(names, ",")])
			return dot;
	return EVN_DOT_NONE;
}

/* Rates of a CPU in round numbers. The devices of one platform share a context, so they can use events. Flags are
 * unknown unless EVENER_TEST_FLAGS_US says what they cost. */
static evn_profile profile_of(const evn_system *s, const evn_pick *picks, uint32_t n)
{
	const char *flags = getenv("EVENER_TEST_FLAGS_US");
	evn_profile p = {.host_us = n > 1 ? 200 : 0, .events_us = n > 1 ? 100 : 0};
	p.flags_us = flags && n > 1 ? strtod(flags, NULL) : 0;
	for (uint32_t i = 0; i < n; i++) {
		p.ranks[i] = (evn_rank_profile){.gemv_gbs = 10,
										.prompt_gflops = 40,
										.gemm_gflops = 40,
										.training_gflops = 20,
										.dot = dot_of(i),
										.launch_us = 5,
										.map_us = 10};
		if (evn_system_platform(s, picks[i].device) != evn_system_platform(s, picks[0].device))
			p.events_us = 0;
	}
	return p;
}

evn_status __wrap_evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s,
								   const evn_model *m, const evn_profile_options *o, evn_error *err)
{
	(void)m, (void)o, (void)err;
	for (uint32_t i = 0; i < n; i++)
		*requests[i].out = profile_of(s, requests[i].picks, requests[i].n);
	return EVN_OK;
}

evn_status __wrap_evn_profile_get(evn_profile *out, const evn_system *s, const evn_pick *picks, uint32_t n,
								  const evn_model *m, const evn_profile_options *o, evn_error *err)
{
	return __wrap_evn_profiles_get(&(evn_profile_request){out, picks, n}, 1, s, m, o, err);
}
