/* program.c - builds programs from kernel sources (source.c). A program is built once for each device and set of
 * defines, and its binary is kept on disk. If a driver refuses a binary, the program is built from source, so the
 * cache can only save time. Binaries are saved when the device is closed: within a step, ranks would wait for each
 * other's. */
#include "ocl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BINARY_LIMIT ((size_t)256 << 20)
/* -w: no warnings. PoCL prints their number to stderr, which is for messages to the user. */
#define BUILD_OPTIONS "-cl-mad-enable -w"
#define LANGUAGE "-cl-std=CL1.2" /* unless the defines name a later version */

static evn_status load_source(const evn_device *d, const char *sources, char **text, evn_error *err)
{
	EVN_TRY(evn_source_resolve(text, sources, err));
	if (!d->loses_count)
		return EVN_OK;
	char *plain = *text;
	*text = evn_usecount_source(plain);
	evn_status s = *text ? EVN_OK : evn_fail_memory(err, "kernel source", strlen(plain));
	free(plain);
	return s;
}

/* The name is a hash of everything that changes the binary. */
static char *binary_path(const evn_device *d, const char *text, const char *defines)
{
	uint64_t h = evn_hash_str(EVN_HASH_START, BUILD_OPTIONS);
	h = evn_hash_str(h, text);
	h = evn_hash_str(h, defines);
	h = evn_hash_str(h, d->info->platform_name);
	h = evn_hash_str(h, d->info->name);
	h = evn_hash_str(h, d->info->driver);
	h = evn_hash_str(h, d->info->opencl);
	h = evn_hash(h, &d->units, sizeof d->units);
	char name[64];
	snprintf(name, sizeof name, "programs/%016llx.bin", (unsigned long long)h);
	return evn_cache_path(name);
}

static evn_status build_program(evn_device *d, cl_program p, const char *sources, const char *defines, evn_error *err)
{
	char *options = evn_format("%s %s %s", BUILD_OPTIONS, strstr(defines, "-cl-std=") ? "" : LANGUAGE, defines);
	if (!options)
		return evn_fail_memory(err, "build options", strlen(defines));
	cl_int code = clBuildProgram(p, 1, &d->cl, options, NULL, NULL);
	free(options);
	if (code == CL_SUCCESS)
		return EVN_OK;
	char log[700] = "";
	size_t length = 0;
	clGetProgramBuildInfo(p, d->cl, CL_PROGRAM_BUILD_LOG, 0, NULL, &length);
	char *whole = calloc(1, length + 1);
	if (whole && clGetProgramBuildInfo(p, d->cl, CL_PROGRAM_BUILD_LOG, length, whole, NULL) == CL_SUCCESS) {
		evn_log(EVN_LOG_ERROR, "build log of kernels/%s (%s) on %s: %s", sources, defines, d->name, whole);
		snprintf(log, sizeof log, "%s", whole);
		for (char *c = log; *c; c++)
			if (*c == '\n')
				*c = ' ';
	}
	free(whole);
	return evn_fail(err, EVN_ERR_BUILD, "clBuildProgram [kernels/%s %s]: %s (%d) on %s: %s", sources, defines,
					evn_cl_error_name(code), code, d->name, log);
}

/* Without its guard, a kernel's first launch would compute with the full width and write beyond its buffers. */
static evn_status check_guards(const evn_device *d, cl_program p, const char *text, const char *sources,
							   evn_error *err)
{
	size_t kernels = 0;
	if (!d->loses_count)
		return EVN_OK;
	const size_t guards = evn_usecount_guards(text);
	cl_int code = clGetProgramInfo(p, CL_PROGRAM_NUM_KERNELS, sizeof kernels, &kernels, NULL);
	if (code != CL_SUCCESS)
		return evn_cl_fail(err, d, "clGetProgramInfo", sources, code);
	if (guards < kernels) /* there are more guards than kernels if the preprocessor removes a kernel */
		return evn_fail(err, EVN_ERR_BUILD,
						"kernels/%s: %zu kernels, but only %zu begin a line with \"kernel \"; all must for %s",
						sources, kernels, guards, d->name);
	return EVN_OK;
}

static cl_program from_binary(evn_device *d, const char *path, const char *sources, const char *defines)
{
	char *data = NULL;
	size_t size;
	cl_int code, loaded;
	if (!path || evn_read_file(&data, &size, path, BINARY_LIMIT, NULL) != EVN_OK)
		return NULL;
	const unsigned char *bytes = (const unsigned char *)data;
	cl_program p = clCreateProgramWithBinary(d->context->cl, 1, &d->cl, &size, &bytes, &loaded, &code);
	free(data);
	if (p && loaded == CL_SUCCESS && build_program(d, p, sources, defines, NULL) == EVN_OK)
		return p;
	if (p)
		clReleaseProgram(p);
	remove(path);
	evn_log(EVN_LOG_INFO, "%s: cached binary of kernels/%s refused, building again", d->name, sources);
	return NULL;
}

/* A program may belong to several devices of the context, so the binary of this device is selected. A program with
 * one device has only one binary. Its device is not compared, because PoCL 3.1 names the whole device for the program
 * of a sub-device. */
