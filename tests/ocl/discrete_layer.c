/* discrete_layer.c - an OpenCL layer that makes a CPU device of PoCL behave like a graphics card with its own memory.
 *
 * - The device says that it is a GPU without unified memory, and has no shared virtual memory.
 * - Transfers between it and the host (read, write, map, unmap, copies from other devices' buffers) take 10 us +
 *   bytes / 12 GB/s. A transfer waits in the queue, not on the host. Each direction carries one transfer at a time.
 * - A kernel may use only buffers in the device's own memory: none that the host allocated or has mapped, and none
 *   that another device used last. A real driver would copy such a buffer behind our back, or read it over the bus.
 * - Memory is taken when a command uses a buffer first, as lazy drivers do, and may be too small.
 *
 * The variables are read when the layer is loaded:
 *   DISCRETE_DEVICE      the index of the device among PoCL's (POCL_DEVICES="pthread pthread" makes two); default 0
 *   DISCRETE_LATENCY_US, DISCRETE_GBS   of the link
 *   DISCRETE_MEMORY, DISCRETE_MAX_ALLOC, DISCRETE_FREE   bytes: of all memory, of one buffer, what AMD's query says
 *   DISCRETE_UNIFIED     1: only the type of the device changes, as if it were an integrated GPU
 *   DISCRETE_REPORT      1: at the end, the blocking transfers and the bytes in each direction go to stderr
 *   DISCRETE_GROUP       what CL_KERNEL_WORK_GROUP_SIZE says of every kernel */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FREE_MEMORY_AMD 0x4039
#define MOST_MEMS 8192u /* a power of two */
#define MOST_KERNELS 1024u
#define MOST_ARGS 48u
#define MOST_MAPS 256u
#define SPIN_NS 60000u /* the kernel of the system wakes a thread that much too late */

/* For tests: the calls that blocked the host, and the errors that the layer has made. */
unsigned long discrete_blocking, discrete_errors;

static const struct _cl_icd_dispatch *below;
static struct _cl_icd_dispatch ours;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards everything below */
static pthread_mutex_t link_lock[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static cl_device_id discrete;

typedef struct {
	cl_mem mem;
	bool touched;      /* memory was taken for it */
	cl_device_id last; /* the device that used it last */
} mem_state;

typedef struct {
	cl_kernel kernel;
	cl_mem args[MOST_ARGS];
} kernel_state;

typedef struct {
	cl_mem mem;
	void *host;
	size_t bytes;
	cl_map_flags flags;
} mapping;

static mem_state mems[MOST_MEMS];
static kernel_state kernels[MOST_KERNELS];
static mapping maps[MOST_MAPS];
static size_t taken_bytes;

static double setting(const char *name, double otherwise)
{
	const char *text = getenv(name);
	return text ? strtod(text, NULL) : otherwise;
}

static cl_int refuse(const char *why, cl_int code)
{
	discrete_errors++;
	fprintf(stderr, "discrete_layer: %s\n", why);
	return code;
}

/* True of the device that is simulated, if it has its own memory. */
static bool is_card(cl_device_id device) { return device == discrete && !setting("DISCRETE_UNIFIED", 0); }

/* ---- what is known of buffers and kernels; the lock is held ---------------------------------------------------- */

static mem_state *state_of(cl_mem mem, bool add)
{
	size_t i = ((uintptr_t)mem >> 4) % MOST_MEMS;
	for (size_t n = 0; n < MOST_MEMS; n++, i = (i + 1) % MOST_MEMS) {
		if (mems[i].mem == mem)
			return &mems[i];
		if (!mems[i].mem && add) {
			mems[i].mem = mem;
			return &mems[i];
		}
		if (!mems[i].mem)
			return NULL;
	}
	return NULL;
}

static kernel_state *kernel_of(cl_kernel kernel)
{
	size_t i = ((uintptr_t)kernel >> 4) % MOST_KERNELS;
	for (size_t n = 0; n < MOST_KERNELS; n++, i = (i + 1) % MOST_KERNELS) {
		if (!kernels[i].kernel)
			kernels[i].kernel = kernel;
		if (kernels[i].kernel == kernel)
			return &kernels[i];
	}
	abort();
}

static cl_mem root_of(cl_mem mem)
{
	cl_mem parent = NULL;
	below->clGetMemObjectInfo(mem, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof parent, &parent, NULL);
	return parent ? parent : mem;
}

static size_t bytes_of(cl_mem mem)
{
	size_t bytes = 0;
	below->clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof bytes, &bytes, NULL);
	return bytes;
}

