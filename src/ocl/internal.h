/* internal.h - the OpenCL handles behind ocl.h; for src/ocl only. */
#ifndef EVN_OCL_INTERNAL_H
#define EVN_OCL_INTERNAL_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* the baseline is OpenCL 1.2, which has clCreateCommandQueue */
#include <CL/cl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "find/found.h"
#include "ocl/ocl.h"

/* The devices of a platform that one evn_devices_open call opens share a context. */
typedef struct {
	cl_context cl;
	unsigned users;
} evn_context;

typedef struct evn_program {
	char *sources, *defines; /* the key */
	cl_program cl;
	char *unsaved; /* the path to save its binary to when the device is closed; NULL: saved already, or not wanted */
	struct evn_program *next;
} evn_program;

typedef struct evn_chunk evn_chunk;

struct evn_device {
	cl_device_id cl;
	bool is_sub_device; /* this struct releases it */
	evn_context *context;
	const evn_device_info *info; /* of the whole device, also for a sub-device; valid while the system is open */
	const evn_system *system;
	size_t index; /* of the whole device */
	char id[96], name[256];
	uint32_t units;
	size_t max_group;
	uint32_t lanes;       /* see evn_device_lanes */
	pthread_mutex_t lock; /* guards programs, throwaway and build_ns */
	evn_program *programs;
	bool throwaway;   /* programs that are built now are used once, so their binaries are not saved */
	bool loses_count; /* see pocl_usecount.c */
	uint64_t build_ns;
	bool gemm_known; /* CLBlast has its parameters; this field and the next belong to gemm.c */
	uint32_t gemm_kernel;
	evn_chunk *chunk; /* new buffers are taken from this chunk */
	atomic_uint_fast64_t held_bytes;
};

struct evn_buf {
	cl_mem cl;
	uint64_t bytes, held_bytes; /* held_bytes is 0 if the memory is the caller's */
	evn_device *device;
	uint64_t serial; /* unique in the process; never 0 */
};

/* A kernel keeps its arguments, and a driver takes 50 to 100 ns to set one. An argument that is the same as in the
 * last launch is therefore not set again. Buffers are compared by serial number, because a released handle can be
 * reused. */
typedef struct {
	enum { EVN_ARG_UNSET, EVN_ARG_BUF, EVN_ARG_NUMBERS } kind;
	uint64_t value[2]; /* a serial number, or up to four 32-bit numbers */
} evn_arg_value;

struct evn_kernel {
	cl_kernel cl;
	evn_queue *queue;
	char name[64];
	char *label; /* the name and what it is built from, see kernel_times.c */
	uint64_t n_timed, timed_ns;
	cl_uint n_args;
	size_t max_group;
	evn_arg_value *set; /* (n_args) the value that each argument was last set to */
	bool launched_widest;
	struct evn_kernel *next;
};

#define EVN_UPLOAD_SLOTS 4

/* See upload.c. */
typedef struct {
	evn_pinned memory;
	uint64_t slot_bytes;
	uint32_t slot;                     /* the slot that is filled next */
	evn_event *sent[EVN_UPLOAD_SLOTS]; /* NULL: nothing of the slot is under way */
} evn_upload_ring;

struct evn_queue {
	cl_command_queue cl;
	bool profiles;         /* its events have times */
	evn_upload_ring *ring; /* NULL until something is uploaded through it */
	evn_device *device;
	atomic_uint_fast64_t waits_since_ns; /* since when a thread waits for it in a driver call; or 0 */
	evn_kernel *kernels;
	cl_mem gemm_scratch; /* for CLBlast's copies of operands; NULL until one is needed */
	size_t gemm_scratch_bytes;
	bool timed; /* launches are timed; this field and the next belong to kernel_times.c */
	struct evn_launch_time *times;
};

struct evn_event {
	cl_event cl;
};

/* Writes "clEnqueueMapBuffer: CL_OUT_OF_RESOURCES (-5) on 0:0 NAME". If `what` is not NULL it follows the call in
 * brackets. */
evn_status evn_cl_fail(evn_error *err, const evn_device *d, const char *call, const char *what, cl_int code);

/* Around driver calls that wait for the queue. */
void evn_queue_wait_begins(evn_queue *q);
void evn_queue_wait_ends(evn_queue *q);

/* Keeps the event of a launch on a queue that is timed (kernel_times.c). owned: this call takes the reference over.
 */
evn_status evn_launch_note(evn_kernel *k, cl_event event, bool owned, evn_error *err);
/* "matvec q4_k row_q8 TILES=2". The text is malloc'd. */
char *evn_kernel_label(const evn_spec *spec, const char *name);
void evn_launches_forget(evn_queue *q);

/* Makes the text of a program (source.c). `sources` is a kernel file, then the files for its parts: "matvec.cl
 * ROW=row_q8.cl". The text has the kernel file and every file that it includes, each once. The text is malloc'd. */
evn_status evn_source_resolve(char **text, const char *sources, evn_error *err);
/* Adds all kernel files to the hash h, as they would be compiled. */
uint64_t evn_sources_hash(uint64_t h);

evn_status evn_program_get(evn_device *d, const evn_spec *spec, cl_program *out, evn_error *err);
void evn_programs_free(evn_device *d);

/* Call it before the first product. It sets an environment variable, so no other thread may be reading the
 * environment. */
void evn_gemm_prepare(void);

/* For drivers that miscount the users of a kernel that is launched wider than before (pocl_usecount.c). */
#define EVN_USECOUNT_GROUPS ((size_t)65521) /* work-groups; from 65535 work-items on PoCL builds a kernel again */
#define EVN_USECOUNT_RETURN " if (get_num_groups(0) == 65521) return;"
bool evn_usecount_opened(const evn_device *d); /* counts d as open; true if its driver has the fault */
void evn_usecount_closed(const evn_device *d);
/* True if more than two such devices are open. Launches are then limited. */
bool evn_usecount_needed(const evn_device *d);
/* The text of a file whose kernels return at once when they are launched with EVN_USECOUNT_GROUPS work-groups. The
 * text is malloc'd. */
char *evn_usecount_source(const char *text);
size_t evn_usecount_guards(const char *text); /* the number of such kernels in the text */
/* Call it before each launch, with the sizes of the launch. It refuses a launch that is too wide. Before the first
 * launch of a kernel on a queue it launches the kernel at its maximum width. */
evn_status evn_usecount_first_launch(evn_kernel *k, uint32_t dims, const size_t *global, const size_t *locals,
									 evn_error *err);

/* Zeroed host memory, valid until it is freed. NULL if there is none. Thread-safe (pages.c). */
typedef struct {
	uint8_t *begin;
	uint64_t bytes;
	evn_chunk *chunk; /* the chunk that it is a part of */
} evn_pages;
evn_pages *evn_pages_get(evn_device *d, uint64_t bytes);
void evn_pages_free(evn_pages *p);
void evn_chunk_release(evn_chunk *c); /* the device takes no more buffers from it; c may be NULL */

#endif