static void save_binary(const evn_device *d, cl_program p, const char *path)
{
	cl_device_id devices[EVN_MAX_RANKS];
	size_t sizes[EVN_MAX_RANKS] = {0}; /* some drivers leave out devices for which the program was not built */
	unsigned char *binaries[EVN_MAX_RANKS] = {NULL};
	cl_uint n = 0;
	if (clGetProgramInfo(p, CL_PROGRAM_NUM_DEVICES, sizeof n, &n, NULL) != CL_SUCCESS || n > EVN_MAX_RANKS ||
		clGetProgramInfo(p, CL_PROGRAM_DEVICES, n * sizeof *devices, devices, NULL) != CL_SUCCESS ||
		clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, n * sizeof *sizes, sizes, NULL) != CL_SUCCESS)
		return;
	bool ok = true;
	for (cl_uint i = 0; i < n; i++)
		if (sizes[i])
			ok &= (binaries[i] = malloc(sizes[i])) != NULL;
	if (ok && clGetProgramInfo(p, CL_PROGRAM_BINARIES, n * sizeof *binaries, binaries, NULL) == CL_SUCCESS)
		for (cl_uint i = 0; i < n; i++)
			if ((n == 1 || devices[i] == d->cl) && sizes[i])
				evn_write_file(path, binaries[i], sizes[i], NULL);
	for (cl_uint i = 0; i < n; i++)
		free(binaries[i]);
}

static evn_status make_program(evn_device *d, evn_program *entry, evn_error *err)
{
	const char *sources = entry->sources, *defines = entry->defines;
	cl_int code;
	char *text = NULL, *path = NULL;
	cl_program p = NULL;
	evn_status s = load_source(d, sources, &text, err);
	if (s != EVN_OK)
		goto done;
	path = binary_path(d, text, defines);
	p = from_binary(d, path, sources, defines);
	if (p)
		goto done;
	p = clCreateProgramWithSource(d->context->cl, 1, (const char **)&text, NULL, &code);
	if (!p) {
		s = evn_cl_fail(err, d, "clCreateProgramWithSource", sources, code);
		goto done;
	}
	s = build_program(d, p, sources, defines, err);
	if (s == EVN_OK)
		s = check_guards(d, p, text, sources, err);
	if (s == EVN_OK && !d->throwaway) {
		entry->unsaved = path;
		path = NULL;
	}
done:
	free(text);
	free(path);
	if (s != EVN_OK && p)
		clReleaseProgram(p);
	entry->cl = s == EVN_OK ? p : NULL;
	return s;
}

static evn_status add_program(evn_device *d, const char *sources, const char *defines, cl_program *out,
							  evn_error *err)
{
	evn_program *entry = calloc(1, sizeof *entry);
	if (!entry)
		return evn_fail_memory(err, sources, sizeof *entry);
	*entry = (evn_program){.sources = evn_strdup(sources), .defines = evn_strdup(defines), .next = d->programs};
	d->programs = entry;
	if (!entry->sources || !entry->defines)
		return evn_fail_memory(err, sources, strlen(sources) + strlen(defines));
	EVN_TRY(make_program(d, entry, err));
	*out = entry->cl;
	return EVN_OK;
}

evn_status evn_program_get(evn_device *d, const evn_spec *spec, cl_program *out, evn_error *err)
{
	const char *sources = spec->sources, *defines = spec->defines;
	if (spec->too_long)
		return evn_fail(err, EVN_ERR_LIMIT,
						"kernels/%s %s: its list of parts or of defines is longer than %zu characters", sources,
						defines, sizeof spec->sources - 1);
	evn_status s = EVN_OK;
	pthread_mutex_lock(&d->lock);
	evn_program *p = d->programs;
	while (p && !(p->cl && !strcmp(p->sources, sources) && !strcmp(p->defines, defines)))
		p = p->next;
	if (p) {
		*out = p->cl;
	} else {
		uint64_t began = evn_now_ns(), took;
		s = add_program(d, sources, defines, out, err);
		took = evn_now_ns() - began;
		d->build_ns += took;
		evn_log(EVN_LOG_DEBUG, "%s: kernels/%s %s: %.3f s", d->name, sources, defines, (double)took * 1e-9);
	}
	pthread_mutex_unlock(&d->lock);
	return s;
}

bool evn_device_build_throwaway(evn_device *d, bool throwaway)
{
	pthread_mutex_lock(&d->lock);
	const bool before = d->throwaway;
	d->throwaway = throwaway;
	pthread_mutex_unlock(&d->lock);
	return before;
}

double evn_device_build_s(evn_device *d)
{
	pthread_mutex_lock(&d->lock);
	double s = (double)d->build_ns * 1e-9;
	pthread_mutex_unlock(&d->lock);
	return s;
}

void evn_programs_free(evn_device *d)
{
	while (d->programs) {
		evn_program *p = d->programs;
		d->programs = p->next;
		if (p->unsaved && access(p->unsaved, F_OK) != 0) /* otherwise another rank has saved it */
			save_binary(d, p->cl, p->unsaved);
		if (p->cl)
			clReleaseProgram(p->cl);
		free(p->unsaved);
		free(p->sources);
		free(p->defines);
		free(p);
	}
}

uint64_t evn_kernels_hash(void) { return evn_sources_hash(evn_hash_str(EVN_HASH_START, BUILD_OPTIONS)); }
