/* fault_layer.c - an OpenCL layer between the loader and the drivers, which makes calls fail, wait or return wrong
 * results (docs/faults.md). The variable FAULT says how, at the time of the call:
 *
 *     build    the compiler refuses everything
 *     alloc    no buffer is made
 *     full     the device whose name contains FAULT_DEVICE has memory for FAULT_BYTES bytes of buffers; those that
 *              were released count, until its context is made anew
 *     launch   no kernel is accepted
 *     read     nothing is read or mapped
 *     gone     every call in the queue fails, as if the device were no longer there
 *     hang     kernels are accepted and wait, with all that is behind them, until fault_release
 *     skip     kernels are accepted and never run
 *     delay    a queue's wait for the events of others takes FAULT_DELAY_US longer
 *     flip     a bit of each of the first FAULT_FLOATS floats is wrong that kernels write whose name begins with
 *              FAULT_KERNEL, in FAULT_TIMES launches (1)
 *     slow     the device seems to take FAULT_FACTOR times as long for a kernel that waits for nothing
 *
 * FAULT_AFTER: the first so many calls go well; of alloc buffers count, of read reads and maps, else launches.
 * FAULT_QUEUE: only calls in the queue with this number fail; queues are counted as they are created. */
#define _POSIX_C_SOURCE 200809L
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 1 << 14 };

static const struct _cl_icd_dispatch *below;
static struct _cl_icd_dispatch ours;
unsigned long fault_launches, fault_buffers, fault_reads, fault_flips; /* so far, of all ranks */
unsigned long fault_queues;                                            /* that were created */
static cl_command_queue queues[MOST];
static cl_event hung[MOST];
static unsigned n_hung;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int fault_is(const char *kind)
{
	const char *fault = getenv("FAULT");
	return fault && !strcmp(fault, kind);
}

static cl_command_queue note_queue(cl_command_queue q)
{
	pthread_mutex_lock(&lock);
	if (q && fault_queues < MOST)
		queues[fault_queues++] = q;
	pthread_mutex_unlock(&lock);
	return q;
}

static cl_command_queue CL_API_CALL create_queue(cl_context context, cl_device_id device,
												 cl_command_queue_properties properties, cl_int *status)
{
	return note_queue(below->clCreateCommandQueue(context, device, properties, status));
}

static cl_command_queue CL_API_CALL create_queue_with(cl_context context, cl_device_id device,
													  const cl_queue_properties *properties, cl_int *status)
{
	return note_queue(below->clCreateCommandQueueWithProperties(context, device, properties, status));
}

/* A driver may give a new queue the address of one that was released: the last one counts. */
static int queue_fails(cl_command_queue q)
{
	const char *asked = getenv("FAULT_QUEUE");
	pthread_mutex_lock(&lock);
	unsigned long i = fault_queues;
	while (i && queues[i - 1] != q)
		i--;
	pthread_mutex_unlock(&lock);
	return !asked || (i && i - 1 == strtoul(asked, NULL, 10));
}

static cl_event never(cl_command_queue q)
{
	cl_context context;
	cl_int status;
	below->clGetCommandQueueInfo(q, CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
	cl_event e = below->clCreateUserEvent(context, &status);
	pthread_mutex_lock(&lock);
	if (n_hung < MOST)
		hung[n_hung++] = e;
	pthread_mutex_unlock(&lock);
	return e;
}

/* What hangs goes on. */
void fault_release(void)
{
	pthread_mutex_lock(&lock);
	while (n_hung)
		below->clSetUserEventStatus(hung[--n_hung], CL_COMPLETE);
	pthread_mutex_unlock(&lock);
}

/* The buffer that each kernel writes is its first argument. */
typedef struct {
	cl_kernel kernel;
	cl_mem output;
} known_output;
static known_output outputs[MOST];
static unsigned n_outputs;

static cl_int CL_API_CALL set_argument(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
	if (index == 0 && size == sizeof(cl_mem) && value) {
		pthread_mutex_lock(&lock);
		unsigned i = 0;
		while (i < n_outputs && outputs[i].kernel != kernel)
			i++;
		if (i < MOST) {
			outputs[i] = (known_output){kernel, *(const cl_mem *)value};
			n_outputs += i == n_outputs;
		}
		pthread_mutex_unlock(&lock);
	}
	return below->clSetKernelArg(kernel, index, size, value);
}

/* By a kernel whose name begins with FAULT_KERNEL. */
static int is_meant(cl_kernel kernel)
{
	char name[64] = "";
	const char *wanted = getenv("FAULT_KERNEL");
	below->clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
	return wanted && !strncmp(name, wanted, strlen(wanted));
}

static unsigned long number_of(const char *variable, unsigned long otherwise)
{
	const char *given = getenv(variable);
	return given ? strtoul(given, NULL, 10) : otherwise;
}

/* Flips a bit of the exponents, which makes 4 times or a quarter, of the first FAULT_FLOATS floats that the kernel
 * wrote. */
static void flip(cl_command_queue queue, cl_kernel kernel)
{
	enum { MOST_FLOATS = 4096 };
	static __thread unsigned char bytes[4 * MOST_FLOATS];
	const unsigned long n = number_of("FAULT_FLOATS", 1);
	const size_t size = 4 * (n < MOST_FLOATS ? n : MOST_FLOATS);
	cl_mem output = NULL;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < n_outputs; i++)
		output = outputs[i].kernel == kernel ? outputs[i].output : output;
	const int now = output && fault_flips++ < number_of("FAULT_TIMES", 1);
	pthread_mutex_unlock(&lock);
	if (!now || below->clEnqueueReadBuffer(queue, output, CL_TRUE, 0, size, bytes, 0, NULL, NULL) != CL_SUCCESS)
		return;
	for (size_t i = 3; i < size; i += 4)
		bytes[i] ^= 0x01;
	below->clEnqueueWriteBuffer(queue, output, CL_TRUE, 0, size, bytes, 0, NULL, NULL);
}

