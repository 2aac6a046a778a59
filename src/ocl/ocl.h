/* ocl.h - OpenCL for the layers above. No OpenCL type is visible here. A device is an opened device or sub-device.
 * A queue runs its commands in order. Buffers, kernels and events belong to a device.
 *
 * Devices of one platform that are opened together share a context, so their queues can wait for each other's
 * events. Every error names the call, the error code and the device. */
#ifndef EVN_OCL_H
#define EVN_OCL_H

#include "find/find.h"

/* ---- opened devices (device.c) --------------------------------------------------------------------------------- */

typedef struct evn_device evn_device;

/* Opens n picks. Picks of one platform share a context. On failure none of devices[n] is set. */
evn_status evn_devices_open(const evn_system *s, const evn_pick *picks, size_t n, evn_device **devices,
							evn_error *err);
void evn_device_close(evn_device *d);
const char *evn_device_name(const evn_device *d); /* "0:0/1@1 pthread-...", for messages */
const char *evn_device_id(const evn_device *d);
bool evn_device_is_cpu(const evn_device *d);
bool evn_device_has(const evn_device *d, const char *feature); /* feature: a name as in evn_device_info */
/* The rows of a weight tile, or columns of a row, that a work-item computes at once (LANES in kernels/common.cl): 16
 * on CPUs, where an item computes with vectors, and 1 otherwise, unless it was set. Kernels are made for the width
 * that the device has then, so it is set before. Possible are 16, and 1 if work-groups may be large enough; others
 * change nothing. */
uint32_t evn_device_lanes(const evn_device *d);
void evn_device_set_lanes(evn_device *d, uint32_t lanes);
/* The work-items that compute the norm of a row together; more than one only with 1 lane. */
uint32_t evn_device_row_items(const evn_device *d);
bool evn_device_unified_memory(const evn_device *d);
uint32_t evn_device_units(const evn_device *d);
/* Says whether programs that are built from now on are used once, as in self-tests. Their binaries are not saved.
 * Returns the previous setting. */
bool evn_device_build_throwaway(evn_device *d, bool throwaway);
/* True if a binary costs as much as a build and the driver caches its builds itself. Saving a binary is then worth it
 * only for kernels that run again. */
bool evn_device_slow_binaries(const evn_device *d);
double evn_device_build_s(evn_device *d); /* seconds spent on programs so far, loaded from the cache or compiled */
uint64_t evn_device_local_bytes(const evn_device *d);
size_t evn_device_max_group(const evn_device *d);
const char *evn_device_language(const evn_device *d); /* as evn_cl_language: features were tried with this option */
uint64_t evn_device_max_alloc(const evn_device *d);   /* the bytes of the largest buffer */
uint64_t evn_device_held_bytes(const evn_device *d);  /* of its buffers, without wrapped or pinned host memory */
bool evn_devices_share_context(const evn_device *a, const evn_device *b);

/* ---- buffers (buffer.c) ---------------------------------------------------------------------------------------- */

typedef struct evn_buf evn_buf;

typedef enum {
	EVN_BUF_DEVICE, /* in the device's memory, which on unified memory is the host's */
	EVN_BUF_PINNED, /* in the host's memory, where transfers are fast. Kernels must not use it */
} evn_buf_place;

/* The content is undefined. bytes > 0. More than the device's largest allocation is EVN_ERR_LIMIT. `what` names the
 * buffer in messages. */
evn_status evn_buf_create(evn_buf **out, evn_device *d, uint64_t bytes, evn_buf_place place, const char *what,
						  evn_error *err);
/* Makes a buffer of `bytes` of host memory at `host`, which must be page-aligned and outlive the buffer. On unified
 * memory nothing is copied. */
evn_status evn_buf_wrap(evn_buf **out, evn_device *d, void *host, uint64_t bytes, const char *what, evn_error *err);
/* Makes a buffer of `bytes` of `whole`, from offset `at`, a multiple of EVN_PART_ALIGN. `whole` must outlive it.
 * Different queues may write different parts at the same time. */
#define EVN_PART_ALIGN 4096u
evn_status evn_buf_part(evn_buf **out, const evn_buf *whole, uint64_t at, uint64_t bytes, const char *what,
						evn_error *err);
void evn_buf_free(evn_buf *b);

/* ---- queues and kernels (queue.c, program.c) ------------------------------------------------------------------- */

typedef struct evn_queue evn_queue; /* runs its commands in order; use it from one thread at a time */
typedef struct evn_event evn_event; /* the completion of a command */
typedef struct evn_kernel evn_kernel;

evn_status evn_queue_create(evn_queue **out, evn_device *d, evn_error *err);
/* Without times of its events, which cost some drivers microseconds for each command. */
evn_status evn_queue_create_untimed(evn_queue **out, evn_device *d, evn_error *err);
void evn_queue_free(evn_queue *q); /* waits for its commands */
evn_device *evn_queue_device(const evn_queue *q);
evn_status evn_queue_flush(evn_queue *q, evn_error *err);
evn_status evn_queue_finish(evn_queue *q, evn_error *err);
/* Since when a thread waits for the queue inside a driver call, by evn_now_ns; 0: none does. For other threads. */
uint64_t evn_queue_waits_since_ns(const evn_queue *q);
/* Waits for the queue. EVN_ERR_DEVICE if it takes longer than ms milliseconds. It polls a thousand times a second, so
 * it is not for frequent use. */
