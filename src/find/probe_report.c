/* probe_report.c - the report on a driver: how the probing child writes it, and how the parent reads it. */
#include "find/found.h"

#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- writing, in the child ------------------------------------------------------------------------------------- */

EVN_PRINTF(2, 3) static void put(int fd, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vdprintf(fd, fmt, args);
	va_end(args);
}

static void put_step(void *user, const char *step) { put(*(const int *)user, "step\t%s\n", step); }

/* Writes which file the loader has opened, with its size and time, so that another version of the file is
 * recognised. */
static void put_library(int fd, const char *library)
{
	struct link_map *map = NULL;
	struct stat st;
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
	if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && stat(map->l_name, &st) == 0)
		put(fd, "library\t%s\t%llu\t%llu\n", map->l_name, (unsigned long long)st.st_size,
			(unsigned long long)st.st_mtim.tv_sec * 1000000000u + (unsigned long long)st.st_mtim.tv_nsec);
	if (handle)
		dlclose(handle);
}

static void put_nothing_found(int fd, const char *library)
{
	put(fd, "step\tloading %s\n", library);
	void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	if (handle)
		put(fd, "problem\toffers no OpenCL platform\n");
	else
		put(fd, "problem\tdoes not load: %s\n", dlerror());
	if (handle)
		dlclose(handle);
}

static void put_device(int fd, const evn_probe_device *d)
{
	put(fd, "device\t%s\t%s\t%s\t%x\t%x\t%s\n", d->platform_name, d->name, d->driver, d->claimed, d->features,
		d->reason);
}

evn_status evn_probe_report_write(int fd, const char *library, evn_error *err)
{
	evn_system *s = NULL;
	put(fd, "step\tlisting platforms and devices\n");
	EVN_TRY(evn_system_enumerate(&s, err));
	put_library(fd, library);
	for (size_t i = 0; i < s->n_problems; i++)
		put(fd, "platform\t%s\n", s->problems[i].driver);
	for (size_t i = 0; i < s->n; i++) {
		evn_probe_device d = {0};
		if (s->devices[i].info.usable)
			evn_smoke_test(&s->devices[i], put_step, &fd, &d);
		if (s->devices[i].info.usable)
			put_device(fd, &d);
	}
	if (!s->n && !s->n_problems)
		put_nothing_found(fd, library);
	evn_system_close(s);
	put(fd, "done\n");
	return EVN_OK;
}

/* ---- reading, in the parent ------------------------------------------------------------------------------------ */

#define MAX_FIELDS 7

/* Splits a line at its tabs, in place. Missing fields are empty. */
static void split_fields(char *line, char *fields[MAX_FIELDS])
{
	static char nothing[] = "";
	for (size_t i = 0; i < MAX_FIELDS; i++) {
		fields[i] = line ? line : nothing;
		line = line ? strchr(line, '\t') : NULL;
		if (line)
			*line++ = '\0';
	}
}

static void read_device(evn_probe_report *r, char *const *f)
{
	if (r->n_devices == EVN_PROBE_DEVICES)
		return;
	evn_probe_device *d = &r->devices[r->n_devices++];
	snprintf(d->platform_name, sizeof d->platform_name, "%s", f[1]);
	snprintf(d->name, sizeof d->name, "%s", f[2]);
	snprintf(d->driver, sizeof d->driver, "%s", f[3]);
	d->claimed = (unsigned)strtoul(f[4], NULL, 16);
	d->features = (unsigned)strtoul(f[5], NULL, 16);
	snprintf(d->reason, sizeof d->reason, "%s", f[6]);
}

static void read_line(evn_probe_report *r, char *line)
{
	char *f[MAX_FIELDS];
	split_fields(line, f);
	if (!strcmp(f[0], "step"))
		snprintf(r->step, sizeof r->step, "%s", f[1]);
	else if (!strcmp(f[0], "problem"))
		snprintf(r->problem, sizeof r->problem, "%s", f[1]);
	else if (!strcmp(f[0], "device"))
		read_device(r, f);
	else if (!strcmp(f[0], "platform") && r->n_platforms < EVN_PROBE_PLATFORMS)
		snprintf(r->platforms[r->n_platforms++], sizeof *r->platforms, "%s", f[1]);
	else if (!strcmp(f[0], "library")) {
		snprintf(r->library, sizeof r->library, "%s", f[1]);
		r->library_bytes = strtoull(f[2], NULL, 10);
		r->library_time_ns = strtoull(f[3], NULL, 10);
	} else if (!strcmp(f[0], "done"))
		r->complete = true;
}

void evn_probe_report_parse(evn_probe_report *out, const char *text)
{
	char line[1024];
	*out = (evn_probe_report){0};
	while (*text) {
		size_t len = strcspn(text, "\n");
		if (!text[len])
			return; /* the last line is incomplete */
		snprintf(line, sizeof line, "%.*s", (int)(len < sizeof line ? len : sizeof line - 1), text);
		read_line(out, line);
		text += len + 1;
	}
}
