/* internal.h - the OpenCL handles behind ocl.h; for src/ocl only. */
#ifndef EVN_OCL_INTERNAL_H
#define EVN_OCL_INTERNAL_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* clCreateCommandQueue: the baseline is 1.2 */
#include <CL/cl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "find/found.h"
#include "ocl/ocl.h"

/* One per platform and evn_devices_open call, shared by its devices. */
typedef struct {
	cl_context cl;
	unsigned users;
} evn_context;

typedef struct evn_program {
	char *sources, *defines; /* key */
	cl_program cl;
	char *unsaved; /* where its binary is kept when the device is closed; NULL: it is there, or not wanted */
	struct evn_program *next;
} evn_program;

typedef struct evn_chunk evn_chunk;

struct evn_device {
	cl_device_id cl;
	bool is_sub_device; /* ours to release */
	evn_context *context;
	const evn_device_info *info; /* of the whole device; valid while the system is open */
	const evn_system *system;
	size_t index; /* of the whole device */
	char id[96], name[256];
	uint32_t units;
	size_t max_group;
	pthread_mutex_t lock; /* guards programs, throwaway and build_ns */
	evn_program *programs;
	bool throwaway;   /* programs built now are used once: their binaries are not kept */
	bool loses_count; /* pocl_usecount.c */
	uint64_t build_ns;
	bool gemm_known; /* CLBlast has its parameters; these two are gemm.c's */
	uint32_t gemm_kernel;
	evn_chunk *chunk; /* that buffers are cut from now */
	atomic_uint_fast64_t held_bytes;
};

struct evn_buf {
	cl_mem cl;
	uint64_t bytes, held_bytes; /* 0 of memory that is the caller's */
	evn_device *device;
	evn_chunk *chunk; /* its memory's, where that is ours */
	uint64_t serial;  /* no other buffer of the process has had it; never 0 */
};

/* A kernel keeps its arguments: those that stay the same from launch to launch are not set again, which drivers take
 * 50 to 100 ns for. Buffers are known by their serial number, as handles come back after a release. */
typedef struct {
	enum { EVN_ARG_UNSET, EVN_ARG_BUF, EVN_ARG_NUMBERS } kind;
	uint64_t value[2]; /* a serial number; or up to four numbers of 32 bits */
} evn_arg_value;

struct evn_kernel {
	cl_kernel cl;
	evn_queue *queue;
	char name[64];
	cl_uint n_args;
	evn_arg_value *set; /* (n_args) what each was set to last */
	bool launched_widest;
	struct evn_kernel *next;
};

struct evn_queue {
	cl_command_queue cl;
	evn_device *device;
	evn_kernel *kernels;
	cl_mem gemm_scratch; /* for CLBlast's copies of operands; NULL: none needed so far */
	size_t gemm_scratch_bytes;
};

struct evn_event {
	cl_event cl;
};

/* "clEnqueueMapBuffer: CL_OUT_OF_RESOURCES (-5) on 0:0 NAME", with `what` (may be NULL) in brackets after the call.
 */
evn_status evn_cl_fail(evn_error *err, const evn_device *d, const char *call, const char *what, cl_int code);

/* source.c: malloc'd text of the kernel file that `sources` begins with and, each once, of all that it includes. The
 * files for parts follow: "matvec.cl ROW=row_q8.cl". */
evn_status evn_source_resolve(char **text, const char *sources, evn_error *err);
/* h and all kernel files as they would be compiled. */
uint64_t evn_sources_hash(uint64_t h);

evn_status evn_program_get(evn_device *d, const evn_spec *spec, cl_program *out, evn_error *err);
void evn_programs_free(evn_device *d);

/* Before the first product; sets an environment variable, so before other threads may read the environment. */
void evn_gemm_prepare(void);

/* pocl_usecount.c: for drivers that lose count of a kernel's users when it is launched wider than before. */
#define EVN_USECOUNT_GROUPS ((size_t)65521) /* groups; PoCL builds anew for 65535 work-items and more */
#define EVN_USECOUNT_RETURN " if (get_num_groups(0) == 65521) return;"
bool evn_usecount_opened(const evn_device *d); /* whether d's driver is such a one */
void evn_usecount_closed(const evn_device *d);
/* More than two such devices are open: what may be launched is limited. */
bool evn_usecount_needed(const evn_device *d);
/* malloc'd: the text of a file of kernels that return at once where they are launched EVN_USECOUNT_GROUPS groups
 * wide. */
char *evn_usecount_source(const char *text);
size_t evn_usecount_guards(const char *text); /* kernels of it that do */
/* To be called before each launch with what is launched: refuses what is too wide, and begins the kernel at its
 * widest if this queue has not yet. */
evn_status evn_usecount_first_launch(evn_kernel *k, uint32_t dims, const size_t *global, const size_t *locals,
									 evn_error *err);

/* pages.c: zeroed host memory that lives until it is given back; NULL when there is none. Thread-safe. */
void *evn_pages_take(evn_device *d, uint64_t bytes, evn_chunk **chunk);
void evn_pages_give_back(evn_device *d, evn_chunk *chunk); /* chunk may be NULL */

#endif