static int waits_for_ranks(cl_kernel kernel)
{
	char name[64] = "";
	below->clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
	return strstr(name, "flags") != NULL;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Behind a kernel that was launched: the queue is empty for as long as the kernel would have taken longer. */
static void slow_down(cl_command_queue queue)
{
	const char *given = getenv("FAULT_FACTOR");
	const double began = now_s();
	below->clFinish(queue);
	const double until = began + (now_s() - began) * (given ? strtod(given, NULL) : 1);
	while (now_s() < until)
		;
}

static unsigned long after(void)
{
	const char *given = getenv("FAULT_AFTER");
	return strtoul(given ? given : "0", NULL, 10);
}

static int is_late(const unsigned long *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED) >= after(); }

static int is_gone(cl_command_queue q) { return fault_is("gone") && is_late(&fault_launches) && queue_fails(q); }

static int read_fails(cl_command_queue q)
{
	const int late = is_late(&fault_reads);
	__atomic_add_fetch(&fault_reads, 1, __ATOMIC_RELAXED);
	return late && fault_is("read") && queue_fails(q);
}

static cl_int CL_API_CALL read_buffer(cl_command_queue queue, cl_mem buffer, cl_bool blocks, size_t offset,
									  size_t size, void *out, cl_uint n, const cl_event *wait, cl_event *event)
{
	if (is_gone(queue))
		return CL_DEVICE_NOT_AVAILABLE;
	if (read_fails(queue))
		return CL_OUT_OF_RESOURCES;
	return below->clEnqueueReadBuffer(queue, buffer, blocks, offset, size, out, n, wait, event);
}

static void *CL_API_CALL map_buffer(cl_command_queue queue, cl_mem buffer, cl_bool blocks, cl_map_flags flags,
									size_t offset, size_t size, cl_uint n, const cl_event *wait, cl_event *event,
									cl_int *status)
{
	const int gone = is_gone(queue);
	if (!gone && !read_fails(queue))
		return below->clEnqueueMapBuffer(queue, buffer, blocks, flags, offset, size, n, wait, event, status);
	if (status)
		*status = gone ? CL_DEVICE_NOT_AVAILABLE : CL_MAP_FAILURE;
	return NULL;
}

static cl_int CL_API_CALL unmap(cl_command_queue queue, cl_mem memory, void *mapped, cl_uint n, const cl_event *wait,
								cl_event *event)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE
						  : below->clEnqueueUnmapMemObject(queue, memory, mapped, n, wait, event);
}

static cl_int CL_API_CALL write_buffer(cl_command_queue queue, cl_mem buffer, cl_bool blocks, size_t offset,
									   size_t size, const void *data, cl_uint n, const cl_event *wait,
									   cl_event *event)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE
						  : below->clEnqueueWriteBuffer(queue, buffer, blocks, offset, size, data, n, wait, event);
}

static cl_int CL_API_CALL copy_buffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_at, size_t to_at,
									  size_t size, cl_uint n, const cl_event *wait, cl_event *event)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE
						  : below->clEnqueueCopyBuffer(queue, from, to, from_at, to_at, size, n, wait, event);
}

static cl_int CL_API_CALL mark(cl_command_queue queue, cl_uint n, const cl_event *wait, cl_event *event)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE : below->clEnqueueMarkerWithWaitList(queue, n, wait, event);
}

static cl_int CL_API_CALL flush(cl_command_queue queue)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE : below->clFlush(queue);
}

static cl_int CL_API_CALL finish(cl_command_queue queue)
{
	return is_gone(queue) ? CL_DEVICE_NOT_AVAILABLE : below->clFinish(queue);
}

