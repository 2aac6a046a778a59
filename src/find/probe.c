/* probe.c - probes every driver in a child process. A report without failures is cached. Drivers that failed are kept
 * out of this process. */
#include "base/child.h"
#include "find/found.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CACHE_LIMIT ((size_t)64 << 10)

/* ---- remembered reports ---------------------------------------------------------------------------------------- */

/* The key contains the state of the probe program's file, because another build of it may try other kernels. */
uint64_t evn_probe_key(const evn_icd *icd, const char *probe)
{
	struct stat st = {0};
	uint64_t h = evn_hash_str(icd->key, EVN_VERSION);
	if (stat(probe, &st) == 0) {
		uint64_t state[] = {(uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
		h = evn_hash(h, state, sizeof state);
	}
	return h;
}

static char *report_path(const evn_icd *icd, const char *probe)
{
	char name[48];
	snprintf(name, sizeof name, "drivers/%016llx.txt", (unsigned long long)evn_probe_key(icd, probe));
	return evn_cache_path(name);
}

static bool library_unchanged(const evn_probe_report *r)
{
	struct stat st;
	return r->library[0] && stat(r->library, &st) == 0 && (uint64_t)st.st_size == r->library_bytes &&
		   (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec == r->library_time_ns;
}

static bool load_report(evn_probed_driver *c, const char *probe)
{
	char *path = report_path(&c->icd, probe), *text = NULL;
	size_t size;
	if (path && evn_read_file(&text, &size, path, CACHE_LIMIT, NULL) == EVN_OK) {
		evn_probe_report_parse(&c->report, text);
		c->probed = c->report.complete && library_unchanged(&c->report);
	}
	free(text);
	free(path);
	return c->probed;
}

/* The report is not cached if a device's first kernel failed, because that may succeed the next time. */
static void save_report(const evn_probed_driver *c, const char *probe, const char *text)
{
	bool all_ran = library_unchanged(&c->report);
	for (size_t i = 0; i < c->report.n_devices; i++)
		all_ran &= !c->report.devices[i].reason[0];
	char *path = all_ran ? report_path(&c->icd, probe) : NULL;
	if (path)
		evn_write_file(path, text, strlen(text), NULL);
	free(path);
}

/* ---- judging --------------------------------------------------------------------------------------------------- */

static const char *signal_name(int number)
{
	switch (number) {
	case SIGSEGV:
		return "SIGSEGV";
	case SIGABRT:
		return "SIGABRT";
	case SIGBUS:
		return "SIGBUS";
	case SIGILL:
		return "SIGILL";
	case SIGFPE:
		return "SIGFPE";
	case SIGKILL:
		return "SIGKILL";
	default:
		return strsignal(number);
	}
}

static void log_false_claims(const evn_probe_report *r)
{
	for (size_t i = 0; i < r->n_devices; i++)
		for (unsigned f = 0; f < EVN_FEATURE_COUNT; f++)
			if (r->devices[i].claimed & ~r->devices[i].features & (1u << f))
				evn_log(EVN_LOG_INFO, "%s on %s: %s is claimed but failed its smoke kernel, so it is not used",
						r->devices[i].platform_name, r->devices[i].name, evn_feature_names[f]);
}

static void judge_driver(evn_probed_driver *c, const evn_child *child, const char *probe, uint64_t limit_ns)
{
	evn_probe_report *r = &c->report;
	if (!child->started)
		return; /* the child did not run, so the driver is not to blame */
	evn_probe_report_parse(r, child->output);
	const char *step = r->step[0] ? r->step : "starting";
	if (child->timed_out && !r->complete)
		snprintf(c->problem, sizeof c->problem, "gave no answer for %.0f s while %s", (double)limit_ns * 1e-9, step);
	else if (WIFSIGNALED(child->status) && !r->complete)
		snprintf(c->problem, sizeof c->problem, "crashed (%s) while %s", signal_name(WTERMSIG(child->status)), step);
	else if (!r->complete)
		snprintf(c->problem, sizeof c->problem, "ended (exit status %d) while %s", WEXITSTATUS(child->status), step);
	else if (r->problem[0])
		snprintf(c->problem, sizeof c->problem, "%s", r->problem);
	c->probed = !c->problem[0];
	if (c->probed) {
		log_false_claims(r);
		save_report(c, probe, child->output);
	}
}

/* ---- all drivers ----------------------------------------------------------------------------------------------- */

/* Each child process sees one driver, through a vendors folder of its own. */
static bool prepare_child(evn_child *child, const evn_probed_driver *c, const char *probe)
{
	child->vendors = evn_icds_folder(&c->icd, &(bool){true}, 1);
	if (!child->vendors)
		return false;
	child->argv[0] = probe;
	child->argv[1] = "devices";
	child->argv[2] = c->icd.library;
	return true;
}

static evn_status probe_unknown(evn_probed_driver *drivers, size_t n, const char *probe, uint64_t limit_ns,
								evn_error *err)
{
	size_t unknown = 0;
	evn_child *children = calloc(n ? n : 1, sizeof *children);
	if (!children)
		return evn_fail_memory(err, "children", n * sizeof *children);
	for (size_t i = 0; i < n; i++)
		if (!load_report(&drivers[i], probe)) {
			unknown++;
			if (!prepare_child(&children[i], &drivers[i], probe))
				evn_log(EVN_LOG_WARN, "%s is used unchecked: no cache folder can be made", drivers[i].icd.path);
		}
	if (unknown)
		evn_children_run(children, n, limit_ns, NULL);
	for (size_t i = 0; i < n; i++) {
		judge_driver(&drivers[i], &children[i], probe, limit_ns);
		free((char *)(uintptr_t)children[i].vendors);
		free(children[i].output);
	}
	free(children);
	return EVN_OK;
}

/* Changes OCL_ICD_VENDORS only if a driver failed. Otherwise the user's own setting stays. */
static evn_status leave_out_failed(const evn_probed_driver *drivers, size_t n, evn_error *err)
{
	size_t good = 0;
	evn_icd *icds = calloc(n ? n : 1, sizeof *icds);
	bool *keep = calloc(n ? n : 1, sizeof *keep);
	evn_status s = icds && keep ? EVN_OK : evn_fail_memory(err, "driver list", n * sizeof *icds);
	for (size_t i = 0; s == EVN_OK && i < n; i++) {
		icds[i] = drivers[i].icd;
		good += keep[i] = !drivers[i].problem[0];
		if (!keep[i])
			evn_log(EVN_LOG_WARN, "OpenCL driver %s is left out: it %s", icds[i].path, drivers[i].problem);
	}
	if (s == EVN_OK && good < n) {
		char *folder = evn_icds_folder(icds, keep, n);
		if (!folder || setenv("OCL_ICD_VENDORS", folder, 1) != 0)
			s = evn_fail(err, EVN_ERR_FILE,
						 "the %zu OpenCL drivers that failed could not be left out: no cache folder", n - good);
		free(folder);
	}
	free(icds);
	free(keep);
	return s;
}

evn_status evn_drivers_probe(evn_probed_driver **out, size_t *n, const char *probe, uint64_t limit_ns, evn_error *err)
{
	evn_icd *icds;
	*out = NULL;
	*n = 0;
	EVN_TRY(evn_icds_list(&icds, n, err));
	evn_probed_driver *drivers = calloc(*n ? *n : 1, sizeof *drivers);
	if (!drivers) {
		evn_icds_free(icds, *n);
		return evn_fail_memory(err, "drivers", *n * sizeof *drivers);
	}
	for (size_t i = 0; i < *n; i++)
		drivers[i].icd = icds[i];
	free(icds); /* the drivers own its strings now */
	evn_status s = probe_unknown(drivers, *n, probe, limit_ns, err);
	if (s == EVN_OK)
		s = leave_out_failed(drivers, *n, err);
	if (s == EVN_OK)
		*out = drivers;
	else
		evn_probed_drivers_free(drivers, *n);
	return s;
}

void evn_probed_drivers_free(evn_probed_driver *drivers, size_t n)
{
	for (size_t i = 0; drivers && i < n; i++) {
		free(drivers[i].icd.path);
		free(drivers[i].icd.library);
	}
	free(drivers);
}
