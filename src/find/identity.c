/* identity.c - reads what a driver says about a platform or device: names, limits, PCI address, UUID. It also checks
 * the baseline (OpenCL 1.2 with a compiler). */
#include "find/found.h"

#include <CL/cl_ext.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Vendor queries that are older than the cross-vendor extension. Not every cl_ext.h defines them. */
#define DEVICE_PCI_BUS_ID_NV 0x4008
#define DEVICE_PCI_SLOT_ID_NV 0x4009
#define DEVICE_PCI_DOMAIN_ID_NV 0x400A
#define DEVICE_TOPOLOGY_AMD 0x4037
#define DEVICE_GLOBAL_FREE_MEMORY_AMD 0x4039

#define MIN_GROUP 16 /* the work-items that the smallest kernels need in a work-group */

/* Removes control characters, because drivers' texts go to terminals and to tab-separated reports. */
static void copy_clean(char *out, size_t size, const char *text)
{
	size_t n = 0;
	for (; *text && n + 1 < size; text++) {
		char c = iscntrl((unsigned char)*text) ? ' ' : *text;
		if (c != ' ' || (n && out[n - 1] != ' '))
			out[n++] = c;
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* The answer is malloc'd; NULL if the driver does not answer. */
static char *ask_device(cl_device_id d, cl_device_info what)
{
	size_t bytes = 0;
	if (clGetDeviceInfo(d, what, 0, NULL, &bytes) != CL_SUCCESS)
		return NULL;
	char *text = calloc(1, bytes + 1);
	if (text && clGetDeviceInfo(d, what, bytes, text, NULL) == CL_SUCCESS)
		return text;
	free(text);
	return NULL;
}

static void device_text(cl_device_id d, cl_device_info what, char *out, size_t size)
{
	char *text = ask_device(d, what);
	copy_clean(out, size, text ? text : "");
	free(text);
}

bool evn_cl_has_extension(cl_device_id d, const char *name)
{
	char *all = ask_device(d, CL_DEVICE_EXTENSIONS), *rest = all, *word;
	bool found = false;
	while (!found && rest && (word = strsep(&rest, " ")))
		found = !strcmp(word, name);
	free(all);
	return found;
}

static void platform_text(cl_platform_id p, cl_platform_info what, char *out, size_t size)
{
	size_t bytes = 0;
	out[0] = '\0';
	if (clGetPlatformInfo(p, what, 0, NULL, &bytes) != CL_SUCCESS || !bytes)
		return;
	char *text = calloc(1, bytes + 1);
	if (text && clGetPlatformInfo(p, what, bytes, text, NULL) == CL_SUCCESS)
		copy_clean(out, size, text);
	free(text);
}

/* The platform's name is tried before its suffix: Mesa's two drivers share a suffix, and Oclgrind spells its suffix
 * in its own way. */
void evn_identify_platform(cl_platform_id platform, char *short_name, size_t short_size, char *name, size_t name_size)
{
	static const struct {
		const char *part, *short_name;
	} known[] = {{"Portable Computing Language", "pocl"},
				 {"rusticl", "rusticl"},
				 {"Clover", "clover"},
				 {"Oclgrind", "oclgrind"},
				 {"NVIDIA", "nvidia"},
				 {"AMD", "amd"},
				 {"Intel", "intel"}};
	platform_text(platform, CL_PLATFORM_NAME, name, name_size);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcasestr(name, known[i].part)) {
			snprintf(short_name, short_size, "%s", known[i].short_name);
			return;
		}
	platform_text(platform, CL_PLATFORM_ICD_SUFFIX_KHR, short_name, short_size);
	if (!short_name[0])
		copy_clean(short_name, short_size, name);
	for (char *c = short_name; *c; c++)
		*c = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
}

static void write_pci(evn_found *f, unsigned domain, unsigned bus, unsigned device, unsigned function)
{
	snprintf(f->pci, sizeof f->pci, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, device & 0xff, function & 7);
}

static void find_pci(evn_found *f)
{
	cl_device_id d = f->cl_device;
	cl_device_pci_bus_info_khr khr;
	cl_uint bus, slot, domain = 0;
	struct {
		cl_uint type;
		cl_uchar unused[17], bus, device, function;
	} amd;
	if (evn_cl_has_extension(d, "cl_khr_pci_bus_info") &&
		clGetDeviceInfo(d, CL_DEVICE_PCI_BUS_INFO_KHR, sizeof khr, &khr, NULL) == CL_SUCCESS)
		write_pci(f, khr.pci_domain, khr.pci_bus, khr.pci_device, khr.pci_function);
	else if (evn_cl_has_extension(d, "cl_nv_device_attribute_query") &&
			 clGetDeviceInfo(d, DEVICE_PCI_BUS_ID_NV, sizeof bus, &bus, NULL) == CL_SUCCESS &&
			 clGetDeviceInfo(d, DEVICE_PCI_SLOT_ID_NV, sizeof slot, &slot, NULL) == CL_SUCCESS) {
		clGetDeviceInfo(d, DEVICE_PCI_DOMAIN_ID_NV, sizeof domain, &domain,
						NULL); /* older drivers have only domain 0 */
		write_pci(f, domain, bus, slot >> 3, slot);
	} else if (evn_cl_has_extension(d, "cl_amd_device_attribute_query") &&
			   clGetDeviceInfo(d, DEVICE_TOPOLOGY_AMD, sizeof amd, &amd, NULL) == CL_SUCCESS && amd.type == 1)
		write_pci(f, 0, amd.bus, amd.device, amd.function);
}

static void find_uuid(evn_found *f)
{
	cl_uchar u[CL_UUID_SIZE_KHR] = {0}, any = 0;
	if (!evn_cl_has_extension(f->cl_device, "cl_khr_device_uuid") ||
		clGetDeviceInfo(f->cl_device, CL_DEVICE_UUID_KHR, sizeof u, u, NULL) != CL_SUCCESS)
		return;
	size_t at = 0;
	for (size_t i = 0; i < sizeof u; i++) {
		any |= u[i];
		at += (size_t)snprintf(f->uuid + at, sizeof f->uuid - at,
							   i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
	}
	if (!any)
		f->uuid[0] = '\0';
}

/* Drivers that do not know the query refuse it. The answer is in KiB, and may be followed by the largest free piece.
 */
static void find_free_memory(evn_found *f)
{
	size_t kib[2] = {0};
	if (!strcmp(f->info.type, "gpu") &&
		clGetDeviceInfo(f->cl_device, DEVICE_GLOBAL_FREE_MEMORY_AMD, sizeof kib, kib, NULL) == CL_SUCCESS)
		f->info.free_bytes = (uint64_t)kib[0] * 1024;
}

static void find_limits(evn_found *f)
{
	cl_bool unified = CL_FALSE;
	cl_device_partition_property how[16] = {0};
	size_t bytes = 0;
	cl_uint parts = 0;
	clGetDeviceInfo(f->cl_device, CL_DEVICE_VENDOR_ID, sizeof f->vendor_id, &f->vendor_id, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof f->info.compute_units, &f->info.compute_units,
					NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof f->info.memory_bytes, &f->info.memory_bytes,
					NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof f->info.max_alloc_bytes,
					&f->info.max_alloc_bytes, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof f->info.local_bytes, &f->info.local_bytes, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
	f->info.unified_memory = unified || !strcmp(f->info.type, "cpu");
	find_free_memory(f);
	if (clGetDeviceInfo(f->cl_device, CL_DEVICE_PARTITION_PROPERTIES, sizeof how, how, &bytes) != CL_SUCCESS)
		return;
	clGetDeviceInfo(f->cl_device, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, sizeof parts, &parts, NULL);
	for (size_t i = 0; i < bytes / sizeof *how; i++)
		if (how[i] == CL_DEVICE_PARTITION_BY_COUNTS)
			f->max_parts = parts;
}

static void check_baseline(evn_found *f)
{
	cl_bool available = CL_FALSE, compiler = CL_FALSE, little = CL_FALSE;
	size_t group = 0;
	int major = 0, minor = 0;
	clGetDeviceInfo(f->cl_device, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_ENDIAN_LITTLE, sizeof little, &little, NULL);
	clGetDeviceInfo(f->cl_device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
	bool version_known = sscanf(f->opencl, "OpenCL %d.%d", &major, &minor) == 2;
	if (!available)
		snprintf(f->reason, sizeof f->reason, "the driver says that it is not available");
	else if (!version_known || major < 1 || (major == 1 && minor < 2))
		snprintf(f->reason, sizeof f->reason, "OpenCL 1.2 is needed, its version is \"%s\"", f->opencl);
	else if (!compiler)
		snprintf(f->reason, sizeof f->reason, "its driver has no compiler");
	else if (!little)
		snprintf(f->reason, sizeof f->reason, "it is big-endian; model files are little-endian");
	else if (group < MIN_GROUP)
		snprintf(f->reason, sizeof f->reason, "work-groups of %d items are needed, it allows %zu", MIN_GROUP, group);
	f->info.usable = !f->reason[0];
}

void evn_identify_device(evn_found *f)
{
	cl_device_type type = 0;
	clGetDeviceInfo(f->cl_device, CL_DEVICE_TYPE, sizeof type, &type, NULL);
	f->info.type = type & CL_DEVICE_TYPE_CPU ? "cpu" : type & CL_DEVICE_TYPE_GPU ? "gpu" : "accelerator";
	device_text(f->cl_device, CL_DEVICE_NAME, f->name, sizeof f->name);
	device_text(f->cl_device, CL_DEVICE_VENDOR, f->vendor, sizeof f->vendor);
	device_text(f->cl_device, CL_DRIVER_VERSION, f->driver, sizeof f->driver);
	device_text(f->cl_device, CL_DEVICE_VERSION, f->opencl, sizeof f->opencl);
	find_limits(f);
	find_pci(f);
	find_uuid(f);
	check_baseline(f);
}

static bool shared(const evn_found *devices, size_t n, size_t i, size_t offset)
{
	const char *own = (const char *)&devices[i] + offset;
	for (size_t j = 0; j < n; j++)
		if (j != i && !strcmp(own, (const char *)&devices[j] + offset))
			return true;
	return false;
}

/* Makes an id like "pocl/pthread-Intel-R-Xeon/0", without characters that are special in a device list or in a
 * shell. */
static void name_by_ordinal(evn_found *devices, size_t i)
{
	evn_found *f = &devices[i];
	char plain[sizeof f->name];
	size_t len = 0;
	unsigned ordinal = 0;
	for (const char *c = f->name; *c; c++)
		if (isalnum((unsigned char)*c) || *c == '.' || *c == '_')
			plain[len++] = *c;
		else if (len && plain[len - 1] != '-')
			plain[len++] = '-';
	while (len && plain[len - 1] == '-')
		len--;
	plain[len] = '\0';
	for (size_t j = 0; j < i; j++)
		ordinal += !strcmp(devices[j].platform, f->platform) && !strcmp(devices[j].name, f->name);
	snprintf(f->stable_id, sizeof f->stable_id, "%.31s/%.120s/%u", f->platform, plain, ordinal);
}

/* A UUID or PCI address identifies a device only if no other device has the same. Two drivers of one GPU share them,
 * and some drivers report the same for all devices. */
void evn_name_stably(evn_found *devices, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		evn_found *f = &devices[i];
		if (f->uuid[0] && !shared(devices, n, i, offsetof(evn_found, uuid)))
			snprintf(f->stable_id, sizeof f->stable_id, "%s", f->uuid);
		else if (f->pci[0] && !shared(devices, n, i, offsetof(evn_found, pci)))
			snprintf(f->stable_id, sizeof f->stable_id, "%s", f->pci);
		else
			name_by_ordinal(devices, i);
	}
}

const char *evn_cl_language(const char *opencl)
{
	int major = 0;
	sscanf(opencl, "OpenCL %d.", &major);
	return major >= 3 ? "-cl-std=CL3.0" : major == 2 ? "-cl-std=CL2.0" : "";
}

/* ---- picks ----------------------------------------------------------------------------------------------------- */

uint64_t evn_pick_fingerprint(const evn_system *s, const evn_pick *p, uint64_t kernels)
{
	const evn_device_info *info = evn_system_info(s, p->device);
	const char *const parts[] = {info->platform_name, info->stable_id, info->name, info->driver};
	uint64_t h = kernels;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		h = evn_hash_str(h, parts[i]);
	h = evn_hash(h, &p->first_unit, sizeof p->first_unit);
	return evn_hash(h, &p->n_units, sizeof p->n_units);
}
