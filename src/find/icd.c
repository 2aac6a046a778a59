/* icd.c - finds which drivers the OpenCL loader will open, and makes it open fewer. The rules are those of ocl-icd:
 * OCL_ICD_VENDORS is a folder of .icd files, one .icd file (searched in the vendors folder if it has no slash), or a
 * library. If it is not set, the vendors folder is OPENCL_VENDOR_PATH or /etc/OpenCL/vendors. evener itself only sets
 * folders of .icd files; the Khronos loader reads those in the same way. */
#include "find/found.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VENDORS "/etc/OpenCL/vendors"
#define ICD_LIMIT 4096

static bool ends_with_icd(const char *name)
{
	size_t len = strlen(name);
	return len > 4 && !strcmp(name + len - 4, ".icd");
}

/* Hashes the variables that change which devices a driver shows or how it compiles. Their order does not matter. */
static uint64_t hash_environment(void)
{
	static const char *const prefixes[] = {
		"POCL_",      "RUSTICL_", "GALLIUM_", "MESA_", "LP_",       "DPCPP_",   "CL_CONFIG_",
		"SYCL_",      "TBB_",     "ZE_",      "NEO_",  "IGC_",      "CUDA_",    "ROCR_",
		"HSA_",       "HIP_",     "GPU_",     "AMD_",  "OCLGRIND_", "OCL_ICD_", "LD_LIBRARY_PATH=",
		"LD_PRELOAD="};
	uint64_t sum = 0;
	for (char **e = environ; *e; e++)
		for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
			if (!strncmp(*e, prefixes[i], strlen(prefixes[i])) && strncmp(*e, "OCL_ICD_VENDORS=", 16) != 0) {
				sum += evn_hash_str(EVN_HASH_START, *e);
				break;
			}
	return sum;
}

static uint64_t hash_state(const char *path, const char *library, uint64_t environment)
{
	struct stat st = {0};
	uint64_t h = evn_hash_str(evn_hash_str(EVN_HASH_START, path), library);
	if (stat(path, &st) == 0) {
		uint64_t state[] = {(uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
		h = evn_hash(h, state, sizeof state);
	}
	return evn_hash(h, &environment, sizeof environment);
}

/* The first line of the file. The loader ignores an unreadable or empty file, and so does this function. */
static char *read_library(const char *path)
{
	char *text = NULL;
	size_t size;
	if (evn_read_file(&text, &size, path, ICD_LIMIT, NULL) != EVN_OK)
		return NULL;
	text[strcspn(text, "\r\n")] = '\0';
	if (!text[0]) {
		free(text);
		text = NULL;
	}
	return text;
}

/* Takes ownership of both strings. */
static evn_status add_icd(evn_icd **icds, size_t *n, char *path, char *library, evn_error *err)
{
	evn_icd *grown = path && library ? realloc(*icds, (*n + 1) * sizeof **icds) : NULL;
	if (!grown) {
		free(path);
		free(library);
		return evn_fail_memory(err, "driver list", (*n + 1) * sizeof **icds);
	}
	*icds = grown;
	grown[(*n)++] = (evn_icd){.path = path, .library = library, .key = hash_state(path, library, hash_environment())};
	return EVN_OK;
}

static evn_status add_file(evn_icd **icds, size_t *n, const char *path, evn_error *err)
{
	char *library = read_library(path);
	return library ? add_icd(icds, n, evn_strdup(path), library, err) : EVN_OK;
}

static evn_status add_folder(evn_icd **icds, size_t *n, const char *folder, evn_error *err)
{
	DIR *d = opendir(folder);
	evn_status s = EVN_OK;
	for (struct dirent *e; d && s == EVN_OK && (e = readdir(d));) {
		if (!ends_with_icd(e->d_name))
			continue;
		char *path = evn_format("%s/%s", folder, e->d_name);
		s = path ? add_file(icds, n, path, err) : evn_fail_memory(err, "path", strlen(folder));
		free(path);
	}
	if (d)
		closedir(d);
	return s;
}

static evn_status add_single(evn_icd **icds, size_t *n, const char *value, const char *vendors, evn_error *err)
{
	if (!ends_with_icd(value))
		return add_icd(icds, n, evn_strdup(value), evn_strdup(value), err);
	if (!strchr(value, '/')) {
		char *path = evn_format("%s/%s", vendors, value);
		evn_status s = path ? add_file(icds, n, path, err) : evn_fail_memory(err, "path", strlen(value));
		free(path);
		if (s != EVN_OK || *n)
			return s;
	}
	return add_file(icds, n, value, err);
}

evn_status evn_icds_list(evn_icd **out, size_t *n, evn_error *err)
{
	const char *value = getenv("OCL_ICD_VENDORS"), *vendors = getenv("OPENCL_VENDOR_PATH");
	struct stat st;
	*out = NULL;
	*n = 0;
	if (!vendors || !*vendors)
		vendors = VENDORS;
	if (!value || !*value)
		value = vendors;
	bool folder = stat(value, &st) == 0 && S_ISDIR(st.st_mode);
	evn_status s = folder ? add_folder(out, n, value, err) : add_single(out, n, value, vendors, err);
	if (s != EVN_OK) {
		evn_icds_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return s;
}

void evn_icds_free(evn_icd *icds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(icds[i].path);
		free(icds[i].library);
	}
	free(icds);
}

/* The number in the file name keeps the loader's order where it sorts the folder, and it keeps the names distinct. */
static bool write_icd(const char *folder, size_t i, const char *library)
{
	char *path = evn_format("%s/%02zu.icd", folder, i);
	bool ok = path && (access(path, F_OK) == 0 || evn_write_file(path, library, strlen(library), NULL) == EVN_OK);
	free(path);
	return ok;
}

/* The folder is named after a hash of its content. The same set thus has the same folder in every process, and no
 * process has to remove it. */
char *evn_icds_folder(const evn_icd *icds, const bool *keep, size_t n)
{
	uint64_t h = EVN_HASH_START;
	for (size_t i = 0; i < n; i++)
		if (keep[i])
			h = evn_hash_str(evn_hash(h, &i, sizeof i), icds[i].library);
	char name[48];
	snprintf(name, sizeof name, "drivers/%016llx/", (unsigned long long)h);
	char *folder = evn_cache_path(name);
	bool ok = folder != NULL;
	for (size_t i = 0; ok && i < n; i++)
		ok = !keep[i] || write_icd(folder, i, icds[i].library);
	if (!ok) {
		free(folder);
		folder = NULL;
	}
	return folder;
}
