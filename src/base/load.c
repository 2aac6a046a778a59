/* load.c - how busy other programs keep this machine. Measurements beside other programs are not reliable. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

/* The time of all processors, from Linux. Time that a hypervisor gave to others counts as busy. 0 without the file.
 */
static double busy_s(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
	FILE *f = fopen("/proc/stat", "r");
	if (!f)
		return 0;
	int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
				   &softirq, &steal);
	fclose(f);
	return n == 8 ? (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK) : 0;
}

evn_cpu_time evn_cpu_time_now(void)
{
	evn_cpu_time t = {.at_ns = evn_now_ns(), .busy_s = busy_s()};
	const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
	for (int i = 0; i < 2; i++) {
		struct rusage used;
		if (getrusage(whose[i], &used) == 0)
			t.own_s += seconds(used.ru_utime) + seconds(used.ru_stime);
	}
	return t;
}

double evn_cpu_others(const evn_cpu_time *since)
{
	evn_cpu_time now = evn_cpu_time_now();
	double others_s = (now.busy_s - since->busy_s) - (now.own_s - since->own_s);
	return now.at_ns > since->at_ns ? fmax(0, others_s) / ((double)(now.at_ns - since->at_ns) * 1e-9) : 0;
}

/* Tasks that run or could run at this moment, ours included; 0 without the file. */
static double running_now(void)
{
	char line[256];
	double n = 0;
	FILE *f = fopen("/proc/stat", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "procs_running %lf", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* The load average would remember this program's own last run for a minute. */
double evn_cpu_wanted(void)
{
	enum { SAMPLES = 8 };
	double sum = 0;
	for (int i = 0; i < SAMPLES; i++) {
		sum += fmax(0, running_now() - 1);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return sum / SAMPLES;
}