evn_status evn_queue_finish_within(evn_queue *q, uint64_t ms, evn_error *err);

/* Blocking copies between host memory and a buffer. */
evn_status evn_write(evn_queue *q, evn_buf *b, uint64_t offset, const void *data, uint64_t bytes, evn_error *err);
evn_status evn_read(evn_queue *q, const evn_buf *b, uint64_t offset, void *data, uint64_t bytes, evn_error *err);
/* Not blocking: data must stay valid until the queue has run the command. done may be NULL; it completes with the
 * command. */
evn_status evn_write_later(evn_queue *q, evn_buf *b, uint64_t offset, const void *data, uint64_t bytes,
						   evn_event **done, evn_error *err);
evn_status evn_read_later(evn_queue *q, const evn_buf *b, uint64_t offset, void *data, uint64_t bytes,
						  evn_event **done, evn_error *err);
evn_status evn_fill_zero(evn_queue *q, evn_buf *b, evn_error *err); /* not blocking */
/* Drivers of devices with their own memory take it when a buffer is used first. This uses it, so that memory that is
 * missing is missed now. Not blocking; nothing is done on unified memory. */
evn_status evn_buf_touch(evn_queue *q, evn_buf *b, evn_error *err);
/* Not blocking. Offsets and size are bytes. Both buffers belong to the queue's device. */
evn_status evn_copy(evn_queue *q, evn_buf *to, uint64_t to_offset, const evn_buf *from, uint64_t from_offset,
					uint64_t bytes, evn_error *err);

/* Maps the first `bytes`. If it does not block, *host is valid after the queue has finished. On unified memory and
 * for HOST_VISIBLE buffers nothing is copied. The unmap is a queued command. */
typedef enum { EVN_MAP_READ, EVN_MAP_UPDATE, EVN_MAP_OVERWRITE } evn_map_mode;
evn_status evn_map(evn_queue *q, evn_buf *b, uint64_t bytes, evn_map_mode mode, bool blocking, void **host,
				   evn_error *err);
evn_status evn_unmap(evn_queue *q, evn_buf *b, void *host, evn_error *err);

/* Host memory through which data travels to and from a device that has its own. It stays mapped. */
typedef struct {
	evn_buf *buf;
	uint8_t *host;
	uint64_t bytes;
} evn_pinned;
evn_status evn_pinned_create(evn_pinned *out, evn_queue *q, uint64_t bytes, const char *what, evn_error *err);
void evn_pinned_free(evn_pinned *p, evn_queue *q); /* no transfer may be under way; *p may be empty */

/* Fills a buffer from its beginning to its end (upload.c). evn_upload_room gives the place for the next bytes, which
 * are valid until the next call. evn_upload_end gets the result of filling and returns the first failure. The host
 * keeps memory for uploads until evn_uploads_end. */
typedef struct {
	evn_queue *q;
	evn_buf *to;
	uint8_t *mapped;
	uint64_t at, in_slot;
} evn_upload;
evn_status evn_upload_begin(evn_upload *u, evn_queue *q, evn_buf *to, uint64_t bytes, evn_error *err);
evn_status evn_upload_room(evn_upload *u, uint64_t bytes, void **host, evn_error *err);
evn_status evn_upload_end(evn_upload *u, evn_status filled, evn_error *err);
void evn_uploads_end(evn_queue *q);

/* What a program is built from (source.c): a kernel file, which includes the files that it needs; the files for parts
 * that have several variants (kernels/variants.h); defines. Everything else has the default that the files define. If
 * a text does not fit, evn_kernel_get fails. */
typedef struct {
	char sources[192]; /* "matvec.cl WEIGHTS=quant/q6_k.cl ROW=row_q8.cl" */
	char defines[192]; /* " -DTILES=4 -DROPE_NEOX" */
	bool too_long;
} evn_spec;
evn_spec evn_spec_of(const char *file); /* "matvec.cl" */
/* Sets the file for `#include PART`. `file` is a format, such as "quant/%s.cl". A part that the files do not include
 * is an error. */
void evn_spec_part(evn_spec *s, const char *part, const char *file, ...) EVN_PRINTF(3, 4);
void evn_spec_define(evn_spec *s, const char *name, uint32_t value);
void evn_spec_lanes(evn_spec *s, uint32_t lanes);      /* sets LANES, whose default is 16 */
void evn_spec_option(evn_spec *s, const char *option); /* "-DROPE_NEOX", or several options; "" for none */

/* The kernel `name` of the program, built for the queue's device. Queues of a device share programs. Binaries are
 * cached on disk; the key is the program's text, the defines, the device and the driver. A kernel belongs to one
 * queue, because setting arguments is not thread-safe. It is freed with the queue. */
