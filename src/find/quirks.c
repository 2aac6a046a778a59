/* quirks.c - the table of known faults that a driver does not report itself. A quirk is one line. To add one,
 * describe the symptom that you saw and the driver's version. */
#include "find/found.h"

#include <stdlib.h>
#include <string.h>

enum {
	SUB_DEVICES = 1,   /* the symptom affects sub-devices */
	NO_OWN_CORES = 2,  /* sub-devices do not run on their own cores */
	SLOW_BINARIES = 4, /* loading a binary costs as much as building it, and the driver caches builds itself */
	LOSES_COUNT = 8,   /* the count of a kernel's users, when the kernel is launched wider than before */
};

typedef struct {
	const char *platform; /* short name */
	unsigned before;      /* the first major version without the fault; 0 if none is known */
	const char *type;     /* "cpu", "gpu"; "" for any */
	unsigned kinds;       /* flags from the enum above */
	const char *symptom;
} quirk;

static const quirk quirks[] = {
	{"intel", 0, "cpu", SUB_DEVICES | NO_OWN_CORES,
	 "a sub-device still runs on every core; DPCPP_CPU_NUM_CUS limits the whole driver instead"},
	{"pocl", 4, "cpu", SLOW_BINARIES,
	 "asked for a binary it compiles every kernel a second time, for any work-group size"},
	{"pocl", 6, "cpu", LOSES_COUNT,
	 "a kernel launched wider than before while two other queues run it aborts the process (3.1 and 5.0: common.c, "
	 "pocl_release_dlhandle_cache)"},
	{"pocl", 0, "cpu", SUB_DEVICES,
	 "workers outside a sub-device wake for its commands too; beside another driver POCL_MAX_PTHREAD_COUNT limits "
	 "them"},
};

static bool applies(const quirk *q, const evn_found *f)
{
	return !strcmp(q->platform, f->platform) && (!q->before || strtoul(f->driver, NULL, 10) < q->before) &&
		   (!q->type[0] || !strcmp(q->type, f->info.type));
}

/* The first quirk of this kind that f has, or NULL. */
static const quirk *find_quirk(const evn_found *f, unsigned kind)
{
	for (size_t i = 0; i < sizeof quirks / sizeof *quirks; i++)
		if ((quirks[i].kinds & kind) && applies(&quirks[i], f))
			return &quirks[i];
	return NULL;
}

const char *evn_quirk_sub_devices(const evn_found *f)
{
	const quirk *q = find_quirk(f, SUB_DEVICES);
	return q ? q->symptom : NULL;
}

bool evn_quirk_no_own_cores(const evn_found *f) { return find_quirk(f, NO_OWN_CORES); }
bool evn_quirk_slow_binaries(const evn_found *f) { return find_quirk(f, SLOW_BINARIES); }
bool evn_quirk_loses_count(const evn_found *f) { return find_quirk(f, LOSES_COUNT); }
