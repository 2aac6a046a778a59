/* found.h - the devices that discovery has found. For src/find, src/ocl, the probe program and their tests.
 *
 * Discovery has two steps. probe.c tries each driver in a child process and reads its report. discover.c then lists
 * the devices of the drivers that passed, in this process. */
#ifndef EVN_FOUND_H
#define EVN_FOUND_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include "find/find.h"

/* Optional features, as bits. evn_feature_names has the names that users and the kernels' defines use. */
enum {
	EVN_FEATURE_FP16 = 1 << 0,
	EVN_FEATURE_FP64 = 1 << 1,
	EVN_FEATURE_SUBGROUPS = 1 << 2,
	EVN_FEATURE_INT_DOT = 1 << 3,
	EVN_FEATURE_SVM_FINE = 1 << 4,
	EVN_FEATURE_VNNI256 = 1 << 5,      /* vpdpbusd of AVX-VNNI, as inline assembly */
	EVN_FEATURE_VNNI512 = 1 << 6,      /* vpdpbusd of AVX512-VNNI */
	EVN_FEATURE_AVX2 = 1 << 7,         /* vpmaddubsw of AVX2 */
	EVN_FEATURE_DP4A = 1 << 8,         /* dp4a as inline PTX */
	EVN_FEATURE_SDOT4 = 1 << 9,        /* AMD's v_dot4_i32_i8, as a builtin */
	EVN_FEATURE_SUDOT4 = 1 << 10,      /* AMD's v_dot4_i32_iu8, as a builtin */
	EVN_FEATURE_SVM_ATOMICS = 1 << 11, /* with svm_fine: the host and running kernels see each other's atomics */
};
#define EVN_FEATURE_COUNT 12
/* Features that no driver claims: they need a compiler that passes inline assembly on, or knows a chip's
 * builtins. */
#define EVN_FEATURES_UNCLAIMED                                                                                       \
	(EVN_FEATURE_AVX2 | EVN_FEATURE_VNNI256 | EVN_FEATURE_VNNI512 | EVN_FEATURE_DP4A | EVN_FEATURE_SDOT4 |           \
	 EVN_FEATURE_SUDOT4)
extern const char *const evn_feature_names[EVN_FEATURE_COUNT];

/* The info points at strings of this struct. An evn_found must therefore not move once its info is handed out. */
typedef struct {
	evn_device_info info;
	cl_platform_id cl_platform;
	cl_device_id cl_device;
	int platform_index, chip;
	uint32_t vendor_id;
	uint32_t max_parts;     /* the most sub-devices by counts; 0 if the driver cannot divide the device */
	char pci[24], uuid[40]; /* empty if the driver does not report it */
	char id[24], stable_id[192], platform[32], platform_name[128], name[160], vendor[96], driver[96], opencl[96];
	char reason[256];
	const char *features[EVN_FEATURE_COUNT];
} evn_found;

struct evn_system {
	size_t n, n_problems;
	evn_found *devices;
	evn_driver_problem *problems; /* owns its strings */
};

cl_platform_id evn_system_cl_platform(const evn_system *s, size_t i);
bool evn_system_slow_binaries(const evn_system *s, size_t i);
bool evn_system_loses_count(const evn_system *s, size_t i);
cl_device_id evn_system_cl_device(const evn_system *s, size_t i);

const char *evn_cl_error_name(cl_int code);

/* Lists the devices of this process's drivers without probing. The probe itself uses it, in the child process. */
evn_status evn_system_enumerate(evn_system **out, evn_error *err);

/* ---- identity.c: what the driver says a platform or device is -------------------------------------------------- */

/* Texts are truncated to fit. Control characters become spaces. */
void evn_identify_platform(cl_platform_id platform, char *short_name, size_t short_size, char *name,
						   size_t name_size);
void evn_identify_device(evn_found *f);
/* Sets the stable ids. It needs all devices at once, because equal devices are numbered. */
void evn_name_stably(evn_found *devices, size_t n);
bool evn_cl_has_extension(cl_device_id d, const char *name);
/* The build option for the newest language of a device with this version ("OpenCL 2.1 ..."); "" for OpenCL C 1.2.
 * Features are tried with it, and kernels that need them are built with it. */
const char *evn_cl_language(const char *opencl);

