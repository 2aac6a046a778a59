/* found.h - a device as discovery leaves it; for src/ocl, the probe program and their tests.
 *
 * Discovery has two halves: contact.c meets each driver in a child process and yields reports, discover.c enumerates
 * in this process what the reports call sound. */
#ifndef EVN_OCL_FOUND_H
#define EVN_OCL_FOUND_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include "ocl/ocl.h"

/* Optional abilities, as bits; evn_feature_names has the names users and kernels' defines see. */
enum {
	EVN_FEATURE_FP16 = 1 << 0,
	EVN_FEATURE_FP64 = 1 << 1,
	EVN_FEATURE_SUBGROUPS = 1 << 2,
	EVN_FEATURE_INT_DOT = 1 << 3,
	EVN_FEATURE_SVM_FINE = 1 << 4,
	EVN_FEATURE_COMMAND_BUFFER = 1 << 5,
};
#define EVN_FEATURE_COUNT 6
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
cl_device_id evn_system_cl_device(const evn_system *s, size_t i);

/* Sets chip and same_chip_as of every device (chips.c). */
void evn_find_chips(evn_found *devices, size_t n);

/* identity.c: what the driver says a device is. Texts are cut to fit, control characters become spaces. */
void evn_identify_platform(cl_platform_id platform, char *short_name, size_t short_size, char *name,
						   size_t name_size);
void evn_identify_device(evn_found *f);
/* Stable ids need to see all devices: equal ones are numbered. */
void evn_name_stably(evn_found *devices, size_t n);
void evn_cl_device_text(cl_device_id d, cl_device_info what, char *out, size_t size);

#endif