static bool of_host(cl_mem mem)
{
	cl_mem_flags flags = 0;
	below->clGetMemObjectInfo(mem, CL_MEM_FLAGS, sizeof flags, &flags, NULL);
	return flags & (CL_MEM_ALLOC_HOST_PTR | CL_MEM_USE_HOST_PTR);
}

static bool is_mapped(cl_mem root)
{
	for (size_t i = 0; i < MOST_MAPS; i++)
		if (maps[i].mem && root_of(maps[i].mem) == root)
			return true;
	return false;
}

static cl_device_id device_of(cl_command_queue queue)
{
	cl_device_id device = NULL;
	below->clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL);
	return device;
}

/* A command on `device` uses the buffer. *moves: it was in another device's memory. */
static cl_int use(cl_device_id device, cl_mem mem, bool *moves)
{
	mem_state *s = state_of(root_of(mem), false);
	cl_int code = CL_SUCCESS;
	*moves = false;
	if (!s)
		return code;
	if (is_card(device) && !s->touched && !of_host(s->mem)) {
		const size_t bytes = bytes_of(s->mem);
		if ((double)(taken_bytes + bytes) > setting("DISCRETE_MEMORY", 1e18))
			return CL_MEM_OBJECT_ALLOCATION_FAILURE;
		taken_bytes += bytes;
		s->touched = true;
	}
	*moves = s->last && s->last != device && (is_card(s->last) || is_card(device));
	s->last = device;
	return code;
}

static unsigned long n_travels[2], travelled[2]; /* only for people, so not guarded */

__attribute__((destructor)) static void report(void)
{
	if (setting("DISCRETE_REPORT", 0))
		fprintf(
			stderr,
			"discrete_layer: %lu blocking transfers; to the device %lu (%lu bytes), to the host %lu (%lu bytes)\n",
			discrete_blocking, n_travels[0], travelled[0], n_travels[1], travelled[1]);
}

/* ---- the link -------------------------------------------------------------------------------------------------- */

typedef enum { TO_DEVICE, TO_HOST } direction;

typedef struct {
	uint64_t ns;
	direction to;
} delay;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void CL_CALLBACK travel(void *arg)
{
	const delay *d = arg;
	pthread_mutex_lock(&link_lock[d->to]);
	const uint64_t until = now_ns() + d->ns;
	if (d->ns > 2 * SPIN_NS)
		nanosleep(
			&(struct timespec){(time_t)((d->ns - SPIN_NS) / 1000000000u), (long)((d->ns - SPIN_NS) % 1000000000u)},
			NULL);
	while (now_ns() < until)
		;
	pthread_mutex_unlock(&link_lock[d->to]);
}

/* Enqueues the time that the bytes need, before the transfer itself. */
static cl_int enqueue_travel(cl_command_queue queue, size_t bytes, direction to, cl_uint n_wait, const cl_event *wait)
{
	delay d = {(uint64_t)(setting("DISCRETE_LATENCY_US", 10) * 1e3 + (double)bytes / setting("DISCRETE_GBS", 12)),
			   to};
	return below->clEnqueueNativeKernel(queue, travel, &d, sizeof d, 0, NULL, NULL, n_wait, wait, NULL);
}

/* A transfer between the host and a buffer on this queue. */
static cl_int begin_transfer(cl_command_queue queue, cl_mem mem, size_t bytes, direction to, cl_bool blocking,
							 cl_uint n_wait, const cl_event *wait)
{
	bool moves;
	pthread_mutex_lock(&lock);
	const cl_device_id device = device_of(queue);
	cl_int code = use(device, mem, &moves);
	discrete_blocking += is_card(device) && blocking;
	pthread_mutex_unlock(&lock);
	if (code != CL_SUCCESS || !is_card(device) || of_host(root_of(mem)))
		return code;
	n_travels[to]++;
	travelled[to] += bytes;
	return enqueue_travel(queue, bytes, to, n_wait, wait);
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

static cl_int CL_API_CALL read_buffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset,
									  size_t bytes, void *to, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
	cl_int code = begin_transfer(queue, mem, bytes, TO_HOST, blocking, n_wait, wait);
	return code != CL_SUCCESS
			   ? code
			   : below->clEnqueueReadBuffer(queue, mem, blocking, offset, bytes, to, n_wait, wait, event);
}

