/* fault_layer.c - an OpenCL layer that makes calls fail or return wrong results. The variable FAULT says how, at the
 * time of the call. "skip": kernels are accepted and never run. "build": the compiler refuses everything. "launch":
 * no kernel is accepted after the first FAULT_AFTER. */
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <stdlib.h>
#include <string.h>

static const struct _cl_icd_dispatch *below;
static struct _cl_icd_dispatch ours;
unsigned long fault_launches; /* for tests that make one launch after another */

static int fault_is(const char *kind)
{
	const char *fault = getenv("FAULT");
	return fault && !strcmp(fault, kind);
}

static cl_int CL_API_CALL launch(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
								 const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
								 cl_event *event)
{
	const char *after = getenv("FAULT_AFTER");
	if (fault_is("launch") && fault_launches >= strtoul(after ? after : "0", NULL, 10))
		return CL_OUT_OF_RESOURCES;
	fault_launches++;
	if (fault_is("skip"))
		return CL_SUCCESS;
	return below->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, n_wait, wait, event);
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
	ours.clBuildProgram = build;
	*n_out = sizeof ours / sizeof(void *);
	*out = &ours;
	return CL_SUCCESS;
}