evn_status evn_kernel_get(evn_kernel **out, evn_queue *q, const evn_spec *spec, const char *name, evn_error *err);

/* The most work-items of a work-group of this kernel, which may be fewer than the device allows others. */
size_t evn_kernel_max_group(const evn_kernel *k);

/* Hash of the build options and of all kernel files, the embedded ones or those of EVENER_KERNEL_DIR. For cache
 * keys. */
uint64_t evn_kernels_hash(void);

/* The arguments in the kernel's order, then one launch. If one cannot be set, evn_launch fails. */
typedef struct {
	evn_kernel *kernel;
	uint32_t n;
	int code; /* the first OpenCL error */
} evn_args;
evn_args evn_args_begin(evn_kernel *k);
void evn_arg_buf(evn_args *a, const evn_buf *b);
void evn_arg_u32(evn_args *a, uint32_t v);
void evn_arg_f32(evn_args *a, float v);
void evn_arg_struct(evn_args *a, const void *value, size_t size); /* passed by value */
void evn_arg_u32x2(evn_args *a, const uint32_t v[2]);
void evn_arg_u32x4(evn_args *a, const uint32_t v[4]);
void evn_arg_u64x2(evn_args *a, const uint64_t v[2]);
void evn_arg_f32x2(evn_args *a, const float v[2]);
/* groups[i] work-groups of locals[i] items in each of up to 3 dimensions. If locals is NULL, groups[i] counts items
 * and the driver chooses the work-groups. A zero is an error (EVN_ERR_DEVICE, with the kernel's name). More items
 * than the device allows the kernel are EVN_ERR_UNSUPPORTED. */
evn_status evn_launch(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_error *err);

/* Launches work-items that compute with vectors. On a CPU each is a work-group, because one item fills the core's
 * vectors. Elsewhere the driver chooses the work-groups. */
evn_status evn_launch_vectors(evn_args *a, uint32_t dims, const size_t *items, evn_error *err);

/* Launches n work-items, which the kernel numbers by flat_id(). With 16 lanes each is a work-group, with 1 lane
 * groups have EVN_LANE_ITEMS. The launch has two dimensions, because one dimension may be too short. n becomes the
 * last argument; items from n on do nothing. */
evn_status evn_launch_items(evn_args *a, uint32_t n, evn_error *err);

/* Times every launch on the queue by the device's clock, except those of GEMM, from now on or until now. It waits for
 * the queue's commands. evn_queue_kernel_times gives the sums since it was switched on (kernel_times.c). */
evn_status evn_queue_time_kernels(evn_queue *q, bool on, evn_error *err);
typedef struct {
	const char *kernel; /* "matvec q4_k row_q8 TILES=2": its name and what it is built from */
	uint64_t launches, ns;
} evn_kernel_sum;
typedef void (*evn_kernel_sum_fn)(void *user, const evn_kernel_sum *t);
void evn_queue_kernel_times(const evn_queue *q, evn_kernel_sum_fn each, void *user);

/* Tells of each launch since it was switched on, or since the last call, and forgets them. The queue is finished. The
 * times are those of evn_event_begin_ns. */
typedef struct {
	const char *kernel; /* as in evn_kernel_sum */
	uint64_t began_ns, ended_ns;
} evn_launch_span;
typedef void (*evn_launch_span_fn)(void *user, const evn_launch_span *s);
void evn_queue_take_launches(evn_queue *q, evn_launch_span_fn each, void *user);
/* Gives the events of the queue times, if it has none yet. The queue is finished. */
evn_status evn_queue_profile(evn_queue *q, evn_error *err);

/* evn_launch, with an event for the kernel's run. */
evn_status evn_launch_timed(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_event **out,
							evn_error *err);

/* An event for the last command in the queue. Free each with evn_event_free. */
evn_status evn_event_last(evn_event **out, evn_queue *q, evn_error *err);
/* Makes the commands that follow wait for the events. The events belong to queues that share q's context; n <=
 * EVN_MAX_EVENTS. *resumed completes when the commands may run. */
#define EVN_MAX_EVENTS 64
evn_status evn_queue_wait(evn_queue *q, evn_event *const *events, size_t n, evn_event **resumed, evn_error *err);
/* The device's times in ns at which a completed event began and ended. Times of one queue are comparable. 0 if
 * unknown. */
uint64_t evn_event_begin_ns(const evn_event *e);
uint64_t evn_event_end_ns(const evn_event *e);
bool evn_event_done(const evn_event *e);                               /* completed, or failed */
evn_status evn_event_wait(evn_event *e, evn_queue *q, evn_error *err); /* q: the event's queue, flushed */
void evn_event_free(evn_event *e);

/* ---- GEMM (gemm.c, CLBlast) ------------------------------------------------------------------------------------ */

/* C[m, n] = alpha op(A)[m, k] * op(B)[k, n] + beta C. op transposes an operand that is stored as [k, m] or [n, k].
 * All matrices are row-major. Offsets and leading dimensions are in elements. */
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
