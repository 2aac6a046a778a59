/* evener-probe - the program that meets OpenCL drivers first. It may crash or hang in them; the process that started
 * it reads how far it came. Not for people: its output is the report of src/ocl/report.c. */
#include "ocl/found.h"

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

int main(int argc, char **argv)
{
	evn_error err = {0};
	if (argc != 3 || strcmp(argv[1], "devices") != 0) {
		fprintf(stderr, "usage: evener-probe devices LIBRARY (started by evener, one OpenCL driver at a time)\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	crash_plainly();
	int report = keep_stdout();
	if (report < 0) {
		perror("evener-probe");
		return 1;
	}
	if (evn_report_write(report, argv[2], &err) != EVN_OK) {
		dprintf(report, "problem\tfailed: %s\ndone\n", err.text);
		return 1;
	}
	return 0;
}
