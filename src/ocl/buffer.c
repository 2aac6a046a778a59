/* buffer.c - device memory, and its transfers to and from the host. */
#include "ocl/internal.h"

#include <stdlib.h>

static atomic_uint_fast64_t n_created;

static evn_status create_buffer(evn_buf **out, evn_device *d, uint64_t bytes, cl_mem_flags flags, void *host,
								const char *what, evn_error *err)
{
	*out = NULL;
	if (bytes > d->info->max_alloc_bytes)
		return evn_fail(err, EVN_ERR_LIMIT, "%s needs %.1f MiB in one piece, %s allows %.1f MiB", what,
						(double)bytes / 1048576.0, d->name, (double)d->info->max_alloc_bytes / 1048576.0);
	evn_buf *b = calloc(1, sizeof *b);
	if (!b)
		return evn_fail_memory(err, what, sizeof *b);
	cl_int code;
	*b = (evn_buf){.cl = clCreateBuffer(d->context->cl, flags, (size_t)bytes, host, &code),
				   .bytes = bytes,
				   .device = d,
				   .serial = atomic_fetch_add(&n_created, 1) + 1};
	if (!b->cl) {
		free(b);
		return evn_cl_fail(err, d, "clCreateBuffer", what, code);
	}
	*out = b;
	return EVN_OK;
}

/* Commands that are queued may still use the buffer when it is freed. The driver destroys it after the last of them,
 * and only then may its pages go. */
static void CL_CALLBACK destroyed(cl_mem cl, void *pages)
{
	(void)cl;
	evn_pages_free(pages);
}

static evn_status create_on_pages(evn_buf **out, evn_device *d, uint64_t bytes, evn_pages *pages, const char *what,
								  evn_error *err)
{
	evn_status s = evn_buf_wrap(out, d, pages->begin, bytes, what, err);
	if (s != EVN_OK) {
		evn_pages_free(pages);
		return s;
	}
	cl_int code = clSetMemObjectDestructorCallback((*out)->cl, destroyed, pages);
	if (code == CL_SUCCESS)
		return EVN_OK;
	evn_buf_free(*out);
	*out = NULL;
	evn_pages_free(pages);
	return evn_cl_fail(err, d, "clSetMemObjectDestructorCallback", what, code);
}

static evn_status count_held(evn_status s, evn_buf *b, uint64_t bytes)
{
	if (s == EVN_OK) {
		b->held_bytes = bytes;
		atomic_fetch_add(&b->device->held_bytes, bytes);
	}
	return s;
}

evn_status evn_buf_create(evn_buf **out, evn_device *d, uint64_t bytes, evn_buf_place place, const char *what,
						  evn_error *err)
{
	/* A device with fine-grained SVM works in the host's memory without copying it. */
	evn_pages *pages = evn_device_is_cpu(d) && evn_device_has(d, "svm_fine") ? evn_pages_get(d, bytes) : NULL;
	evn_status s;
	if (pages) {
		s = create_on_pages(out, d, bytes, pages, what, err);
		return count_held(s, *out, bytes);
	}
	/* On unified memory the host can map every buffer without a copy. */
	const bool of_host = place == EVN_BUF_PINNED || d->info->unified_memory;
	s = create_buffer(out, d, bytes, CL_MEM_READ_WRITE | (of_host ? CL_MEM_ALLOC_HOST_PTR : 0), NULL, what, err);
	return place == EVN_BUF_PINNED && !d->info->unified_memory ? s : count_held(s, *out, bytes);
}

evn_status evn_buf_wrap(evn_buf **out, evn_device *d, void *host, uint64_t bytes, const char *what, evn_error *err)
{
	return create_buffer(out, d, bytes, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, host, what, err);
}

evn_status evn_buf_part(evn_buf **out, const evn_buf *whole, uint64_t at, uint64_t bytes, const char *what,
						evn_error *err)
{
	const cl_buffer_region region = {(size_t)at, (size_t)bytes};
	cl_int code;
	evn_buf *b = *out = calloc(1, sizeof *b);
	if (!b)
		return evn_fail_memory(err, what, sizeof *b);
	*b = (evn_buf){.cl = clCreateSubBuffer(whole->cl, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &code),
				   .bytes = bytes,
				   .device = whole->device,
				   .serial = atomic_fetch_add(&n_created, 1) + 1};
	if (b->cl)
		return EVN_OK;
	free(b);
	*out = NULL;
	return evn_cl_fail(err, whole->device, "clCreateSubBuffer", what, code);
}

void evn_buf_free(evn_buf *b)
{
	if (!b)
		return;
	clReleaseMemObject(b->cl);
	atomic_fetch_sub(&b->device->held_bytes, b->held_bytes);
	free(b);
}

evn_status evn_write(evn_queue *q, evn_buf *b, uint64_t offset, const void *data, uint64_t bytes, evn_error *err)
{
	evn_queue_wait_begins(q);
	cl_int code = clEnqueueWriteBuffer(q->cl, b->cl, CL_TRUE, (size_t)offset, (size_t)bytes, data, 0, NULL, NULL);
	evn_queue_wait_ends(q);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueWriteBuffer", NULL, code);
}

