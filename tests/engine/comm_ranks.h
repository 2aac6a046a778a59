/* comm_ranks.h - ranks with a communicator and nothing else, for the tests of collectives. */
#ifndef EVN_TEST_COMM_RANKS_H
#define EVN_TEST_COMM_RANKS_H

#include "engine/harness.h"

#include "group/comm.h"

#define MOST_RANKS 12u

typedef struct {
	uint32_t n, n_devices;
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[MOST_RANKS];
	evn_comm *comm;
	evn_team *team;
	evn_buf *x[MOST_RANKS];         /* (max_floats) zeros */
	uint64_t part;                  /* one bit for each rank that takes part */
	uint32_t fail_rank, fail_round; /* fail_rank is n if no rank fails */
} ranks;

static evn_system *drivers;

static inline void ranks_cancel(void *arg) { evn_comm_cancel(((ranks *)arg)->comm); }
static inline bool ranks_find_fault(void *arg, evn_fault *out)
{
	return evn_comm_find_fault(((ranks *)arg)->comm, out);
}

/* Opens `repeat` ranks on each device that `items` names, with commas between the names. config has all other
 * settings. */
static inline void ranks_open(ranks *r, const char *items, uint32_t repeat, evn_comm_config config)
{
	evn_error err = {0};
	evn_pick picks[EVN_MAX_RANKS];
	char list[128], *rest = list;
	size_t n = 0;
	*r = (ranks){0};
	snprintf(list, sizeof list, "%s", items);
	for (char *item; (item = strsep(&rest, ","));)
		require_ok(evn_system_select(drivers, item, 0, picks, &n, EVN_MAX_RANKS, &err));
	r->n_devices = (uint32_t)n;
	r->n = r->fail_rank = repeat * r->n_devices;
	assert_true(r->n <= MOST_RANKS);
	r->part = UINT64_MAX >> (64 - r->n);
	require_ok(evn_devices_open(drivers, picks, n, r->devices, &err));
	for (uint32_t i = 0; i < r->n; i++) {
		evn_device *d = r->devices[i % r->n_devices];
		require_ok(evn_queue_create(&r->queues[i], d, &err));
		require_ok(evn_buf_create(&r->x[i], d, config.max_floats * sizeof(float), EVN_BUF_DEVICE, "x", &err));
		require_ok(evn_fill_zero(r->queues[i], r->x[i], &err));
	}
	config.queues = r->queues;
	config.n_ranks = r->n;
	require_ok(evn_comm_create(&r->comm, &config, &err));
	const evn_team_config team = {
		.n_ranks = r->n, .on_failure = ranks_cancel, .find_fault = ranks_find_fault, .arg = r};
	require_ok(evn_team_create(&r->team, &team, &err));
	if (config.reduce != EVN_REDUCE_AUTO)
		assert_int_equal(evn_comm_reduce(r->comm), config.reduce);
}

static inline void ranks_close(ranks *r)
{
	assert_true(evn_team_free(r->team));
	assert_true(evn_comm_free(r->comm));
	for (uint32_t i = 0; i < r->n; i++) {
		evn_buf_free(r->x[i]);
		evn_queue_free(r->queues[i]);
	}
	for (uint32_t i = 0; i < r->n_devices; i++)
		evn_device_close(r->devices[i]);
}

/* Opens all drivers that a list of devices names. 77 if one is missing. */
static inline int ranks_find_drivers(const char *items)
{
	evn_error err = {0};
	static const char *const needed[] = {"pocl", "intel", "rusticl"};
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if (strstr(items, needed[i]) && !driver_exists(needed[i]))
			return missing("a driver of the list of devices is not installed");
	if (evn_system_open(&drivers, &err) == EVN_OK)
		return 0;
	fprintf(stderr, "%s\n", err.text);
	return 1;
}

#endif
