/* call_layer.c - an OpenCL layer that counts the calls of a program and refuses one of them. Calls that release
 * something always reach the driver, as they may not fail. */
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <string.h>

unsigned long call_count, call_refused = -1ul; /* the calls so far; the number of the one that is refused */
char call_name[64];                            /* of that one */
static const struct _cl_icd_dispatch *below;
static struct _cl_icd_dispatch ours;

static int is_refused(const char *name)
{
	if (__atomic_fetch_add(&call_count, 1, __ATOMIC_SEQ_CST) != call_refused)
		return 0;
	strncpy(call_name, name, sizeof call_name - 1);
	return 1;
}

#define STATUS(name, parameters, arguments)                                                                          \
	static cl_int CL_API_CALL our_##name parameters                                                                  \
	{                                                                                                                \
		return is_refused(#name) ? CL_OUT_OF_HOST_MEMORY : below->name arguments;                                    \
	}
#define OBJECT(type, name, parameters, arguments)                                                                    \
	static type CL_API_CALL our_##name parameters                                                                    \
	{                                                                                                                \
		if (!is_refused(#name))                                                                                      \
			return below->name arguments;                                                                            \
		if (status)                                                                                                  \
			*status = CL_OUT_OF_HOST_MEMORY;                                                                         \
		return NULL;                                                                                                 \
	}
#define QUERY(name, object, what)                                                                                    \
	STATUS(name, (object o, what w, size_t size, void *value, size_t *size_out), (o, w, size, value, size_out))

QUERY(clGetPlatformInfo, cl_platform_id, cl_platform_info)
QUERY(clGetDeviceInfo, cl_device_id, cl_device_info)
QUERY(clGetProgramInfo, cl_program, cl_program_info)
QUERY(clGetKernelInfo, cl_kernel, cl_kernel_info)
QUERY(clGetEventInfo, cl_event, cl_event_info)
QUERY(clGetEventProfilingInfo, cl_event, cl_profiling_info)
STATUS(clGetDeviceIDs, (cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *out, cl_uint *n_out),
	   (p, t, n, out, n_out))
STATUS(clCreateSubDevices,
	   (cl_device_id d, const cl_device_partition_property *how, cl_uint n, cl_device_id *out, cl_uint *n_out),
	   (d, how, n, out, n_out))
STATUS(clGetProgramBuildInfo,
	   (cl_program p, cl_device_id d, cl_program_build_info w, size_t size, void *value, size_t *size_out),
	   (p, d, w, size, value, size_out))
STATUS(clGetKernelWorkGroupInfo,
	   (cl_kernel k, cl_device_id d, cl_kernel_work_group_info w, size_t size, void *value, size_t *size_out),
	   (k, d, w, size, value, size_out))
OBJECT(cl_context, clCreateContext,
	   (const cl_context_properties *p, cl_uint n, const cl_device_id *d,
		void(CL_CALLBACK *tell)(const char *, const void *, size_t, void *), void *user, cl_int *status),
	   (p, n, d, tell, user, status))
OBJECT(cl_command_queue, clCreateCommandQueue,
	   (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *status), (c, d, p, status))
OBJECT(cl_mem, clCreateBuffer, (cl_context c, cl_mem_flags f, size_t size, void *host, cl_int *status),
	   (c, f, size, host, status))
OBJECT(cl_mem, clCreateSubBuffer,
	   (cl_mem m, cl_mem_flags f, cl_buffer_create_type t, const void *region, cl_int *status),
	   (m, f, t, region, status))
OBJECT(cl_program, clCreateProgramWithSource,
	   (cl_context c, cl_uint n, const char **text, const size_t *sizes, cl_int *status), (c, n, text, sizes, status))
OBJECT(cl_program, clCreateProgramWithBinary,
	   (cl_context c, cl_uint n, const cl_device_id *d, const size_t *sizes, const unsigned char **data, cl_int *each,
		cl_int *status),
	   (c, n, d, sizes, data, each, status))
OBJECT(cl_kernel, clCreateKernel, (cl_program p, const char *name, cl_int *status), (p, name, status))
STATUS(clBuildProgram,
	   (cl_program p, cl_uint n, const cl_device_id *d, const char *options,
		void(CL_CALLBACK *done)(cl_program, void *), void *user),
	   (p, n, d, options, done, user))
STATUS(clSetKernelArg, (cl_kernel k, cl_uint i, size_t size, const void *value), (k, i, size, value))
STATUS(clSetKernelArgSVMPointer, (cl_kernel k, cl_uint i, const void *value), (k, i, value))
STATUS(clSetMemObjectDestructorCallback, (cl_mem m, void(CL_CALLBACK *tell)(cl_mem, void *), void *user),
	   (m, tell, user))
STATUS(clFlush, (cl_command_queue q), (q))
STATUS(clFinish, (cl_command_queue q), (q))
STATUS(clWaitForEvents, (cl_uint n, const cl_event *list), (n, list))
STATUS(clEnqueueNDRangeKernel,
	   (cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
		const size_t *local, cl_uint n, const cl_event *wait, cl_event *event),
	   (q, k, dims, offset, global, local, n, wait, event))
STATUS(clEnqueueReadBuffer,
	   (cl_command_queue q, cl_mem m, cl_bool blocks, size_t at, size_t size, void *out, cl_uint n,
		const cl_event *wait, cl_event *event),
	   (q, m, blocks, at, size, out, n, wait, event))
STATUS(clEnqueueWriteBuffer,
	   (cl_command_queue q, cl_mem m, cl_bool blocks, size_t at, size_t size, const void *in, cl_uint n,
		const cl_event *wait, cl_event *event),
	   (q, m, blocks, at, size, in, n, wait, event))
STATUS(clEnqueueCopyBuffer,
	   (cl_command_queue q, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t size, cl_uint n,
		const cl_event *wait, cl_event *event),
	   (q, from, to, from_at, to_at, size, n, wait, event))
STATUS(clEnqueueFillBuffer,
	   (cl_command_queue q, cl_mem m, const void *pattern, size_t pattern_size, size_t at, size_t size, cl_uint n,
		const cl_event *wait, cl_event *event),
	   (q, m, pattern, pattern_size, at, size, n, wait, event))
OBJECT(void *, clEnqueueMapBuffer,
	   (cl_command_queue q, cl_mem m, cl_bool blocks, cl_map_flags flags, size_t at, size_t size, cl_uint n,
		const cl_event *wait, cl_event *event, cl_int *status),
	   (q, m, blocks, flags, at, size, n, wait, event, status))
STATUS(clEnqueueUnmapMemObject,
	   (cl_command_queue q, cl_mem m, void *mapped, cl_uint n, const cl_event *wait, cl_event *event),
	   (q, m, mapped, n, wait, event))
STATUS(clEnqueueMarkerWithWaitList, (cl_command_queue q, cl_uint n, const cl_event *wait, cl_event *event),
	   (q, n, wait, event))
STATUS(clEnqueueBarrierWithWaitList, (cl_command_queue q, cl_uint n, const cl_event *wait, cl_event *event),
	   (q, n, wait, event))

static void *CL_API_CALL our_clSVMAlloc(cl_context c, cl_svm_mem_flags flags, size_t size, cl_uint alignment)
{
	return is_refused("clSVMAlloc") ? NULL : below->clSVMAlloc(c, flags, size, alignment);
}

#define OURS(name) ours.name = our_##name
static void fill_table(void)
{
	OURS(clGetPlatformInfo);
	OURS(clGetDeviceInfo);
	OURS(clGetProgramInfo);
	OURS(clGetKernelInfo);
	OURS(clGetEventInfo);
	OURS(clGetEventProfilingInfo);
	OURS(clGetDeviceIDs);
	OURS(clCreateSubDevices);
	OURS(clGetProgramBuildInfo);
	OURS(clGetKernelWorkGroupInfo);
	OURS(clCreateContext);
	OURS(clCreateCommandQueue);
	OURS(clCreateBuffer);
	OURS(clCreateSubBuffer);
	OURS(clCreateProgramWithSource);
	OURS(clCreateProgramWithBinary);
	OURS(clCreateKernel);
	OURS(clBuildProgram);
	OURS(clSetKernelArg);
	OURS(clSetKernelArgSVMPointer);
	OURS(clSetMemObjectDestructorCallback);
	OURS(clFlush);
	OURS(clFinish);
	OURS(clWaitForEvents);
	OURS(clEnqueueNDRangeKernel);
	OURS(clEnqueueReadBuffer);
	OURS(clEnqueueWriteBuffer);
	OURS(clEnqueueCopyBuffer);
	OURS(clEnqueueFillBuffer);
	OURS(clEnqueueMapBuffer);
	OURS(clEnqueueUnmapMemObject);
	OURS(clEnqueueMarkerWithWaitList);
	OURS(clEnqueueBarrierWithWaitList);
	OURS(clSVMAlloc);
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
	fill_table();
	*n_out = sizeof ours / sizeof(void *);
	*out = &ours;
	return CL_SUCCESS;
}