static cl_int CL_API_CALL write_buffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset,
									   size_t bytes, const void *from, cl_uint n_wait, const cl_event *wait,
									   cl_event *event)
{
	cl_int code = begin_transfer(queue, mem, bytes, TO_DEVICE, blocking, n_wait, wait);
	return code != CL_SUCCESS
			   ? code
			   : below->clEnqueueWriteBuffer(queue, mem, blocking, offset, bytes, from, n_wait, wait, event);
}

static cl_int CL_API_CALL copy_buffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset,
									  size_t to_offset, size_t bytes, cl_uint n_wait, const cl_event *wait,
									  cl_event *event)
{
	bool from_moves, to_moves = false;
	pthread_mutex_lock(&lock);
	cl_int code = use(device_of(queue), from, &from_moves);
	if (code == CL_SUCCESS)
		code = use(device_of(queue), to, &to_moves);
	pthread_mutex_unlock(&lock);
	if (code == CL_SUCCESS && (from_moves || to_moves)) /* the driver moves whole buffers */
		code =
			enqueue_travel(queue, (from_moves ? bytes_of(root_of(from)) : 0) + (to_moves ? bytes_of(root_of(to)) : 0),
						   TO_DEVICE, n_wait, wait);
	return code != CL_SUCCESS
			   ? code
			   : below->clEnqueueCopyBuffer(queue, from, to, from_offset, to_offset, bytes, n_wait, wait, event);
}

static cl_int CL_API_CALL fill_buffer(cl_command_queue queue, cl_mem mem, const void *pattern, size_t pattern_bytes,
									  size_t offset, size_t bytes, cl_uint n_wait, const cl_event *wait,
									  cl_event *event)
{
	bool moves;
	pthread_mutex_lock(&lock);
	cl_int code = use(device_of(queue), mem, &moves);
	pthread_mutex_unlock(&lock);
	return code != CL_SUCCESS
			   ? code
			   : below->clEnqueueFillBuffer(queue, mem, pattern, pattern_bytes, offset, bytes, n_wait, wait, event);
}

static void *CL_API_CALL map_buffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, cl_map_flags flags,
									size_t offset, size_t bytes, cl_uint n_wait, const cl_event *wait,
									cl_event *event, cl_int *code)
{
	const size_t travels = flags & CL_MAP_READ ? bytes : 0;
	*code = begin_transfer(queue, mem, travels, TO_HOST, blocking, n_wait, wait);
	if (*code != CL_SUCCESS)
		return NULL;
	void *host = below->clEnqueueMapBuffer(queue, mem, blocking, flags, offset, bytes, n_wait, wait, event, code);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < MOST_MAPS && host; i++)
		if (!maps[i].mem) {
			maps[i] = (mapping){mem, host, bytes, flags};
			break;
		}
	pthread_mutex_unlock(&lock);
	return host;
}

static cl_int CL_API_CALL unmap(cl_command_queue queue, cl_mem mem, void *host, cl_uint n_wait, const cl_event *wait,
								cl_event *event)
{
	size_t travels = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < MOST_MAPS; i++)
		if (maps[i].mem == mem && maps[i].host == host) {
			travels = maps[i].flags & ~(cl_map_flags)CL_MAP_READ ? maps[i].bytes : 0;
			maps[i] = (mapping){0};
			break;
		}
	pthread_mutex_unlock(&lock);
	cl_int code = begin_transfer(queue, mem, travels, TO_DEVICE, CL_FALSE, n_wait, wait);
	return code != CL_SUCCESS ? code : below->clEnqueueUnmapMemObject(queue, mem, host, n_wait, wait, event);
}

