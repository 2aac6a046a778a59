/* devices.c - the public list of devices, with their measured rates. */
#include <stdlib.h>
#include <string.h>

#include "engine/profile.h"
#include "evener/selftest.h"
#include "proof/selftest.h"

struct evn_device_list {
	evn_system *system;
	size_t n;
	evn_device_info *infos;
	char (*faults)[256];
};

void evn_devices_free(evn_device_list *l)
{
	if (!l)
		return;
	evn_system_close(l->system);
	free(l->infos);
	free(l->faults);
	free(l);
}

/* A fault found while measuring makes a device unusable in the list. */
static void use_profile(evn_device_info *info, char *fault, const evn_profile *p)
{
	const evn_rank_profile *r = &p->ranks[0];
	if (r->fault[0]) {
		memcpy(fault, r->fault, sizeof r->fault);
		info->usable = false;
		info->reason = fault;
		return;
	}
	info->measured = p->measured;
	info->gemv_gbs = r->gemv_gbs;
	info->gemm_gflops = r->gemm_gflops;
	info->launch_us = r->launch_us;
	info->map_us = r->map_us;
}

static evn_status fill(evn_device_list *l, const evn_profile_options *o, evn_error *err)
{
	EVN_TRY(evn_system_open(&l->system, err));
	l->n = evn_system_count(l->system);
	l->infos = calloc(l->n + 1, sizeof *l->infos);
	l->faults = calloc(l->n + 1, sizeof *l->faults);
	if (!l->infos || !l->faults)
		return evn_fail_memory(err, "device list", l->n * sizeof *l->infos);
	for (size_t i = 0; i < l->n; i++)
		l->infos[i] = *evn_system_info(l->system, i);
	for (size_t i = 0; i < l->n; i++) {
		evn_profile p;
		if (!l->infos[i].usable)
			continue;
		EVN_TRY(evn_profile_get(&p, l->system, &(evn_pick){.device = i}, 1, NULL, o, err));
		if (p.measured.taken_s > 0)
			use_profile(&l->infos[i], l->faults[i], &p);
	}
	return EVN_OK;
}

evn_status evn_devices_find(evn_device_list **out, bool measure, evn_progress_fn progress, void *user, evn_error *err)
{
	*out = NULL;
	evn_device_list *l = calloc(1, sizeof *l);
	if (!l)
		return evn_fail_memory(err, "device list", sizeof *l);
	evn_status s = fill(l,
						&(evn_profile_options){.measuring = measure ? EVN_MEASURE_THOROUGH : EVN_MEASURE_NOTHING,
											   .progress = progress,
											   .progress_user = user},
						err);
	if (s != EVN_OK) {
		evn_devices_free(l);
		return s;
	}
	*out = l;
	return EVN_OK;
}

size_t evn_devices_count(const evn_device_list *l) { return l->n; }
const evn_device_info *evn_devices_get(const evn_device_list *l, size_t i) { return &l->infos[i]; }
size_t evn_devices_problem_count(const evn_device_list *l) { return evn_system_problem_count(l->system); }
evn_driver_problem evn_devices_problem(const evn_device_list *l, size_t i)
{
	return evn_system_problem(l->system, i);
}

/* ---- self-test ------------------------------------------------------------------------------------------------- */

/* The picks are malloc'd, because a self-test may have more devices than a run may have ranks. */
static evn_status select_devices(const evn_system *s, const char *devices, evn_pick **picks, size_t *n,
								 evn_error *err)
{
	const char *asked = devices ? devices : "all";
	char *list = evn_strdup(asked), *rest = list, *item;
	size_t n_items = 1;
	for (const char *c = asked; (c = strchr(c, ',')); c++)
		n_items++;
	const size_t max = n_items * evn_system_count(s) * EVN_MAX_RANKS;
	*picks = calloc(max + 1, sizeof **picks);
	evn_status status = list && *picks ? EVN_OK : evn_fail_memory(err, "device list", max * sizeof **picks);
	for (size_t rule = 0; status == EVN_OK && (item = strsep(&rest, ",")); rule++)
		status = evn_system_select(s, item, rule, *picks, n, max, err);
	free(list);
	return status;
}

typedef struct {
	evn_selftest_fn fn;
	void *user;
	size_t failures;
	char first[256];
} counting;

static void count(void *user, const evn_selftest_result *r)
{
	counting *c = user;
	if (!r->passed && c->failures++ == 0)
		strncpy(c->first, r->kernel, sizeof c->first - 1);
	if (c->fn)
		c->fn(c->user, r);
}

evn_status evn_selftest(const char *devices, evn_selftest_fn fn, void *user, evn_error *err)
{
	evn_system *s = NULL;
	evn_pick *picks = NULL;
	size_t n = 0;
	counting c = {.fn = fn, .user = user};
	evn_status status = evn_system_open(&s, err);
	if (status == EVN_OK)
		status = select_devices(s, devices, &picks, &n, err);
	for (size_t i = 0; i < n && status == EVN_OK; i++) {
		evn_device *d;
		status = evn_devices_open(s, &picks[i], 1, &d, err);
		if (status == EVN_OK) {
			status = evn_selftest_device(d, NULL, count, &c, err);
			evn_device_close(d);
		}
	}
	free(picks);
	evn_system_close(s);
	if (status == EVN_OK && c.failures)
		return evn_fail(err, EVN_ERR_DEVICE, "%zu kernels gave wrong results, the first is %s", c.failures, c.first);
	return status;
}
