/* discover.c - lists every device of every platform. A platform without devices and a driver that failed its probe
 * become problem entries. */
#include "base/child.h"
#include "find/found.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS 64
#define MAX_DEVICES 256
#define PROBE_LIMIT_NS 20000000000u /* a slow compiler needs several seconds when the machine is busy */
#define PLATFORM_NOT_FOUND (-1001)  /* the loader's answer if there is no driver at all */

const char *const evn_feature_names[EVN_FEATURE_COUNT] = {"fp16",     "fp64",    "subgroups", "int_dot",
														  "svm_fine", "vnni256", "vnni512",   "avx2",
														  "dp4a",     "sdot4",   "sudot4",    "svm_atomics"};

static evn_status add_problem(evn_system *s, const char *driver, const char *reason, evn_error *err)
{
	evn_driver_problem *grown = realloc(s->problems, (s->n_problems + 1) * sizeof *grown);
	if (!grown)
		return evn_fail_memory(err, "driver problems", (s->n_problems + 1) * sizeof *grown);
	s->problems = grown;
	evn_driver_problem p = {evn_strdup(driver), evn_strdup(reason)};
	if (!p.driver || !p.reason) {
		free((void *)(uintptr_t)p.driver);
		free((void *)(uintptr_t)p.reason);
		return evn_fail_memory(err, "driver problem", strlen(driver) + strlen(reason));
	}
	s->problems[s->n_problems++] = p;
	return EVN_OK;
}

static evn_status no_devices(evn_system *s, const char *short_name, const char *name, cl_int code, evn_error *err)
{
	char reason[160];
	if (code != CL_SUCCESS && code != CL_DEVICE_NOT_FOUND)
		snprintf(reason, sizeof reason, "clGetDeviceIDs failed with %s (%d)", evn_cl_error_name(code), code);
	else if (!strcmp(short_name, "rusticl"))
		snprintf(reason, sizeof reason,
				 "no devices; it shows them when RUSTICL_ENABLE names a Mesa driver, such as llvmpipe");
	else
		snprintf(reason, sizeof reason, "no devices");
	return add_problem(s, name, reason, err);
}

static void point_info_at_strings(evn_found *f)
{
	evn_device_info *i = &f->info;
	i->id = f->id;
	i->stable_id = f->stable_id;
	i->platform = f->platform;
	i->platform_name = f->platform_name;
	i->name = f->name;
	i->vendor = f->vendor;
	i->driver = f->driver;
	i->opencl = f->opencl;
	i->reason = i->usable ? NULL : f->reason;
	i->features = f->features;
}

static evn_status add_platform(evn_system *s, cl_platform_id platform, int index, evn_error *err)
{
	char short_name[32], name[128];
	cl_device_id ids[MAX_DEVICES];
	cl_uint n = 0;
	evn_identify_platform(platform, short_name, sizeof short_name, name, sizeof name);
	cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n);
	if (code != CL_SUCCESS || n == 0)
		return no_devices(s, short_name, name, code, err);
	if (n > MAX_DEVICES - s->n) {
		evn_log(EVN_LOG_WARN, "%s: %u devices, only the first %zu are used", name, n, MAX_DEVICES - s->n);
		n = (cl_uint)(MAX_DEVICES - s->n);
	}
	for (cl_uint d = 0; d < n; d++) {
		evn_found *f = &s->devices[s->n++];
		f->cl_platform = platform;
		f->cl_device = ids[d];
		f->platform_index = index;
		snprintf(f->id, sizeof f->id, "%d:%u", index, d);
		memcpy(f->platform, short_name, sizeof short_name);
		memcpy(f->platform_name, name, sizeof name);
		evn_identify_device(f);
	}
	return EVN_OK;
}

static evn_status enumerate(evn_system *s, evn_error *err)
{
	cl_platform_id platforms[MAX_PLATFORMS];
	cl_uint n = 0;
	cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
	if (code == PLATFORM_NOT_FOUND)
		return EVN_OK;
	if (code != CL_SUCCESS)
		return evn_fail(err, EVN_ERR_DEVICE, "clGetPlatformIDs failed with %s (%d)", evn_cl_error_name(code), code);
	if (!(s->devices = calloc(MAX_DEVICES, sizeof *s->devices)))
		return evn_fail_memory(err, "devices", MAX_DEVICES * sizeof *s->devices);
	for (cl_uint p = 0; p < n && p < MAX_PLATFORMS; p++)
		EVN_TRY(add_platform(s, platforms[p], (int)p, err));
	evn_name_stably(s->devices, s->n);
	evn_find_chips(s->devices, s->n);
	for (size_t i = 0; i < s->n; i++)
		point_info_at_strings(&s->devices[i]);
	return EVN_OK;
}

evn_status evn_system_enumerate(evn_system **out, evn_error *err)
{
	evn_system *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "system", sizeof *s);
	evn_status status = enumerate(s, err);
	if (status == EVN_OK)
		*out = s;
	else
		evn_system_close(s);
	return status;
}

/* ---- with the probe reports ------------------------------------------------------------------------------------ */

/* Drivers are probed once in a process, because the loader reads OCL_ICD_VENDORS only at its first call. */
static struct {
	pthread_once_t once;
	evn_status status;
	evn_error err;
	evn_probed_driver *drivers;
	size_t n;
	atomic_bool touched; /* a driver has read its environment variables */
} first = {.once = PTHREAD_ONCE_INIT};

