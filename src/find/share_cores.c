/* share_cores.c - limits CPU drivers that are used together to separate cores. Every CPU driver runs a thread on each
 * core, so two of them compete: a pair decoded at half the speed of either (PoCL 3.1 beside Intel's 2026.22).
 * Sub-devices do not separate them. The drivers' environment variables do, but a driver reads them when it is loaded.
 * A child process therefore finds out which devices a list names, before this process loads any driver. */
#include "base/child.h"
#include "find/found.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_NS 20000000000u
#define CACHE_LIMIT ((size_t)64 << 10)

typedef struct {
	const char *platform, *variable;
	uint32_t units;       /* compute units of the sub-devices that were asked for */
	uint32_t whole_ranks; /* ranks that use the whole device */
} cpu_driver;

static const cpu_driver known[] = {
	{.platform = "Portable Computing Language", .variable = "POCL_MAX_PTHREAD_COUNT"},
	{.platform = "Intel(R) OpenCL", .variable = "DPCPP_CPU_NUM_CUS"},
};
#define N_KNOWN (sizeof known / sizeof *known)

/* ---- in the child ---------------------------------------------------------------------------------------------- */

evn_status evn_selection_write(int fd, const char *const *items, size_t n, evn_error *err)
{
	evn_system *s = NULL;
	evn_pick picks[EVN_MAX_RANKS];
	size_t n_picks = 0;
	EVN_TRY(evn_system_open(&s, err));
	evn_status status = EVN_OK;
	for (size_t i = 0; i < n && status == EVN_OK; i++)
		status = evn_system_select(s, items[i], i, picks, &n_picks, EVN_MAX_RANKS, err);
	for (size_t i = 0; i < n_picks && status == EVN_OK; i++) {
		const evn_device_info *info = evn_system_info(s, picks[i].device);
		if (!strcmp(info->type, "cpu"))
			dprintf(fd, "%u\t%u\t%s\n", info->compute_units, picks[i].n_units, info->platform_name);
	}
	evn_system_close(s);
	return status;
}

/* ---- in the parent --------------------------------------------------------------------------------------------- */

static bool is_probed(const evn_probed_driver *c, const char *platform)
{
	for (size_t d = 0; c->probed && d < c->report.n_devices; d++)
		if (!strcmp(c->report.devices[d].platform_name, platform))
			return true;
	return false;
}

static uint32_t count_probed(const evn_probed_driver *probed, size_t n)
{
	uint32_t count = 0;
	for (size_t k = 0; k < N_KNOWN; k++)
		for (size_t c = 0; c < n; c++)
			count += is_probed(&probed[c], known[k].platform);
	return count;
}

/* Adds the child's lines to the drivers. Returns the number of the CPU's cores. */
static uint32_t read_lines(cpu_driver *drivers, const char *text)
{
	uint32_t cores = 0;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned all, units;
		char platform[128];
		if (sscanf(line, "%u\t%u\t%127[^\n]", &all, &units, platform) != 3)
			continue;
		cores = all > cores ? all : cores;
		for (size_t k = 0; k < N_KNOWN; k++)
			if (!strcmp(drivers[k].platform, platform)) {
				drivers[k].units += units;
				drivers[k].whole_ranks += units == 0;
			}
	}
	return cores;
}

/* Sub-devices get the units they ask for. Whole devices share the rest equally. Each gets at least one core. */
static void limit_cores(const cpu_driver *drivers, uint32_t cores)
{
	uint32_t n = 0, n_whole = 0, asked = 0;
	for (size_t k = 0; k < N_KNOWN; k++) {
		n += drivers[k].units || drivers[k].whole_ranks;
		n_whole += drivers[k].whole_ranks > 0;
		asked += drivers[k].whole_ranks ? 0 : drivers[k].units;
	}
	for (size_t k = 0; k < N_KNOWN && n > 1; k++) {
		const cpu_driver *d = &drivers[k];
		uint32_t part = d->whole_ranks ? (cores > asked ? (cores - asked) / n_whole : 0) : d->units;
		char value[16];
		if ((!d->units && !d->whole_ranks) || getenv(d->variable))
			continue;
		snprintf(value, sizeof value, "%u", part ? part : 1);
		if (setenv(d->variable, value, 1) == 0)
			evn_log(EVN_LOG_INFO, "%s is limited to %s of %u cores (%s), because another driver uses the others",
					d->platform, value, cores, d->variable);
	}
}

/* The path of the cached answer. The answer depends on the drivers, the list and the cores that this process may
 * use. */
static char *selection_path(const evn_probed_driver *probed, size_t n_probed, const char *const *items, size_t n,
							const char *probe)
{
	char name[48];
	cpu_set_t cores;
	uint64_t h = EVN_HASH_START;
	for (size_t c = 0; c < n_probed; c++) {
		const evn_probe_report *r = &probed[c].report;
		uint64_t state[] = {evn_probe_key(&probed[c].icd, probe), r->library_bytes, r->library_time_ns};
		h = evn_hash(h, state, sizeof state);
	}
	for (size_t i = 0; i < n; i++)
		h = evn_hash_str(h, items[i]);
	if (sched_getaffinity(0, sizeof cores, &cores) == 0)
		h = evn_hash(h, &cores, sizeof cores);
	snprintf(name, sizeof name, "drivers/select-%016llx.txt", (unsigned long long)h);
	return evn_cache_path(name);
}

/* The child's lines, malloc'd, from the cache if it has them. NULL if the child fails. */
static char *ask_child(const char *probe, const char *const *items, size_t n, const char *cache)
{
	evn_child child = {.argv = {probe, "select"}};
	size_t size;
	char *lines;
	if (cache && evn_read_file(&lines, &size, cache, CACHE_LIMIT, NULL) == EVN_OK)
		return lines;
	for (size_t i = 0; i < n; i++)
		child.argv[2 + i] = items[i];
	evn_children_run(&child, 1, LIMIT_NS, NULL);
	if (cache && child.output && child.output[0] && child.status == 0 && !child.timed_out)
		evn_write_file(cache, child.output, strlen(child.output), NULL);
	return child.output;
}

void evn_share_cores(const char *const *items, size_t n)
{
	cpu_driver drivers[N_KNOWN];
	size_t n_probed;
	const evn_probed_driver *probed = evn_probed_drivers(&n_probed);
	if (n + 3 > sizeof((evn_child *)0)->argv / sizeof(char *) || count_probed(probed, n_probed) < 2)
		return;
	char *probe = evn_find_probe();
	char *cache = probe ? selection_path(probed, n_probed, items, n, probe) : NULL;
	char *lines = probe ? ask_child(probe, items, n, cache) : NULL;
	memcpy(drivers, known, sizeof known);
	if (lines) {
		uint32_t cores = read_lines(drivers, lines);
		limit_cores(drivers, cores);
	}
	free(lines);
	free(cache);
	free(probe);
}
