/* smoke.c - runs small kernels on a device: the baseline, and one for each optional feature that the driver claims,
 * because some claims are wrong. It runs in the probe program, where a driver may crash. Each step is reported before
 * it begins. */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include "find/found.h"

#include <CL/cl_ext.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdio.h>
#include <string.h>

#define ITEMS 64
#define GROUP 16

/* Every kernel writes 2 x + 1, which is exact in all formats used, plus terms that are zero if the feature works. */
#define KERNEL(body)                                                                                                 \
	"kernel void smoke(global const float *xs, global float *ys)\n"                                                  \
	"{\n\tsize_t i = get_global_id(0);\n\tfloat x = xs[i];\n" body "}\n"

static const char baseline[] = KERNEL("\tys[i] = 2.0f * x + 1.0f;\n");

typedef struct {
	cl_device_id device;
	cl_platform_id platform;
	cl_context context;
	cl_command_queue queue;
	cl_mem in, out;
	const char *name;
	evn_smoke_step_fn step;
	void *user;
	int version; /* 10 * major + minor of OpenCL */
	const char *language;
} smoke;

typedef struct {
	cl_program program;
	cl_kernel kernel;
	const char *call; /* the OpenCL call that failed */
} built;

static void report_step(const smoke *t, const char *doing, const char *what)
{
	char line[320];
	snprintf(line, sizeof line, "%s %s on %s", doing, what, t->name);
	t->step(t->user, line);
}

static bool has_extension(const smoke *t, const char *name) { return evn_cl_has_extension(t->device, name); }

static cl_int build_kernel(const smoke *t, built *b, const char *source, const char *options)
{
	cl_int code;
	*b = (built){.call = "clCreateProgramWithSource"};
	b->program = clCreateProgramWithSource(t->context, 1, &source, NULL, &code);
	if (!b->program)
		return code;
	b->call = "clBuildProgram";
	code = clBuildProgram(b->program, 1, &t->device, options, NULL, NULL);
	if (code != CL_SUCCESS)
		return code;
	b->call = "clCreateKernel";
	b->kernel = clCreateKernel(b->program, "smoke", &code);
	return code;
}

static void free_built(built *b)
{
	if (b->kernel)
		clReleaseKernel(b->kernel);
	if (b->program)
		clReleaseProgram(b->program);
}

static cl_int fill_inputs(const smoke *t)
{
	float xs[ITEMS], ys[ITEMS] = {0};
	for (int i = 0; i < ITEMS; i++)
		xs[i] = 0.25f * (float)i;
	cl_int code = clEnqueueWriteBuffer(t->queue, t->in, CL_TRUE, 0, sizeof xs, xs, 0, NULL, NULL);
	return code != CL_SUCCESS ? code
							  : clEnqueueWriteBuffer(t->queue, t->out, CL_TRUE, 0, sizeof ys, ys, 0, NULL, NULL);
}

static bool expected(const float *ys)
{
	for (int i = 0; i < ITEMS; i++)
		if (ys[i] != 0.5f * (float)i + 1.0f)
			return false;
	return true;
}

static cl_int bind_and_run(const smoke *t, cl_kernel kernel)
{
	const size_t items = ITEMS, group = GROUP;
	cl_int code = clSetKernelArg(kernel, 0, sizeof t->in, &t->in);
	if (code == CL_SUCCESS)
		code = clSetKernelArg(kernel, 1, sizeof t->out, &t->out);
	return code != CL_SUCCESS ? code
							  : clEnqueueNDRangeKernel(t->queue, kernel, 1, NULL, &items, &group, 0, NULL, NULL);
}

/* Builds the kernel, runs it and checks its results. Writes the reason if that fails. */
static bool passes(const smoke *t, const char *what, const char *source, const char *options, char *reason,
				   size_t size)
{
	float ys[ITEMS];
	built b;
	report_step(t, "building", what);
	cl_int code = build_kernel(t, &b, source, options);
	if (code == CL_SUCCESS) {
		report_step(t, "running", what);
		b.call = "clEnqueueWriteBuffer";
		code = fill_inputs(t);
	}
	if (code == CL_SUCCESS) {
		b.call = "clEnqueueNDRangeKernel";
		code = bind_and_run(t, b.kernel);
	}
	if (code == CL_SUCCESS) {
		b.call = "clEnqueueReadBuffer";
		code = clEnqueueReadBuffer(t->queue, t->out, CL_TRUE, 0, sizeof ys, ys, 0, NULL, NULL);
	}
	bool right = code == CL_SUCCESS && expected(ys);
	if (code != CL_SUCCESS)
		snprintf(reason, size, "%s: %s failed with %s (%d)", what, b.call, evn_cl_error_name(code), code);
	else if (!right)
		snprintf(reason, size, "%s: wrong results", what);
	free_built(&b);
	return right;
}