/* Sets chip and same_chip_as of every device (chips.c). */
void evn_find_chips(evn_found *devices, size_t n);

/* The known fault of sub-devices of f, or NULL. */
const char *evn_quirk_sub_devices(const evn_found *f);
/* True if sub-devices of f run on all of its cores, so that dividing it gains nothing. */
bool evn_quirk_no_own_cores(const evn_found *f);
/* True if loading a program's binary costs as much as building it and the driver caches its builds itself. */
bool evn_quirk_slow_binaries(const evn_found *f);
/* True if the driver miscounts the users of a kernel that is launched wider than before (pocl_usecount.c). */
bool evn_quirk_loses_count(const evn_found *f);

/* ---- probe reports (probe_report.c) ---------------------------------------------------------------------------- */

typedef struct {
	char platform_name[128], name[160], driver[96];
	unsigned claimed, features; /* what the driver claims, and what passed its smoke kernel */
	char reason[256];           /* why the first kernel failed; empty if it passed */
} evn_probe_device;

#define EVN_PROBE_DEVICES 32
#define EVN_PROBE_PLATFORMS 8

typedef struct {
	char library[512]; /* the file that was loaded, its size and its time; they show whether it has changed */
	uint64_t library_bytes, library_time_ns;
	char problem[256]; /* why the library does not load, or that it has no platform */
	char step[320];    /* the last step that was begun */
	bool complete;     /* the child ran to its end */
	size_t n_platforms, n_devices;
	char platforms[EVN_PROBE_PLATFORMS][128];
	evn_probe_device devices[EVN_PROBE_DEVICES];
} evn_probe_report;

/* A report is lines of tab-separated fields. Each line is written when its step is done, so the lines before a crash
 * are kept. */
void evn_probe_report_parse(evn_probe_report *out, const char *text);
/* Writes the report on every device of the one driver that OCL_ICD_VENDORS names. */
evn_status evn_probe_report_write(int fd, const char *library, evn_error *err);

/* Builds and runs small kernels on f. Calls step before each step (smoke.c). */
typedef void (*evn_smoke_step_fn)(void *user, const char *step);
void evn_smoke_test(const evn_found *f, evn_smoke_step_fn step, void *user, evn_probe_device *out);

/* ---- drivers as files (icd.c) ---------------------------------------------------------------------------------- */

typedef struct {
	char *path;    /* the .icd file, or the library if no file names it */
	char *library; /* the name that the loader opens */
	uint64_t key;  /* hash of the file's state and of the environment variables that drivers read */
} evn_icd;

/* Lists the drivers that the loader will open, by the loader's rules for OCL_ICD_VENDORS. */
evn_status evn_icds_list(evn_icd **out, size_t *n, evn_error *err);
void evn_icds_free(evn_icd *icds, size_t n);
/* Makes a folder of .icd files for the drivers with keep[i], to be used as OCL_ICD_VENDORS. The path is malloc'd;
 * NULL if no cache folder is available. */
char *evn_icds_folder(const evn_icd *icds, const bool *keep, size_t n);

/* ---- probing drivers (probe.c) --------------------------------------------------------------------------------- */

typedef struct {
	evn_icd icd;
	bool probed;             /* the report is valid */
	char problem[640];       /* empty if the driver passed */
	evn_probe_report report; /* of a driver that passed */
} evn_probed_driver;

/* Probes every driver in a child process of its own (the program `probe`), or reads the report of an earlier probe.
 * Drivers that failed are removed from this process's OCL_ICD_VENDORS. */
evn_status evn_drivers_probe(evn_probed_driver **out, size_t *n, const char *probe, uint64_t limit_ns,
							 evn_error *err);
void evn_probed_drivers_free(evn_probed_driver *drivers, size_t n);
/* The key of a driver's report as this probe program writes it. */
uint64_t evn_probe_key(const evn_icd *icd, const char *probe);
/* The drivers that this process has probed. None if the process has already loaded the drivers itself. */
const evn_probed_driver *evn_probed_drivers(size_t *n);
/* Runs in a child process: writes the CPU devices that the items name, for evn_share_cores in the parent. */
evn_status evn_selection_write(int fd, const char *const *items, size_t n, evn_error *err);

#endif
