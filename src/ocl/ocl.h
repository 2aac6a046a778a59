/* ocl.h - OpenCL as the layers above see it, with no OpenCL type in sight. A device is one of those found (or a
 * sub-device) opened; a queue feeds it in order; buffers, kernels and events belong to a device.
 *
 * Devices of one platform that are opened together share a context, so their queues may wait on each other's events.
 * Every failure names the call, the code's name and the device. */
#ifndef EVN_OCL_H
#define EVN_OCL_H

#include "find/find.h"

/* ---- opened devices (device.c) --------------------------------------------------------------------------------- */

typedef struct evn_device evn_device;

/* Opens n picks; those of one platform share a context. devices[n] are all set or none. */
evn_status evn_devices_open(const evn_system *s, const evn_pick *picks, size_t n, evn_device **devices,
							evn_error *err);
void evn_device_close(evn_device *d);
const char *evn_device_name(const evn_device *d); /* "0:0/1@1 pthread-..." for messages */
const char *evn_device_id(const evn_device *d);
bool evn_device_is_cpu(const evn_device *d);
bool evn_device_has(const evn_device *d, const char *feature); /* by its name in evn_device_info */
/* Work-items that share a row: 1 on CPUs, where one fills a core's vectors; 32 fill a sub-group of any GPU. */
uint32_t evn_device_row_items(const evn_device *d);
bool evn_device_unified_memory(const evn_device *d);
uint32_t evn_device_units(const evn_device *d);
/* Whether programs built from now on are for one use, as in self-tests: then their binaries are not kept on disk.
 * Returns what held before. */
bool evn_device_build_throwaway(evn_device *d, bool throwaway);
/* A binary costs as much as a build, and the driver keeps its builds by itself: worth it for what runs again only. */
bool evn_device_slow_binaries(const evn_device *d);
double evn_device_build_s(evn_device *d); /* spent on programs so far: read from the cache, or compiled */
uint64_t evn_device_local_bytes(const evn_device *d);
size_t evn_device_max_group(const evn_device *d);
uint64_t evn_device_held_bytes(const evn_device *d); /* by its buffers, without wrapped memory */
bool evn_devices_share_context(const evn_device *a, const evn_device *b);

/* ---- buffers (buffer.c) ---------------------------------------------------------------------------------------- */

typedef struct evn_buf evn_buf;

typedef enum {
	EVN_BUF_DEVICE,       /* where the device likes it */
	EVN_BUF_HOST_VISIBLE, /* mapped without a copy on unified memory, pinned elsewhere */
} evn_buf_place;

/* Content undefined. bytes > 0; over the device's largest allocation is EVN_ERR_LIMIT. `what` is for messages. */
evn_status evn_buf_create(evn_buf **out, evn_device *d, uint64_t bytes, evn_buf_place place, const char *what,
						  evn_error *err);
/* `bytes` of host memory at `host` (page-aligned, outliving the buffer) as a buffer; not copied on unified memory. */
evn_status evn_buf_wrap(evn_buf **out, evn_device *d, void *host, uint64_t bytes, const char *what, evn_error *err);
/* `bytes` of `whole`, which must outlive it, from `at` on: a multiple of EVN_PART_ALIGN. Different parts may be
 * written by different queues at a time. */
#define EVN_PART_ALIGN 4096u
evn_status evn_buf_part(evn_buf **out, const evn_buf *whole, uint64_t at, uint64_t bytes, const char *what,
						evn_error *err);
void evn_buf_free(evn_buf *b);

/* ---- queues and kernels (queue.c, program.c) ------------------------------------------------------------------- */

typedef struct evn_queue evn_queue; /* in order; one thread at a time */
typedef struct evn_event evn_event; /* completion of a command */
typedef struct evn_kernel evn_kernel;

evn_status evn_queue_create(evn_queue **out, evn_device *d, evn_error *err);
void evn_queue_free(evn_queue *q); /* waits for what is queued */
evn_device *evn_queue_device(const evn_queue *q);
evn_status evn_queue_flush(evn_queue *q, evn_error *err);
evn_status evn_queue_finish(evn_queue *q, evn_error *err);
/* EVN_ERR_DEVICE when the queue is not finished after so many ms. Looks a thousand times a second: not for what happens
 * often. */
evn_status evn_queue_finish_within(evn_queue *q, uint64_t ms, evn_error *err);

/* Blocking copies between host memory and a buffer. */
evn_status evn_write(evn_queue *q, evn_buf *b, uint64_t offset, const void *data, uint64_t bytes, evn_error *err);
evn_status evn_read(evn_queue *q, const evn_buf *b, uint64_t offset, void *data, uint64_t bytes, evn_error *err);
/* Queued: data must stay until the queue has come past it. */
evn_status evn_write_later(evn_queue *q, evn_buf *b, const void *data, uint64_t bytes, evn_error *err);
evn_status evn_fill_zero(evn_queue *q, evn_buf *b, evn_error *err); /* queued */
/* Queued; offsets and size in bytes, two buffers of the queue's device. */
evn_status evn_copy(evn_queue *q, evn_buf *to, uint64_t to_offset, const evn_buf *from, uint64_t from_offset,
					uint64_t bytes, evn_error *err);