/* Wraps the event of a command that was enqueued with `code`. The command runs also if there is no memory for it. */
static evn_status wrap_event(evn_event **out, cl_event cl, cl_int code, const evn_queue *q, const char *call,
							 evn_error *err)
{
	if (code != CL_SUCCESS)
		return evn_cl_fail(err, q->device, call, NULL, code);
	if (!out)
		return EVN_OK;
	*out = calloc(1, sizeof **out);
	if (*out) {
		(*out)->cl = cl;
		return EVN_OK;
	}
	clReleaseEvent(cl);
	return evn_fail_memory(err, "event", sizeof **out);
}

evn_status evn_write_later(evn_queue *q, evn_buf *b, uint64_t offset, const void *data, uint64_t bytes,
						   evn_event **done, evn_error *err)
{
	cl_event e = NULL;
	cl_int code =
		clEnqueueWriteBuffer(q->cl, b->cl, CL_FALSE, (size_t)offset, (size_t)bytes, data, 0, NULL, done ? &e : NULL);
	return wrap_event(done, e, code, q, "clEnqueueWriteBuffer", err);
}

evn_status evn_read_later(evn_queue *q, const evn_buf *b, uint64_t offset, void *data, uint64_t bytes,
						  evn_event **done, evn_error *err)
{
	cl_event e = NULL;
	cl_int code =
		clEnqueueReadBuffer(q->cl, b->cl, CL_FALSE, (size_t)offset, (size_t)bytes, data, 0, NULL, done ? &e : NULL);
	return wrap_event(done, e, code, q, "clEnqueueReadBuffer", err);
}

evn_status evn_read(evn_queue *q, const evn_buf *b, uint64_t offset, void *data, uint64_t bytes, evn_error *err)
{
	evn_queue_wait_begins(q);
	cl_int code = clEnqueueReadBuffer(q->cl, b->cl, CL_TRUE, (size_t)offset, (size_t)bytes, data, 0, NULL, NULL);
	evn_queue_wait_ends(q);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueReadBuffer", NULL, code);
}

evn_status evn_fill_zero(evn_queue *q, evn_buf *b, evn_error *err)
{
	const cl_uchar zero = 0;
	cl_int code = clEnqueueFillBuffer(q->cl, b->cl, &zero, sizeof zero, 0, (size_t)b->bytes, 0, NULL, NULL);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueFillBuffer", NULL, code);
}

evn_status evn_buf_touch(evn_queue *q, evn_buf *b, evn_error *err)
{
	return q->device->info->unified_memory ? EVN_OK : evn_fill_zero(q, b, err);
}

evn_status evn_copy(evn_queue *q, evn_buf *to, uint64_t to_offset, const evn_buf *from, uint64_t from_offset,
					uint64_t bytes, evn_error *err)
{
	cl_int code = clEnqueueCopyBuffer(q->cl, from->cl, to->cl, (size_t)from_offset, (size_t)to_offset, (size_t)bytes,
									  0, NULL, NULL);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueCopyBuffer", NULL, code);
}

static cl_map_flags map_flags(evn_map_mode mode)
{
	return mode == EVN_MAP_READ     ? CL_MAP_READ
		   : mode == EVN_MAP_UPDATE ? CL_MAP_READ | CL_MAP_WRITE
									: CL_MAP_WRITE_INVALIDATE_REGION;
}

evn_status evn_map(evn_queue *q, evn_buf *b, uint64_t bytes, evn_map_mode mode, bool blocking, void **host,
				   evn_error *err)
{
	cl_int code;
	if (blocking)
		evn_queue_wait_begins(q);
	*host = clEnqueueMapBuffer(q->cl, b->cl, blocking ? CL_TRUE : CL_FALSE, map_flags(mode), 0, (size_t)bytes, 0,
							   NULL, NULL, &code);
	if (blocking)
		evn_queue_wait_ends(q);
	return *host ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueMapBuffer", NULL, code);
}

evn_status evn_unmap(evn_queue *q, evn_buf *b, void *host, evn_error *err)
{
	cl_int code = clEnqueueUnmapMemObject(q->cl, b->cl, host, 0, NULL, NULL);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clEnqueueUnmapMemObject", NULL, code);
}

evn_status evn_pinned_create(evn_pinned *out, evn_queue *q, uint64_t bytes, const char *what, evn_error *err)
{
	void *host;
	*out = (evn_pinned){.bytes = bytes};
	EVN_TRY(evn_buf_create(&out->buf, q->device, bytes, EVN_BUF_PINNED, what, err));
	evn_status s = evn_map(q, out->buf, bytes, EVN_MAP_UPDATE, true, &host, err);
	if (s == EVN_OK)
		out->host = host;
	return s;
}

void evn_pinned_free(evn_pinned *p, evn_queue *q)
{
	if (p->host)
		evn_unmap(q, p->buf, p->host, NULL);
	evn_buf_free(p->buf);
	*p = (evn_pinned){0};
}