/* ---- abilities that only the kernel language shows ------------------------------------------------------------- */

static bool claims_fp16(const smoke *t) { return has_extension(t, "cl_khr_fp16"); }
static bool claims_fp64(const smoke *t) { return has_extension(t, "cl_khr_fp64"); }
static bool claims_int_dot(const smoke *t) { return has_extension(t, "cl_khr_integer_dot_product"); }

/* True for a CPU device. It runs on the processor that runs this code, so the host's CPUID describes it. Whether the
 * driver's compiler accepts inline assembly is shown by the smoke kernel; if not, no claim was wrong. */
static bool is_cpu(const smoke *t)
{
	cl_device_type type = 0;
	return clGetDeviceInfo(t->device, CL_DEVICE_TYPE, sizeof type, &type, NULL) == CL_SUCCESS &&
		   (type & CL_DEVICE_TYPE_CPU);
}

#if defined(__x86_64__)
static bool has_avx2(const smoke *t) { return is_cpu(t) && __builtin_cpu_supports("avx2"); }

static bool has_avx_vnni(const smoke *t)
{
	unsigned a = 0, b, c, d; /* CPUID leaf 7.1, EAX bit 4; the OS support is that of AVX2 */
	return is_cpu(t) && __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

static bool has_avx512_vnni(const smoke *t) { return is_cpu(t) && __builtin_cpu_supports("avx512vnni"); }
#else
static bool has_avx2(const smoke *t) { return is_cpu(t) && false; }
static bool has_avx_vnni(const smoke *t) { return is_cpu(t) && false; }
static bool has_avx512_vnni(const smoke *t) { return is_cpu(t) && false; }
#endif

/* Compilers that pass PTX on, or know the builtins of AMD's chips. Others are not tried: they might not refuse, but
 * crash, and the driver would be lost. A chip without the instruction refuses to build; then no claim was wrong. */
static bool takes_ptx(const smoke *t) { return has_extension(t, "cl_nv_device_attribute_query"); }
static bool knows_amd(const smoke *t) { return has_extension(t, "cl_amd_device_attribute_query") && !is_cpu(t); }

static bool claims_subgroups(const smoke *t)
{
	cl_uint n = 0;
	if (has_extension(t, "cl_khr_subgroups") || has_extension(t, "cl_intel_subgroups"))
		return true;
	return t->version >= 30 &&
		   clGetDeviceInfo(t->device, CL_DEVICE_MAX_NUM_SUB_GROUPS, sizeof n, &n, NULL) == CL_SUCCESS && n > 0;
}

static const struct {
	unsigned feature;
	bool (*claimed)(const smoke *t);
	const char *what, *source;
} language_kernels[] = {
	{EVN_FEATURE_FP16, claims_fp16, "an fp16 kernel",
	 "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n" KERNEL(
		 "\thalf h = (half)x;\n\tys[i] = (float)(h * (half)2 + (half)1);\n")},
	{EVN_FEATURE_FP64, claims_fp64, "an fp64 kernel",
	 "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" KERNEL(
		 "\tdouble d = x, tiny = (d + 0x1p-40) - d;\n\tys[i] = 2.0f * x + (float)(tiny * 0x1p40);\n")},
	{EVN_FEATURE_SUBGROUPS, claims_subgroups, "a sub-group kernel",
	 "#ifdef cl_khr_subgroups\n#pragma OPENCL EXTENSION cl_khr_subgroups : enable\n#endif\n" KERNEL(
		 "\tint n = (int)get_sub_group_size(), sum = sub_group_reduce_add((int)get_sub_group_local_id());\n"
		 "\tys[i] = 2.0f * x + 1.0f + (float)(2 * sum - n * (n - 1));\n")},
	{EVN_FEATURE_INT_DOT, claims_int_dot, "an integer dot product kernel",
	 KERNEL("\tchar c = (char)i;\n\tchar4 a = (char4)(c, -2, 3, -c), b = (char4)(-4, c, -c, 100);\n"
			"\tint sum = -4 * c - 2 * c - 3 * c - 100 * c;\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(dot(a, b) - sum)\n"
			"\t\t+ (float)(dot_4x8packed_ss_int(as_uint(a), as_uint(b)) - sum);\n")},
	{EVN_FEATURE_AVX2, has_avx2, "a kernel with AVX2",
	 KERNEL("\tint8 pairs, sums, w = (int8)(as_int((uchar4)(100, 1, (uchar)i, 127))), v = (int8)(as_int((char4)(-3, "
			"100, "
			"2, -1))), ones = 0x00010001;\n"
			"\t__asm__(\"vpmaddubsw %2, %1, %0\" : \"=x\"(pairs) : \"x\"(w), \"x\"(v));\n"
			"\t__asm__(\"vpmaddwd %2, %1, %0\" : \"=x\"(sums) : \"x\"(pairs), \"x\"(ones));\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(sums.s7 + sums.s0 - 2 * (-300 + 100 + 2 * (int)i - 127));\n")},
	{EVN_FEATURE_VNNI256, has_avx_vnni, "a kernel with AVX-VNNI",
	 KERNEL("\tint8 acc = 7, w = (int8)(as_int((uchar4)(200, 1, (uchar)i, 255))), v = (int8)(as_int((char4)(-3, 100, "
			"2, -1)));\n"
			"\t__asm__(\"%{vex%} vpdpbusd %2, %1, %0\" : \"+x\"(acc) : \"x\"(w), \"x\"(v));\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(acc.s7 + acc.s0 - 2 * (7 - 600 + 100 + 2 * (int)i - 255));\n")},
	{EVN_FEATURE_VNNI512, has_avx512_vnni, "a kernel with AVX512-VNNI",
	 KERNEL("\tint16 acc = 7, w = (int16)(as_int((uchar4)(200, 1, (uchar)i, 255))), v = (int16)(as_int((char4)(-3, "
			"100, 2, -1)));\n"
			"\t__asm__(\"vpdpbusd %2, %1, %0\" : \"+v\"(acc) : \"v\"(w), \"v\"(v));\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(acc.s0 + acc.sf - 2 * (7 - 600 + 100 + 2 * (int)i - 255));\n")},
	{EVN_FEATURE_DP4A, takes_ptx, "a kernel with dp4a",
	 KERNEL("\tint sum, w = as_int((uchar4)(200, 1, (uchar)i, 255)), v = as_int((char4)(-3, 100, 2, -1));\n"
			"\t__asm__(\"dp4a.u32.s32 %0, %1, %2, %3;\" : \"=r\"(sum) : \"r\"(w), \"r\"(v), \"r\"(7));\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(sum - (7 - 600 + 100 + 2 * (int)i - 255));\n")},
	{EVN_FEATURE_SDOT4, knows_amd, "a kernel with v_dot4",
	 KERNEL("\tint w = as_int((char4)(-100, 1, (char)i, 127)), v = as_int((char4)(-3, 100, 2, -1));\n"
			"\tint sum = __builtin_amdgcn_sdot4(w, v, 7, false);\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(sum - (7 + 300 + 100 + 2 * (int)i - 127));\n")},
	{EVN_FEATURE_SUDOT4, knows_amd, "a kernel with v_dot4 of mixed signs",
	 KERNEL("\tint w = as_int((uchar4)(200, 1, (uchar)i, 255)), v = as_int((char4)(-3, 100, 2, -1));\n"
			"\tint sum = __builtin_amdgcn_sudot4(false, w, true, v, 7, false);\n"
			"\tys[i] = 2.0f * x + 1.0f + (float)(sum - (7 - 600 + 100 + 2 * (int)i - 255));\n")},
};

/* ---- abilities of the host's side ------------------------------------------------------------------------------ */

static bool claims_svm(const smoke *t, cl_device_svm_capabilities what)
{
	cl_device_svm_capabilities svm = 0;
	return t->version >= 20 &&
		   clGetDeviceInfo(t->device, CL_DEVICE_SVM_CAPABILITIES, sizeof svm, &svm, NULL) == CL_SUCCESS &&
		   (svm & what) == what;
}

/* The host and the kernel use the same memory without mapping it. */
static bool svm_passes(const smoke *t)
{
	const size_t items = ITEMS, group = GROUP;
	built b = {0};
	bool right = false;
	report_step(t, "running", "a kernel on shared virtual memory");
	float *memory =
		clSVMAlloc(t->context, CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER, 2 * ITEMS * sizeof(float), 0);
	for (int i = 0; memory && i < ITEMS; i++) {
		memory[i] = 0.25f * (float)i;
		memory[ITEMS + i] = 0;
	}
	if (memory && build_kernel(t, &b, baseline, "") == CL_SUCCESS &&
		clSetKernelArgSVMPointer(b.kernel, 0, memory) == CL_SUCCESS &&
		clSetKernelArgSVMPointer(b.kernel, 1, memory + ITEMS) == CL_SUCCESS &&
		clEnqueueNDRangeKernel(t->queue, b.kernel, 1, NULL, &items, &group, 0, NULL, NULL) == CL_SUCCESS &&
		clFinish(t->queue) == CL_SUCCESS)
		right = expected(memory + ITEMS);
	free_built(&b);
	if (memory)
		clSVMFree(t->context, memory);
	return right;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

static void try_features(const smoke *t, unsigned *claimed, unsigned *features)
{
	for (size_t i = 0; i < sizeof language_kernels / sizeof *language_kernels; i++) {
		char reason[200];
		if (!language_kernels[i].claimed(t))
			continue;
		*claimed |= language_kernels[i].feature & ~(unsigned)EVN_FEATURES_UNCLAIMED;
		if (passes(t, language_kernels[i].what, language_kernels[i].source, t->language, reason, sizeof reason))
			*features |= language_kernels[i].feature;
	}
	if (claims_svm(t, CL_DEVICE_SVM_FINE_GRAIN_BUFFER)) {
		const unsigned atomics =
			claims_svm(t, CL_DEVICE_SVM_FINE_GRAIN_BUFFER | CL_DEVICE_SVM_ATOMICS) ? EVN_FEATURE_SVM_ATOMICS : 0;
		*claimed |= EVN_FEATURE_SVM_FINE | atomics;
		*features |= svm_passes(t) ? EVN_FEATURE_SVM_FINE | atomics : 0;
	}
}

static const char *open_context(smoke *t, cl_int *code)
{
	cl_context_properties on[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)t->platform, 0};
	report_step(t, "creating", "a context and a queue");
	t->context = clCreateContext(on, 1, &t->device, NULL, NULL, code);
	if (!t->context)
		return "clCreateContext";
	t->queue = clCreateCommandQueue(t->context, t->device, 0, code);
	if (!t->queue)
		return "clCreateCommandQueue";
	t->in = clCreateBuffer(t->context, CL_MEM_READ_WRITE, ITEMS * sizeof(float), NULL, code);
	if (t->in)
		t->out = clCreateBuffer(t->context, CL_MEM_READ_WRITE, ITEMS * sizeof(float), NULL, code);
	return t->out ? NULL : "clCreateBuffer";
}

static void close_context(smoke *t)
{
	report_step(t, "releasing", "everything");
	if (t->in)
		clReleaseMemObject(t->in);
	if (t->out)
		clReleaseMemObject(t->out);
	if (t->queue)
		clReleaseCommandQueue(t->queue);
	if (t->context)
		clReleaseContext(t->context);
}

void evn_smoke_test(const evn_found *f, evn_smoke_step_fn step, void *user, evn_probe_device *out)
{
	char name[200];
	int major = 0, minor = 0;
	cl_int code = CL_SUCCESS;
	smoke t = {.device = f->cl_device, .platform = f->cl_platform, .step = step, .user = user, .name = name};
	snprintf(name, sizeof name, "%s %s", f->id, f->name);
	snprintf(out->platform_name, sizeof out->platform_name, "%s", f->platform_name);
	snprintf(out->name, sizeof out->name, "%s", f->name);
	snprintf(out->driver, sizeof out->driver, "%s", f->driver);
	sscanf(f->opencl, "OpenCL %d.%d", &major, &minor);
	t.version = major * 10 + minor;
	t.language = evn_cl_language(f->opencl);
	const char *failed = open_context(&t, &code);
	if (failed)
		snprintf(out->reason, sizeof out->reason, "%s failed with %s (%d)", failed, evn_cl_error_name(code), code);
	else if (passes(&t, "the first kernel", baseline, "", out->reason, sizeof out->reason))
		try_features(&t, &out->claimed, &out->features);
	close_context(&t);
}