/* Maps the first `bytes`. Not blocking: *host may be used after the queue has been waited for. On unified memory and
 * for HOST_VISIBLE buffers nothing is copied. The unmap is queued. */
typedef enum { EVN_MAP_READ, EVN_MAP_UPDATE, EVN_MAP_OVERWRITE } evn_map_mode;
evn_status evn_map(evn_queue *q, evn_buf *b, uint64_t bytes, evn_map_mode mode, bool blocking, void **host,
				   evn_error *err);
evn_status evn_unmap(evn_queue *q, evn_buf *b, void *host, evn_error *err);

/* What a program is built from (source.c): a kernel file, which includes what it needs; the files for parts that come
 * in several (kernels/variants.h); its defines. What is not set has the default that the files name. A text that does
 * not fit sticks and comes out of evn_kernel_get. */
typedef struct {
	char sources[192]; /* "matvec.cl WEIGHTS=quant/q6_k.cl ROW=row_q8.cl" */
	char defines[192]; /* " -DTILES=4 -DROPE_NEOX" */
	bool too_long;
} evn_spec;
evn_spec evn_spec_of(const char *file); /* "matvec.cl" */
/* The file for `#include PART`: "quant/%s.cl". A part that the files do not include is an error. */
void evn_spec_part(evn_spec *s, const char *part, const char *file, ...) __attribute__((format(printf, 3, 4)));
void evn_spec_define(evn_spec *s, const char *name, uint32_t value);
void evn_spec_option(evn_spec *s, const char *option); /* "-DROPE_NEOX", or several; "" for none */

/* The kernel `name` of the program, built for the queue's device; programs are shared and their binaries cached on
 * disk, keyed by the text that the files make, defines, device and driver. One kernel object per queue: argument
 * setting is not thread-safe. Freed with the queue. */
evn_status evn_kernel_get(evn_kernel **out, evn_queue *q, const evn_spec *spec, const char *name, evn_error *err);

/* Of how kernels are built and of their sources, the embedded ones or those of EVENER_KERNEL_DIR: for cache keys. */
uint64_t evn_kernels_hash(void);

/* Arguments in the kernel's order, then one launch. Failures stick and come out of evn_launch. */
typedef struct {
	evn_kernel *kernel;
	uint32_t n;
	int code; /* first OpenCL error */
} evn_args;
evn_args evn_args_begin(evn_kernel *k);
void evn_arg_buf(evn_args *a, const evn_buf *b);
void evn_arg_u32(evn_args *a, uint32_t v);
void evn_arg_u64(evn_args *a, uint64_t v);
void evn_arg_f32(evn_args *a, float v);
void evn_arg_struct(evn_args *a, const void *value, size_t size); /* by value */
void evn_arg_u32x2(evn_args *a, const uint32_t v[2]);
void evn_arg_u32x4(evn_args *a, const uint32_t v[4]);
void evn_arg_f32x2(evn_args *a, const float v[2]);
/* groups[i] work-groups of locals[i] items in each of up to 3 dimensions; locals NULL: groups are items, and the
 * driver makes groups of them. Nothing empty is launched: a zero is our own error (EVN_ERR_DEVICE naming the kernel).
 */
evn_status evn_launch(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_error *err);

/* Work-items of vectors: one a group on a CPU, where it fills the core's, else as many as the driver likes. */
evn_status evn_launch_vectors(evn_args *a, uint32_t dims, const size_t *items, evn_error *err);

/* n such work-items that the kernel numbers by flat_id(), in two dimensions, as one alone may not be long enough; n
 * is set as the last argument, and those beyond it do nothing. */
evn_status evn_launch_items(evn_args *a, uint32_t n, evn_error *err);

/* evn_launch with an event of the kernel's run. */
evn_status evn_launch_timed(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_event **out,
							evn_error *err);

/* Event of the last queued command; release each. */
evn_status evn_event_last(evn_event **out, evn_queue *q, evn_error *err);
/* Commands queued after this run after the events, which are of queues that share q's context; n <= EVN_MAX_EVENTS.
 * *resumed completes when they may run. */
#define EVN_MAX_EVENTS 64
evn_status evn_queue_wait(evn_queue *q, evn_event *const *events, size_t n, evn_event **resumed, evn_error *err);
/* Device times at which a completed event began and ended, ns; comparable between events of one queue; 0 when
 * unknown. */
uint64_t evn_event_begin_ns(const evn_event *e);
uint64_t evn_event_end_ns(const evn_event *e);
bool evn_event_done(const evn_event *e); /* or failed */
void evn_event_free(evn_event *e);

/* ---- GEMM (gemm.c, CLBlast) ------------------------------------------------------------------------------------ */

/* C[m, n] = alpha op(A)[m, k] * op(B)[k, n] + beta C, where op transposes what is stored the other way round ([k, m],
 * [n, k]). Leading dimensions and offsets in elements of row-major matrices. */
typedef struct {
	uint32_t m, n, k;
	bool a_transposed, b_transposed;
	uint32_t lda, ldb, ldc;
	uint64_t a_offset, b_offset, c_offset;
	float alpha, beta;
} evn_product;
evn_status evn_multiply(evn_queue *q, const evn_product *p, const evn_buf *a, const evn_buf *b, evn_buf *c,
						evn_error *err);

#endif
