/* device.c - what an OpenCL driver and its device cost and can do, without evener: for scripts/gpu-check.
 *   device                 lists the devices, a line each: number and name
 *   device NUMBER TEST     prints "name value" lines. Tests: info, rates, launches, transfers, spin, dot-nvidia,
 * dot-amd, dot-khr, loads Each test is a process of its own, because a driver may crash or hang in it. cc -O2
 * device.c -lOpenCL */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_PLATFORMS = 32, MOST_DEVICES = 64, MOST_ROUNDS = 101, LAUNCHES = 1000 };
static cl_device_id device;
static cl_context context;
static cl_command_queue queue;

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static void check(cl_int code, const char *call)
{
	if (code == CL_SUCCESS)
		return;
	printf("failed %s %d\n", call, code);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, compare);
	return values[n / 2];
}

static const char *text_of(cl_device_id d, cl_device_info what)
{
	static char text[8192];
	if (clGetDeviceInfo(d, what, sizeof text, text, NULL) != CL_SUCCESS)
		return "-";
	return text;
}

static uint64_t number_of(cl_device_info what)
{
	uint64_t value = 0; /* drivers write 4 or 8 bytes; all machines here are little-endian */
	return clGetDeviceInfo(device, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

/* Builds the program. NULL, with the first line of the log printed, if the driver refuses it. */
static cl_program try_build(const char *source, const char *options)
{
	static char log[16384];
	cl_int code;
	cl_program p = clCreateProgramWithSource(context, 1, &source, NULL, &code);
	check(code, "clCreateProgramWithSource");
	if (clBuildProgram(p, 1, &device, options, NULL, NULL) == CL_SUCCESS)
		return p;
	clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
	for (char *c = log; *c; c++)
		*c = *c == '\n' ? ' ' : *c;
	printf("refused %.300s\n", log);
	return NULL;
}

static cl_kernel kernel_of(const char *source, const char *name)
{
	cl_int code = CL_BUILD_PROGRAM_FAILURE;
	cl_program p = try_build(source, "");
	cl_kernel k = p ? clCreateKernel(p, name, &code) : NULL;
	check(code, "clCreateKernel");
	return k;
}

static cl_mem buffer_of(size_t bytes, cl_mem_flags place)
{
	cl_int code;
	cl_mem b = clCreateBuffer(context, CL_MEM_READ_WRITE | place, bytes, NULL, &code);
	check(code, "clCreateBuffer");
	return b;
}

static void set(cl_kernel k, cl_uint i, size_t size, const void *value)
{
	check(clSetKernelArg(k, i, size, value), "clSetKernelArg");
}

static void launch(cl_kernel k, size_t items, size_t group, cl_event *event)
{
	check(clEnqueueNDRangeKernel(queue, k, 1, NULL, &items, group ? &group : NULL, 0, NULL, event), "launch");
}

/* The median host time of a launch that is waited for, of at most so many rounds; fewer where they take seconds. */
static double time_launch(cl_kernel k, size_t items, size_t group, int rounds)
{
	double us[MOST_ROUNDS], spent = 0;
	int n = 0;
	for (int i = -1; i < rounds && (i < 1 || spent < 2e6); i++) {
		const double began = now_us();
		launch(k, items, group, NULL);
		check(clFinish(queue), "clFinish");
		n = i < 0 ? 0 : i;
		us[n] = now_us() - began;
		spent += us[n];
	}
	return median(us, (size_t)n + 1);
}

/* ---- info ------------------------------------------------------------------------------------------------------ */

static void info(void)
{
	static const struct {
		const char *name;
		cl_device_info what;
	} texts[] = {{"name", CL_DEVICE_NAME},
				 {"vendor", CL_DEVICE_VENDOR},
				 {"driver", CL_DRIVER_VERSION},
				 {"opencl", CL_DEVICE_VERSION},
				 {"opencl_c", CL_DEVICE_OPENCL_C_VERSION},
				 {"extensions", CL_DEVICE_EXTENSIONS}},
	  numbers[] = {{"compute_units", CL_DEVICE_MAX_COMPUTE_UNITS},
				   {"clock_mhz", CL_DEVICE_MAX_CLOCK_FREQUENCY},
				   {"memory_bytes", CL_DEVICE_GLOBAL_MEM_SIZE},
				   {"max_alloc_bytes", CL_DEVICE_MAX_MEM_ALLOC_SIZE},
				   {"cache_bytes", CL_DEVICE_GLOBAL_MEM_CACHE_SIZE},
				   {"local_bytes", CL_DEVICE_LOCAL_MEM_SIZE},
				   {"max_group", CL_DEVICE_MAX_WORK_GROUP_SIZE},
				   {"unified_memory", CL_DEVICE_HOST_UNIFIED_MEMORY},
				   {"timer_ns", CL_DEVICE_PROFILING_TIMER_RESOLUTION},
				   {"svm_capabilities", CL_DEVICE_SVM_CAPABILITIES},
				   {"nvidia_compute_major", 0x4000},
				   {"nvidia_compute_minor", 0x4001},
				   {"nvidia_warp", 0x4003},
				   {"amd_free_memory_kib", 0x4039},
				   {"amd_simds_per_unit", 0x4040},
				   {"amd_wavefront", 0x4043}};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		printf("%s %s\n", texts[i].name, text_of(device, texts[i].what));
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		printf("%s %llu\n", numbers[i].name, (unsigned long long)number_of(numbers[i].what));
}

/* ---- rates ----------------------------------------------------------------------------------------------------- */

static const char rate_source[] =
	"kernel void copy(global uint4 *to, global const uint4 *from) { to[get_global_id(0)] = from[get_global_id(0)]; "
	"}\n"
	"kernel void look(global uint *to, global const uint4 *from, uint each, uint start, uint step) {\n"
	"  uint4 sum = 0;\n"
	"  from += (size_t)get_global_id(0) * start;\n"
	"  for (uint i = 0; i < each; i++) sum += from[(size_t)i * step];\n"
	"  uint s = sum.x ^ sum.y ^ sum.z ^ sum.w; if (s == 0x12345678) to[0] = s; }\n"
	"kernel void multiply(global float *to, float a, float b) {\n"
	"  float4 x[8];\n"
	"  for (int k = 0; k < 8; k++) x[k] = (float4)((float)get_global_id(0) + k);\n"
	"  for (int i = 0; i < 1024; i++)\n"
	"    for (int k = 0; k < 8; k++) x[k] = mad(x[k], (float4)a, (float4)b);\n"
	"  float4 sum = 0; for (int k = 0; k < 8; k++) sum += x[k];\n"
	"  if (sum.x + sum.y + sum.z + sum.w == 12345.678f) to[0] = sum.x; }\n";

static void rates(void)
{
	const uint64_t most = number_of(CL_DEVICE_MAX_MEM_ALLOC_SIZE), eighth = number_of(CL_DEVICE_GLOBAL_MEM_SIZE) / 8;
	const uint64_t room = most < eighth ? most : eighth, wanted = (uint64_t)512 << 20;
	const size_t bytes = (size_t)(room < wanted ? room : wanted) / 4096 * 4096;
	const size_t group = number_of(CL_DEVICE_MAX_WORK_GROUP_SIZE) < 256 ? 64 : 256;
	const int is_cpu = (number_of(CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU) != 0;
	const size_t readers = number_of(CL_DEVICE_MAX_COMPUTE_UNITS) * 2048, workers = readers;
	const cl_uint n = (cl_uint)(bytes / 16), zero = 0;
	const float a = 0.5f, b = 1.0f;
	cl_mem from = buffer_of(bytes, 0), to = buffer_of(bytes, 0);
	cl_kernel copy = kernel_of(rate_source, "copy"), look = kernel_of(rate_source, "look"),
			  multiply = kernel_of(rate_source, "multiply");
	check(clEnqueueFillBuffer(queue, from, &zero, sizeof zero, 0, bytes, 0, NULL, NULL), "clEnqueueFillBuffer");
	set(copy, 0, sizeof to, &to);
	set(copy, 1, sizeof from, &from);
	set(look, 0, sizeof to, &to);
	set(look, 1, sizeof from, &from);
	/* items side by side read words side by side, except on a CPU, where each reads on */
	const cl_uint each = n / (cl_uint)readers, start = is_cpu ? each : 1, step = is_cpu ? 1 : (cl_uint)readers;
	set(look, 2, sizeof each, &each);
	set(look, 3, sizeof start, &start);
	set(look, 4, sizeof step, &step);
	set(multiply, 0, sizeof to, &to);
	set(multiply, 1, sizeof a, &a);
	set(multiply, 2, sizeof b, &b);
	printf("buffer_bytes %zu\n", bytes);
	printf("copy_gbs %.1f\n", 2e-3 * (double)bytes / time_launch(copy, n, group, 9));
	printf("read_gbs %.1f\n", 1e-3 * 16 * (double)each * (double)readers / time_launch(look, readers, group, 9));
	printf("mad_gflops %.1f\n", 1e-3 * 2 * 32 * 1024 * (double)workers / time_launch(multiply, workers, group, 9));
}

/* ---- launches -------------------------------------------------------------------------------------------------- */

/* Enqueues 1000 small kernels on a queue. Prints the time until they are enqueued and until they have run, for each.
 */
static void launch_many(const char *name, cl_kernel k, cl_command_queue_properties properties, int keeps_events)
{
	static cl_event events[LAUNCHES];
	double enqueued[9], done[9];
	cl_int code;
	queue = clCreateCommandQueue(context, device, properties, &code);
	check(code, "clCreateCommandQueue");
	for (int round = -1; round < 9; round++) {
		const double began = now_us();
		for (int i = 0; i < LAUNCHES; i++)
			launch(k, 256, 64, keeps_events ? &events[i] : NULL);
		enqueued[round < 0 ? 0 : round] = now_us() - began;
		check(clFinish(queue), "clFinish");
		done[round < 0 ? 0 : round] = now_us() - began;
		for (int i = 0; i < LAUNCHES && keeps_events; i++)
			clReleaseEvent(events[i]);
	}
	printf("%s_enqueue_us %.2f\n", name, median(enqueued, 9) / LAUNCHES);
	printf("%s_run_us %.2f\n", name, median(done, 9) / LAUNCHES);
}

static const char add_source[] = "kernel void add(global uint *to) { to[get_global_id(0)] += 1; }";

static void launches(void)
{
	cl_mem to = buffer_of(4096, 0);
	cl_kernel k = kernel_of(add_source, "add");
	set(k, 0, sizeof to, &to);
	launch_many("plain", k, 0, 0);
	launch_many("profiling", k, CL_QUEUE_PROFILING_ENABLE, 0);
	launch_many("profiling_events", k, CL_QUEUE_PROFILING_ENABLE, 1);
	printf("launch_and_wait_us %.2f\n", time_launch(k, 256, 64, MOST_ROUNDS));
}

/* ---- transfers ------------------------------------------------------------------------------------------------- */

static void map_once(cl_mem b, size_t bytes, cl_map_flags mode)
{
	cl_int code;
	void *host = clEnqueueMapBuffer(queue, b, CL_TRUE, mode, 0, bytes, 0, NULL, NULL, &code);
	check(code, "clEnqueueMapBuffer");
	if (mode != CL_MAP_READ)
		memset(host, 1, bytes);
	check(clEnqueueUnmapMemObject(queue, b, host, 0, NULL, NULL), "clEnqueueUnmapMemObject");
	check(clFinish(queue), "clFinish");
}

static void transfer(const char *place, cl_mem_flags flags, size_t bytes, char *data)
{
	static const char *const names[] = {"write", "read", "map_to_read", "map_to_write"};
	cl_mem b = buffer_of(bytes, flags);
	for (int kind = 0; kind < 4; kind++) {
		double us[MOST_ROUNDS];
		for (int i = -3; i < MOST_ROUNDS; i++) {
			const double began = now_us();
			if (kind == 0)
				check(clEnqueueWriteBuffer(queue, b, CL_TRUE, 0, bytes, data, 0, NULL, NULL), "write");
			else if (kind == 1)
				check(clEnqueueReadBuffer(queue, b, CL_TRUE, 0, bytes, data, 0, NULL, NULL), "read");
			else
				map_once(b, bytes, kind == 2 ? CL_MAP_READ : CL_MAP_WRITE_INVALIDATE_REGION);
			us[i < 0 ? 0 : i] = now_us() - began;
		}
		printf("%s_%s_%zu_us %.2f\n", place, names[kind], bytes, median(us, MOST_ROUNDS));
	}
	clReleaseMemObject(b);
}

static void transfers(void)
{
	static const size_t sizes[] = {16u << 10, 512u << 10, 16u << 20};
	char *data = calloc(1, sizes[2]);
	if (!data)
		exit(1);
	for (size_t i = 0; i < 3; i++) {
		transfer("device", 0, sizes[i], data);
		transfer("pinned", CL_MEM_ALLOC_HOST_PTR, sizes[i], data);
	}
	free(data);
}

/* ---- spin ------------------------------------------------------------------------------------------------------ */

static const char spin_source[] = "kernel void spin(global volatile uint *flag, global uint *out, uint n) {\n"
								  "  uint i = 0; while (i < n && atomic_add(flag, 0u) == 0u) i++; out[0] = i; }\n";

/* One item looks at a flag that nobody sets. The number of looks is doubled until they take 10 ms. */
static void spin_in(const char *place, cl_mem_flags flags)
{
	const cl_uint zero = 0;
	cl_mem flag = buffer_of(4096, flags), out = buffer_of(4096, 0);
	cl_kernel k = kernel_of(spin_source, "spin");
	double us = 0;
	cl_uint n = 64;
	check(clEnqueueFillBuffer(queue, flag, &zero, sizeof zero, 0, 4096, 0, NULL, NULL), "clEnqueueFillBuffer");
	set(k, 0, sizeof flag, &flag);
	set(k, 1, sizeof out, &out);
	for (; us < 10000 && n < 1u << 28; n *= 2) {
		set(k, 2, sizeof n, &n);
		us = time_launch(k, 1, 1, 1);
	}
	printf("%s_spin_us %.0f\n%s_look_ns %.1f\n", place, us, place, 1e3 * us / (n / 2));
}

static void spin(void)
{
	spin_in("device", 0);
	spin_in("pinned", CL_MEM_ALLOC_HOST_PTR);
}

/* ---- byte dot products ----------------------------------------------------------------------------------------- */

/* 1 x 5 - 2 x 6 + 3 x 7 - 4 x 8 + 100 */
static void dot(const char *source, const char *options)
{
	const cl_uint a = 0xfc03fe01u, b = 0x08070605u;
	cl_int sum = 0, code;
	cl_program p = try_build(source, options);
	printf("accepted %d\n", p != NULL);
	if (!p)
		return;
	cl_kernel k = clCreateKernel(p, "dot4", &code);
	check(code, "clCreateKernel");
	cl_mem out = buffer_of(4096, 0);
	set(k, 0, sizeof out, &out);
	set(k, 1, sizeof a, &a);
	set(k, 2, sizeof b, &b);
	launch(k, 1, 1, NULL);
	check(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof sum, &sum, 0, NULL, NULL), "read");
	printf("right %d\n", sum == 82);
}

static void dot_nvidia(void)
{
	dot("kernel void dot4(global int *out, uint a, uint b) { int r;\n"
		"  __asm__(\"dp4a.s32.s32 %0, %1, %2, %3;\" : \"=r\"(r) : \"r\"(a), \"r\"(b), \"r\"(100)); out[0] = r; }",
		"");
}

static void dot_amd(void)
{
	dot("kernel void dot4(global int *out, uint a, uint b) {\n"
		"  out[0] = __builtin_amdgcn_sdot4((int)a, (int)b, 100, false); }",
		"");
}

static void dot_khr(void)
{
	printf("extension %d\n", strstr(text_of(device, CL_DEVICE_EXTENSIONS), "cl_khr_integer_dot_product") != NULL);
	dot("#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable\n"
		"kernel void dot4(global int *out, uint a, uint b) { out[0] = 100 + dot_4x8packed_ss_int(a, b); }",
		"-cl-std=CL3.0");
}

/* ---- loads ----------------------------------------------------------------------------------------------------- */

static size_t count(const char *text, const char *word)
{
	size_t n = 0;
	for (const char *at = text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

/* Where a driver's binary is PTX: the widths of the loads that vload16 becomes, and those of an aligned uint4. */
static void loads(void)
{
	static const char *const sources[] = {"kernel void f(global int *to, global const int *from) { int16 v = "
										  "vload16(get_global_id(0), from); to[get_global_id(0)] "
										  "= v.s0 + v.s7 * v.sf; }",
										  "kernel void f(global uint *to, global const uint4 *from) { uint4 v = "
										  "from[get_global_id(0)]; to[get_global_id(0)] = "
										  "v.x + v.y * v.z ^ v.w; }"};
	static const char *const names[] = {"vload16", "uint4"};
	for (size_t i = 0; i < 2; i++) {
		size_t bytes = 0;
		cl_program p = try_build(sources[i], "");
		if (!p || clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS || !bytes)
			continue;
		char *binary = calloc(1, bytes + 1);
		if (!binary || clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) != CL_SUCCESS)
			exit(1);
		printf("%s_is_ptx %d\n", names[i], strstr(binary, ".target sm_") != NULL);
		printf("%s_v4 %zu\n%s_v2 %zu\n%s_loads %zu\n", names[i], count(binary, "ld.global.v4"), names[i],
			   count(binary, "ld.global.v2"), names[i], count(binary, "ld.global"));
		free(binary);
	}
}

/* ---- the program ----------------------------------------------------------------------------------------------- */

static cl_uint find_devices(cl_device_id *out)
{
	cl_platform_id platforms[MOST_PLATFORMS];
	cl_uint n_platforms = 0, n = 0;
	if (clGetPlatformIDs(MOST_PLATFORMS, platforms, &n_platforms) != CL_SUCCESS)
		return 0;
	for (cl_uint i = 0; i < n_platforms && i < MOST_PLATFORMS && n < MOST_DEVICES; i++) {
		cl_uint more = 0;
		if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, MOST_DEVICES - n, out + n, &more) == CL_SUCCESS)
			n += more < MOST_DEVICES - n ? more : MOST_DEVICES - n;
	}
	return n;
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {{"info", info},           {"rates", rates},     {"launches", launches},
			 {"transfers", transfers}, {"spin", spin},       {"dot-nvidia", dot_nvidia},
			 {"dot-amd", dot_amd},     {"dot-khr", dot_khr}, {"loads", loads}};

int main(int argc, char **argv)
{
	cl_device_id devices[MOST_DEVICES];
	const cl_uint n = find_devices(devices);
	cl_int code;
	if (argc < 3) {
		for (cl_uint i = 0; i < n; i++) {
			device = devices[i];
			printf("%u %s %s\n", i, number_of(CL_DEVICE_TYPE) & CL_DEVICE_TYPE_GPU ? "gpu" : "other",
				   text_of(device, CL_DEVICE_NAME));
		}
		return 0;
	}
	const unsigned long at = strtoul(argv[1], NULL, 10);
	if (at >= n) {
		fprintf(stderr, "device %s: there are %u\n", argv[1], n);
		return 2;
	}
	device = devices[at];
	setvbuf(stdout, NULL, _IOLBF, 0);
	context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
	check(code, "clCreateContext");
	queue = clCreateCommandQueue(context, device, 0, &code);
	check(code, "clCreateCommandQueue");
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (!strcmp(argv[2], tests[i].name)) {
			tests[i].run();
			return 0;
		}
	fprintf(stderr, "%s: no such test\n", argv[2]);
	return 2;
}