static void probe_all(void)
{
	char *probe = evn_find_probe();
	if (probe)
		first.status = evn_drivers_probe(&first.drivers, &first.n, probe, PROBE_LIMIT_NS, &first.err);
	else
		evn_log(EVN_LOG_WARN, "the program evener-probe was not found: OpenCL drivers are used unchecked");
	free(probe);
}

const evn_probed_driver *evn_probed_drivers(size_t *n)
{
	*n = 0;
	if (atomic_load(&first.touched))
		return NULL;
	pthread_once(&first.once, probe_all);
	*n = first.n;
	return first.drivers;
}

/* The report of device number nth with these names. Devices with equal names are told apart by their order. */
static const evn_probe_device *find_report(const evn_found *f, size_t nth)
{
	for (size_t c = 0; c < first.n; c++)
		for (size_t d = 0; first.drivers[c].probed && d < first.drivers[c].report.n_devices; d++) {
			const evn_probe_device *r = &first.drivers[c].report.devices[d];
			if (!strcmp(r->platform_name, f->platform_name) && !strcmp(r->name, f->name) &&
				!strcmp(r->driver, f->driver) && nth-- == 0)
				return r;
		}
	return NULL;
}

static bool same_names(const evn_found *a, const evn_found *b)
{
	return !strcmp(a->platform_name, b->platform_name) && !strcmp(a->name, b->name) && !strcmp(a->driver, b->driver);
}

static void log_step(void *user, const char *step)
{
	(void)user;
	evn_log(EVN_LOG_DEBUG, "%s", step);
}

/* Runs the smoke kernels in this process if there is no report: the probe program is missing, or the driver shows
 * more devices than it did to the probe. */
static void apply_report(evn_system *s, size_t i)
{
	evn_found *f = &s->devices[i];
	evn_probe_device here = {0};
	size_t nth = 0;
	for (size_t j = 0; j < i; j++)
		nth += same_names(&s->devices[j], f);
	const evn_probe_device *r = find_report(f, nth);
	if (!r && f->info.usable) {
		evn_smoke_test(f, log_step, NULL, &here);
		r = &here;
	}
	if (r && r->reason[0] && f->info.usable) {
		f->info.usable = false;
		snprintf(f->reason, sizeof f->reason, "%s", r->reason);
	}
	unsigned features = r ? r->features : 0;
	for (size_t b = 0; b < EVN_FEATURE_COUNT; b++)
		if (features & (1u << b))
			f->features[f->info.n_features++] = evn_feature_names[b];
	f->info.reason = f->info.usable ? NULL : f->reason;
}

/* The loader knows a platform by its name only. The path of its .icd file tells the user more. */
static const char *file_of_platform(const char *name)
{
	for (size_t c = 0; c < first.n; c++)
		for (size_t p = 0; p < first.drivers[c].report.n_platforms; p++)
			if (!strcmp(first.drivers[c].report.platforms[p], name))
				return first.drivers[c].icd.path;
	return NULL;
}

static evn_status name_problems(evn_system *s, evn_error *err)
{
	for (size_t i = 0; i < s->n_problems; i++) {
		evn_driver_problem *p = &s->problems[i];
		const char *file = file_of_platform(p->driver);
		char *driver = file ? evn_format("%s (%s)", file, p->driver) : NULL;
		if (file && !driver)
			return evn_fail_memory(err, "driver problem", strlen(file));
		if (driver) {
			free((void *)(uintptr_t)p->driver);
			p->driver = driver;
		}
	}
	for (size_t c = 0; c < first.n; c++)
		if (first.drivers[c].problem[0])
			EVN_TRY(add_problem(s, first.drivers[c].icd.path, first.drivers[c].problem, err));
	return EVN_OK;
}

evn_status evn_system_open(evn_system **out, evn_error *err)
{
	evn_system *s = NULL;
	pthread_once(&first.once, probe_all);
	if (first.status != EVN_OK)
		return evn_fail(err, first.status, "%s", first.err.text);
	atomic_store(&first.touched, true);
	EVN_TRY(evn_system_enumerate(&s, err));
	for (size_t i = 0; i < s->n; i++)
		apply_report(s, i);
	evn_status status = name_problems(s, err);
	if (status == EVN_OK)
		*out = s;
	else
		evn_system_close(s);
	return status;
}

void evn_system_close(evn_system *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_problems; i++) {
		free((void *)(uintptr_t)s->problems[i].driver);
		free((void *)(uintptr_t)s->problems[i].reason);
	}
	free(s->problems);
	free(s->devices);
	free(s);
}

size_t evn_system_count(const evn_system *s) { return s->n; }
const evn_device_info *evn_system_info(const evn_system *s, size_t i) { return &s->devices[i].info; }
size_t evn_system_problem_count(const evn_system *s) { return s->n_problems; }
evn_driver_problem evn_system_problem(const evn_system *s, size_t i) { return s->problems[i]; }
int evn_system_chip(const evn_system *s, size_t i) { return s->devices[i].chip; }
bool evn_system_slow_binaries(const evn_system *s, size_t i) { return evn_quirk_slow_binaries(&s->devices[i]); }
bool evn_system_loses_count(const evn_system *s, size_t i) { return evn_quirk_loses_count(&s->devices[i]); }
int evn_system_platform(const evn_system *s, size_t i) { return s->devices[i].platform_index; }
cl_platform_id evn_system_cl_platform(const evn_system *s, size_t i) { return s->devices[i].cl_platform; }
cl_device_id evn_system_cl_device(const evn_system *s, size_t i) { return s->devices[i].cl_device; }
