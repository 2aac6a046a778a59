/* found.h - a device as discovery leaves it; for src/find, src/ocl, the probe program and their tests.
 *
 * Discovery has two steps: probe.c tries each driver in a child process and yields reports; discover.c lists, in this
 * process, the devices of the drivers that are sound. */
#ifndef EVN_FOUND_H
#define EVN_FOUND_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include "find/find.h"

/* Optional abilities, as bits; evn_feature_names has the names users and kernels' defines see. */
enum {
	EVN_FEATURE_FP16 = 1 << 0,
	EVN_FEATURE_FP64 = 1 << 1,
	EVN_FEATURE_SUBGROUPS = 1 << 2,
	EVN_FEATURE_INT_DOT = 1 << 3,
	EVN_FEATURE_SVM_FINE = 1 << 4,
	EVN_FEATURE_COMMAND_BUFFER = 1 << 5,
	EVN_FEATURE_VNNI256 = 1 << 6, /* x86's vpdpbusd as inline assembly: AVX-VNNI */
	EVN_FEATURE_VNNI512 = 1 << 7, /* AVX512-VNNI */
	EVN_FEATURE_AVX2 = 1 << 8,    /* vpmaddubsw */
};
#define EVN_FEATURE_COUNT 9
/* No driver claims that its compiler passes assembly on. */
#define EVN_FEATURES_UNCLAIMED (EVN_FEATURE_AVX2 | EVN_FEATURE_VNNI256 | EVN_FEATURE_VNNI512)
extern const char *const evn_feature_names[EVN_FEATURE_COUNT];

/* Strings live in the struct: an evn_found must not move once its info is handed out. */
typedef struct {
	evn_device_info info;
	cl_platform_id cl_platform;
	cl_device_id cl_device;
	int platform_index, chip;
	uint32_t vendor_id;
	uint32_t max_parts;     /* most sub-devices by counts; 0 = the driver cannot divide this device */
	char pci[24], uuid[40]; /* empty where the driver does not tell */
	char id[24], stable_id[192], platform[32], platform_name[128], name[160], vendor[96], driver[96], opencl[96];
	char reason[256];
	const char *features[EVN_FEATURE_COUNT];
} evn_found;

struct evn_system {
	size_t n, n_problems;
	evn_found *devices;
	evn_driver_problem *problems; /* strings owned */
};

cl_platform_id evn_system_cl_platform(const evn_system *s, size_t i);
bool evn_system_slow_binaries(const evn_system *s, size_t i);
bool evn_system_loses_count(const evn_system *s, size_t i);
cl_device_id evn_system_cl_device(const evn_system *s, size_t i);

const char *evn_cl_error_name(cl_int code);

/* The devices of this process's drivers, without probing these in a child first: for that child itself. */
evn_status evn_system_enumerate(evn_system **out, evn_error *err);

/* ---- identity.c: what the driver says a platform or device is ---------------------------------------------- */

/* Texts are cut to fit, control characters become spaces. */
void evn_identify_platform(cl_platform_id platform, char *short_name, size_t short_size, char *name,
						   size_t name_size);
void evn_identify_device(evn_found *f);
/* Stable ids need to see all devices: equal ones are numbered. */
void evn_name_stably(evn_found *devices, size_t n);
bool evn_cl_has_extension(cl_device_id d, const char *name);

/* chips.c: sets chip and same_chip_as of every device. */
void evn_find_chips(evn_found *devices, size_t n);

/* What goes wrong with sub-devices of f, or NULL. */
const char *evn_quirk_sub_devices(const evn_found *f);
/* Sub-devices of f share all its cores: parts of it gain nothing. */
bool evn_quirk_no_own_cores(const evn_found *f);
/* A program's binary costs as much as building it, and the driver keeps what it builds by itself. */
bool evn_quirk_slow_binaries(const evn_found *f);
/* The driver loses count of a kernel's users when it is launched wider than before (pocl_usecount.c). */
bool evn_quirk_loses_count(const evn_found *f);

/* ---- probe reports (probe_report.c) ---------------------------------------------------------------------------- */

typedef struct {
	char platform_name[128], name[160], driver[96];
	unsigned claimed, features; /* what the driver says, and what passed its smoke kernel */
	char reason[256];           /* why even the first kernel failed; empty when it ran */
} evn_probe_device;

#define EVN_PROBE_DEVICES 32
#define EVN_PROBE_PLATFORMS 8

typedef struct {
	char library[512]; /* as loaded; its size and time then, to know it again */
	uint64_t library_bytes, library_time_ns;
	char problem[256]; /* the library does not load or offers no platform */
	char step[320];    /* the last one begun */
	bool complete;     /* the child came to its end */
	size_t n_platforms, n_devices;
	char platforms[EVN_PROBE_PLATFORMS][128];
	evn_probe_device devices[EVN_PROBE_DEVICES];
} evn_probe_report;

/* The report is lines of tab-separated fields, written as the work goes on: a crash leaves what came before. */
void evn_probe_report_parse(evn_probe_report *out, const char *text);
/* Writes the report of every device of the one driver that OCL_ICD_VENDORS names. */
evn_status evn_probe_report_write(int fd, const char *library, evn_error *err);

/* smoke.c: builds and runs small kernels on f; calls step before each of its steps. */
typedef void (*evn_smoke_step_fn)(void *user, const char *step);
void evn_smoke_test(const evn_found *f, evn_smoke_step_fn step, void *user, evn_probe_device *out);

/* ---- drivers as files (icd.c) ---------------------------------------------------------------------------------- */

typedef struct {
	char *path;    /* the .icd file, or the library where no file names it */
	char *library; /* what it asks the loader to open */
	uint64_t key;  /* of the file's state and of the environment that drivers heed */
} evn_icd;

/* The drivers the loader will open, by its own rules for OCL_ICD_VENDORS. */
evn_status evn_icds_list(evn_icd **out, size_t *n, evn_error *err);
void evn_icds_free(evn_icd *icds, size_t n);
/* A folder of .icd files for those with keep[i], for OCL_ICD_VENDORS; malloc'd, NULL where none can be had. */
char *evn_icds_folder(const evn_icd *icds, const bool *keep, size_t n);

/* ---- probing drivers (probe.c) --------------------------------------------------------------------------------- */

typedef struct {
	evn_icd icd;
	bool probed;             /* report is filled */
	char problem[640];       /* empty: sound */
	evn_probe_report report; /* of a sound driver */
} evn_probed_driver;

/* Probes every driver in a child of its own, the program `probe`, or reads the report of an earlier probe. Sets
 * OCL_ICD_VENDORS of this process so that drivers that failed are left out. */
evn_status evn_drivers_probe(evn_probed_driver **out, size_t *n, const char *probe, uint64_t limit_ns,
							 evn_error *err);
void evn_probed_drivers_free(evn_probed_driver *drivers, size_t n);
/* Of what a child of this probe program finds out about a driver. */
uint64_t evn_probe_key(const evn_icd *icd, const char *probe);
/* The drivers this process has probed; none where it already uses them itself. */
const evn_probed_driver *evn_probed_drivers(size_t *n);
/* In a child: the CPU devices among those that the items name, for evn_share_cores of its parent. */
evn_status evn_selection_write(int fd, const char *const *items, size_t n, evn_error *err);

#endif