/* The context of which the buffers count: the last one of FAULT_DEVICE. */
static cl_context full_context;
static unsigned long full_bytes;

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint n,
											 const cl_device_id *devices,
											 void(CL_CALLBACK *tell)(const char *, const void *, size_t, void *),
											 void *user, cl_int *status)
{
	char name[256] = "";
	const char *wanted = getenv("FAULT_DEVICE");
	cl_context c = below->clCreateContext(properties, n, devices, tell, user, status);
	below->clGetDeviceInfo(devices[0], CL_DEVICE_NAME, sizeof name, name, NULL);
	if (c && wanted && strstr(name, wanted)) {
		full_context = c;
		full_bytes = 0;
	}
	return c;
}

static int is_full(cl_context context, size_t size)
{
	return fault_is("full") && context == full_context &&
		   __atomic_add_fetch(&full_bytes, size, __ATOMIC_RELAXED) > number_of("FAULT_BYTES", 0);
}

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t size, void *host,
										cl_int *status)
{
	const int fails = (is_late(&fault_buffers) && fault_is("alloc")) || is_full(context, size);
	__atomic_add_fetch(&fault_buffers, 1, __ATOMIC_RELAXED);
	if (!fails)
		return below->clCreateBuffer(context, flags, size, host, status);
	if (status)
		*status = CL_MEM_OBJECT_ALLOCATION_FAILURE;
	return NULL;
}

static cl_int CL_API_CALL launch(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
								 const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
								 cl_event *event)
{
	const int fails = is_late(&fault_launches) && queue_fails(queue);
	if (fails && fault_is("gone"))
		return CL_DEVICE_NOT_AVAILABLE;
	if (fails && fault_is("launch"))
		return CL_OUT_OF_RESOURCES;
	__atomic_add_fetch(&fault_launches, 1, __ATOMIC_RELAXED);
	if (fails && fault_is("hang") && !n_wait) {
		const cl_event e = never(queue);
		return below->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, 1, &e, event);
	}
	if (fault_is("skip"))
		return CL_SUCCESS;
	const int slow = fails && fault_is("slow") && !n_wait && !waits_for_ranks(kernel);
	if (slow)
		below->clFinish(queue);
	const cl_int status =
		below->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, n_wait, wait, event);
	if (fails && fault_is("flip") && status == CL_SUCCESS && is_meant(kernel))
		flip(queue, kernel);
	if (slow && status == CL_SUCCESS)
		slow_down(queue);
	return status;
}

static cl_int CL_API_CALL wait_for_events(cl_command_queue queue, cl_uint n, const cl_event *list, cl_event *event)
{
	const char *given = getenv("FAULT_DELAY_US");
	const double until = now_s() + (given ? strtod(given, NULL) * 1e-6 : 0);
	if (is_gone(queue))
		return CL_DEVICE_NOT_AVAILABLE;
	while (n && fault_is("delay") && now_s() < until)
		;
	return below->clEnqueueBarrierWithWaitList(queue, n, list, event);
}

static cl_int CL_API_CALL build(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
								void(CL_CALLBACK *done)(cl_program, void *), void *user)
{
	if (fault_is("build"))
		return CL_BUILD_PROGRAM_FAILURE;
	return below->clBuildProgram(program, n, devices, options, done, user);
}

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *size_out)
{
	const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
	if (what != CL_LAYER_API_VERSION || (value && size < sizeof version))
		return CL_INVALID_VALUE;
	if (value)
		memcpy(value, &version, sizeof version);
	if (size_out)
		*size_out = sizeof version;
	return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint n, const struct _cl_icd_dispatch *target, cl_uint *n_out,
											const struct _cl_icd_dispatch **out)
{
	if (n < sizeof ours / sizeof(void *))
		return CL_INVALID_VALUE;
	below = target;
	ours.clEnqueueNDRangeKernel = launch;
	ours.clEnqueueReadBuffer = read_buffer;
	ours.clEnqueueMapBuffer = map_buffer;
	ours.clEnqueueUnmapMemObject = unmap;
	ours.clEnqueueWriteBuffer = write_buffer;
	ours.clEnqueueCopyBuffer = copy_buffer;
	ours.clEnqueueMarkerWithWaitList = mark;
	ours.clFlush = flush;
	ours.clFinish = finish;
	ours.clCreateContext = create_context;
	ours.clCreateBuffer = create_buffer;
	ours.clSetKernelArg = set_argument;
	ours.clBuildProgram = build;
	ours.clEnqueueBarrierWithWaitList = wait_for_events;
	ours.clCreateCommandQueue = create_queue;
	ours.clCreateCommandQueueWithProperties = create_queue_with;
	*n_out = sizeof ours / sizeof(void *);
	*out = &ours;
	return CL_SUCCESS;
}
