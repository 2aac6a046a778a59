/* test_comm_part.c - ranks leave steps and come back: the sums of those that take part, with every method.
 *   test_comm_part [DEVICES [staged]]
 *       several drivers; staged: one has its own memory, so no flags */
#include "engine/comm_rounds.h"

static const char *several_drivers;
static bool staged;

/* Ranks leave and come back between steps. */
static void check_part(const char *devices, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	ranks_open(&r, devices, 1, (evn_comm_config){.reduce = how, .max_floats = MOST_FLOATS});
	const uint64_t all = r.part, last = 1ull << (r.n - 1), parts[] = {last, all, all & ~2ull, all & ~last, all};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		r.part = parts[i];
		evn_comm_take_part(r.comm, r.part);
		assert_int_equal(evn_comm_first(r.comm), parts[i] == last ? r.n - 1 : 0);
		for (uint32_t k = 0; k < r.n; k++)
			require_ok(evn_fill_zero(r.queues[k], r.x[k], &err));
		require_ok(evn_team_run_on(r.team, r.part, run_rounds, &r, NULL, NULL, &err));
		check_x(&r);
	}
	ranks_close(&r);
}

static void test_part(void **at)
{
	(void)at;
	check_part(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_HOST);
	if (!staged)
		check_part(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_FLAGS);
	if (!several_drivers)
		check_part("pocl,pocl,pocl", EVN_REDUCE_EVENTS);
}

int main(int argc, char **argv)
{
	several_drivers = argc > 1 ? argv[1] : NULL;
	staged = argc > 2 && !strcmp(argv[2], "staged");
	const int found = ranks_find_drivers(several_drivers ? several_drivers : "pocl");
	if (found)
		return found;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_part)};
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
