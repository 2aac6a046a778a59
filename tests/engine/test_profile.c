/* Which way of meeting is taken from what was measured of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/profile.h"

static void expect(evn_reduce asked, double host, double events, double flags, evn_reduce way, double us)
{
	evn_profile p = {.host_us = host, .events_us = events, .flags_us = flags};
	evn_meeting cost;
	assert_int_equal(evn_profile_reduce(&p, asked, &cost), way);
	assert_true(cost.token_us == us);
}

static void test_ways(void **state)
{
	(void)state;
	expect(EVN_REDUCE_AUTO, 78, 33, 7, EVN_REDUCE_FLAGS, 7);
	expect(EVN_REDUCE_AUTO, 78, 0, 0, EVN_REDUCE_HOST, 78);
	expect(EVN_REDUCE_AUTO, 78, 33, 0, EVN_REDUCE_EVENTS, 33);
	expect(EVN_REDUCE_AUTO, 220, 139, 148, EVN_REDUCE_FLAGS, 148); /* as measured on a busy machine */
	expect(EVN_REDUCE_AUTO, 50, 40, 265, EVN_REDUCE_EVENTS, 40);   /* spinning is in the way */
	expect(EVN_REDUCE_AUTO, 50, 0, 265, EVN_REDUCE_HOST, 50);
	expect(EVN_REDUCE_AUTO, 100, 140, 200, EVN_REDUCE_EVENTS, 140); /* not twice as much by two steps */
	expect(EVN_REDUCE_HOST, 78, 33, 7, EVN_REDUCE_HOST, 78);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ways)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
