/* evener-probe - the program that probes OpenCL drivers, and measures devices. It may crash or hang in them; the
 * process that started it reads how far it came. Not for people: its output is read by src/find/probe.c,
 * src/engine/profile.c and src/engine/tune.c. */
#include "base/child.h"
#include "find/found.h"
#include "probe/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A crash must look like one: no core file, and no handler (a sanitizer's) that makes it a plain exit. */
static void crash_plainly(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	setrlimit(RLIMIT_CORE, &(struct rlimit){0});
	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
		signal(fatal[i], SIG_DFL);
}

/* Drivers print on stdout; the report has it for itself. */
static int keep_stdout(void)
{
	int report = fcntl(1, F_DUPFD_CLOEXEC, 3), nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (report < 0 || nothing < 0 || dup2(nothing, 1) < 0)
		return -1;
	close(nothing);
	return report;
}

/* Read where the parent lets stderr through, which is at EVENER_LOG=debug. */
static void print_log_line(void *user, evn_log_level level, const char *text)
{
	(void)user;
	(void)level;
	fprintf(stderr, "evener-probe: %s\n", text);
}

/* "devices LIBRARY": probes the one driver that OCL_ICD_VENDORS names. */
static evn_status probe_driver(int report, const char *library, evn_error *err)
{
	evn_status s = evn_probe_report_write(report, library, err);
	if (s != EVN_OK)
		dprintf(report, "problem\tfailed: %s\ndone\n", err->text);
	return s;
}

/* "measure PURPOSE,ACTIVATIONS,KV_CACHE,MODE,TIME_SLICED,N_ADAPTERS KNOWN MODEL ADAPTER... DEVICE...": what these
 * devices do together. KNOWN: the file of what is known, MODEL: a file; "-": none. */
static evn_status measure_devices(int report, int argc, char **argv, evn_error *err)
{
	int purpose = 0, activations = 0, kv_cache = 0, mode = 0, time_sliced = 0, n_adapters = 0;
	if (sscanf(argv[2], "%d,%d,%d,%d,%d,%d", &purpose, &activations, &kv_cache, &mode, &time_sliced, &n_adapters) !=
			6 ||
		mode < 0 || mode >= EVN_MEASURE_MODES || n_adapters < 0 || n_adapters >= argc - 5)
		return evn_fail(err, EVN_ERR_USAGE, "%s: not a workload", argv[2]);
	if (time_sliced)
		evn_timeslice_join();
	const char *const *rest = (const char *const *)(argv + 5);
	const evn_measure_request request = {
		.known = strcmp(argv[3], "-") ? argv[3] : NULL,
		.model = {.path = strcmp(argv[4], "-") ? argv[4] : NULL,
				  .adapters = rest,
				  .n_adapters = (uint32_t)n_adapters},
		.workload = {(evn_purpose)purpose, (evn_activation_type)activations, (evn_kv_cache)kv_cache},
		.mode = (evn_measure_mode)mode,
		.picks = rest + n_adapters,
		.n = (uint32_t)(argc - 5 - n_adapters)};
	return evn_profile_measure(report, &request, err);
}

/* "gemm DEVICE PARAMETERS SHAPE...": how fast these parameters are, see probe.h. */
static evn_status try_gemm(int report, int argc, char **argv, evn_error *err)
{
	return evn_tune_trial_run(report, argv[2], argv[3], (const char *const *)(argv + 4), (uint32_t)(argc - 4), err);
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	bool devices = argc == 3 && !strcmp(argv[1], "devices"), measures = argc > 5 && !strcmp(argv[1], "measure"),
		 gemm = argc > 4 && !strcmp(argv[1], "gemm"), selects = argc > 2 && !strcmp(argv[1], "select");
	if (!devices && !measures && !gemm && !selects) {
		fprintf(stderr, "usage: evener-probe devices LIBRARY | select ITEM... | measure WORKLOAD KNOWN MODEL "
						"[ADAPTER...] DEVICE... | "
						"gemm DEVICE PARAMETERS SHAPE... (evener starts it)\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	evn_set_log(print_log_line, NULL);
	crash_plainly();
	int report = keep_stdout();
	if (report < 0) {
		perror("evener-probe");
		return 1;
	}
	if (selects) /* what is wrong with the items is said by the parent */
		return evn_selection_write(report, (const char *const *)(argv + 2), (size_t)argc - 2, NULL) != EVN_OK;
	evn_status s = devices ? probe_driver(report, argv[2], &err)
				   : gemm  ? try_gemm(report, argc, argv, &err)
						   : measure_devices(report, argc, argv, &err);
	if (s != EVN_OK)
		fprintf(stderr, "evener-probe: %s\n", err.text);
	return s == EVN_OK ? 0 : 1;
}