static cl_int CL_API_CALL set_arg(cl_kernel kernel, cl_uint i, size_t size, const void *value)
{
	cl_mem mem = NULL;
	pthread_mutex_lock(&lock);
	if (value && size == sizeof mem)
		memcpy(&mem, value, sizeof mem);
	if (i < MOST_ARGS)
		kernel_of(kernel)->args[i] = mem && state_of(mem, false) ? mem : NULL;
	pthread_mutex_unlock(&lock);
	return below->clSetKernelArg(kernel, i, size, value);
}

static cl_int check_args(cl_device_id device, const kernel_state *k)
{
	for (size_t i = 0; i < MOST_ARGS; i++) {
		bool moves;
		if (!k->args[i])
			continue;
		const cl_mem root = root_of(k->args[i]);
		cl_int code = use(device, root, &moves);
		if (code != CL_SUCCESS)
			return code;
		if (!is_card(device))
			continue;
		if (of_host(root))
			return refuse("a kernel uses memory of the host", CL_INVALID_OPERATION);
		if (is_mapped(root))
			return refuse("a kernel uses a buffer that is mapped", CL_INVALID_OPERATION);
		if (moves)
			return refuse("a kernel uses a buffer that another device used last", CL_INVALID_OPERATION);
	}
	return CL_SUCCESS;
}

static cl_int CL_API_CALL launch(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
								 const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
								 cl_event *event)
{
	pthread_mutex_lock(&lock);
	const cl_device_id device = device_of(queue);
	cl_int code = check_args(device, kernel_of(kernel));
	pthread_mutex_unlock(&lock);
	size_t items = 1;
	for (cl_uint i = 0; i < dims && local; i++)
		items *= local[i];
	if (code == CL_SUCCESS && device == discrete && (double)items > setting("DISCRETE_GROUP", 1e9))
		code = refuse("a work-group is larger than the kernel allows", CL_INVALID_WORK_GROUP_SIZE);
	return code != CL_SUCCESS
			   ? code
			   : below->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, n_wait, wait, event);
}

/* ---- buffers and kernels come and go --------------------------------------------------------------------------- */

static cl_mem remember(cl_mem mem)
{
	pthread_mutex_lock(&lock);
	mem_state *s = mem ? state_of(mem, true) : NULL;
	if (s)
		*s = (mem_state){.mem = mem};
	pthread_mutex_unlock(&lock);
	return mem;
}

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host,
										cl_int *code)
{
	return remember(below->clCreateBuffer(context, flags, bytes, host, code));
}

static cl_mem CL_API_CALL create_part(cl_mem mem, cl_mem_flags flags, cl_buffer_create_type type, const void *region,
									  cl_int *code)
{
	return remember(below->clCreateSubBuffer(mem, flags, type, region, code));
}

static cl_int CL_API_CALL release_mem(cl_mem mem)
{
	cl_uint users = 0;
	pthread_mutex_lock(&lock);
	below->clGetMemObjectInfo(mem, CL_MEM_REFERENCE_COUNT, sizeof users, &users, NULL);
	mem_state *s = state_of(mem, false);
	if (s && s->touched && users == 1) {
		taken_bytes -= bytes_of(mem);
		s->touched = false;
	}
	pthread_mutex_unlock(&lock);
	return below->clReleaseMemObject(mem);
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *code)
{
	cl_kernel k = below->clCreateKernel(program, name, code);
	pthread_mutex_lock(&lock);
	if (k)
		memset(kernel_of(k)->args, 0, sizeof kernels[0].args);
	pthread_mutex_unlock(&lock);
	return k;
}

/* ---- what the device says of itself ---------------------------------------------------------------------------- */

static cl_int CL_API_CALL get_devices(cl_platform_id platform, cl_device_type type, cl_uint n, cl_device_id *devices,
									  cl_uint *n_out)
{
	char name[64] = "";
	cl_uint found = 0;
	cl_int code = below->clGetDeviceIDs(platform, type, n, devices, &found);
	const cl_uint index = (cl_uint)setting("DISCRETE_DEVICE", 0);
	below->clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL);
	if (code == CL_SUCCESS && devices && strstr(name, "Portable Computing Language") && index < found && index < n)
		discrete = devices[index];
	if (n_out)
		*n_out = found;
	return code;
}

static cl_int answer(const void *is, size_t is_bytes, size_t bytes, void *value, size_t *bytes_out)
{
	if (value && bytes < is_bytes)
		return CL_INVALID_VALUE;
	if (value)
		memcpy(value, is, is_bytes);
	if (bytes_out)
		*bytes_out = is_bytes;
	return CL_SUCCESS;
}

static cl_int CL_API_CALL device_info(cl_device_id device, cl_device_info what, size_t bytes, void *value,
									  size_t *bytes_out)
{
	const cl_bool no = CL_FALSE;
	const cl_device_type gpu = CL_DEVICE_TYPE_GPU;
	const cl_device_svm_capabilities none = 0;
	const cl_ulong memory = (cl_ulong)setting("DISCRETE_MEMORY", 0),
				   most = (cl_ulong)setting("DISCRETE_MAX_ALLOC", 0);
	const size_t free_kib = (size_t)(setting("DISCRETE_FREE", 0) / 1024);
	if (device == discrete && what == CL_DEVICE_TYPE)
		return answer(&gpu, sizeof gpu, bytes, value, bytes_out);
	if (device == discrete && setting("DISCRETE_UNIFIED", 0))
		return below->clGetDeviceInfo(device, what, bytes, value, bytes_out);
	if (device == discrete && what == CL_DEVICE_HOST_UNIFIED_MEMORY)
		return answer(&no, sizeof no, bytes, value, bytes_out);
	if (device == discrete && what == CL_DEVICE_SVM_CAPABILITIES)
		return answer(&none, sizeof none, bytes, value, bytes_out);
	if (device == discrete && what == CL_DEVICE_GLOBAL_MEM_SIZE && memory)
		return answer(&memory, sizeof memory, bytes, value, bytes_out);
	if (device == discrete && what == CL_DEVICE_MAX_MEM_ALLOC_SIZE && most)
		return answer(&most, sizeof most, bytes, value, bytes_out);
	if (device == discrete && what == FREE_MEMORY_AMD && free_kib)
		return answer(&free_kib, sizeof free_kib, bytes, value, bytes_out);
	return below->clGetDeviceInfo(device, what, bytes, value, bytes_out);
}

static cl_int CL_API_CALL group_info(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what,
									 size_t bytes, void *value, size_t *bytes_out)
{
	const size_t most = (size_t)setting("DISCRETE_GROUP", 0);
	if (most && what == CL_KERNEL_WORK_GROUP_SIZE && (device == discrete || !device))
		return answer(&most, sizeof most, bytes, value, bytes_out);
	return below->clGetKernelWorkGroupInfo(kernel, device, what, bytes, value, bytes_out);
}

/* ---- the layer ------------------------------------------------------------------------------------------------- */

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *size_out)
{
	const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
	return what == CL_LAYER_API_VERSION ? answer(&version, sizeof version, size, value, size_out) : CL_INVALID_VALUE;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint n, const struct _cl_icd_dispatch *target, cl_uint *n_out,
											const struct _cl_icd_dispatch **out)
{
	if (n < sizeof ours / sizeof(void *))
		return CL_INVALID_VALUE;
	below = target;
	ours.clGetDeviceIDs = get_devices;
	ours.clGetDeviceInfo = device_info;
	ours.clCreateBuffer = create_buffer;
	ours.clCreateSubBuffer = create_part;
	ours.clReleaseMemObject = release_mem;
	ours.clCreateKernel = create_kernel;
	ours.clSetKernelArg = set_arg;
	ours.clGetKernelWorkGroupInfo = group_info;
	ours.clEnqueueReadBuffer = read_buffer;
	ours.clEnqueueWriteBuffer = write_buffer;
	ours.clEnqueueCopyBuffer = copy_buffer;
	ours.clEnqueueFillBuffer = fill_buffer;
	ours.clEnqueueMapBuffer = map_buffer;
	ours.clEnqueueUnmapMemObject = unmap;
	ours.clEnqueueNDRangeKernel = launch;
	*n_out = sizeof ours / sizeof(void *);
	*out = &ours;
	return CL_SUCCESS;
}
