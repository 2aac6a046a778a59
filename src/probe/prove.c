/* prove.c - the known answers of a set that is measured, by several processes where one device is proved. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "probe/bench.h"

/* ---- proofs -----------------------------------------------------------------------------------------------------
 */

static bool is_known(void *user, const char *key)
{
	const bench *b = user;
	char line[200];
	snprintf(line, sizeof line, "0\tproved/%s\t", key);
	return strstr(b->known, line) != NULL;
}

static void note_proof(void *user, const char *key) { bench_report(user, 0, 1, "proved/%s", key); }

evn_proof_record bench_record(bench *b)
{
	return (evn_proof_record){.known = is_known, .proved = note_proof, .user = b};
}

evn_status bench_prove(const bench *b, uint32_t rank, const evn_proof_record *record, evn_error *err)
{
	const bench_rank *r = &b->ranks[rank];
	const evn_proof_subject of = {b->model, r->dots, b->workload->kv_cache};
	if (b->n == 1)
		return evn_prove_kernels(r->device, &of, record, err);
	return r->kind == rank && r->is_part ? evn_prove_part(r->device, &of, record, err) : EVN_OK;
}

void bench_prove_other_width(const bench *b, bench_rank *r, const evn_proof_record *record)
{
	const evn_proof_subject of = {b->model, r->other_dots, b->workload->kv_cache};
	evn_error why = {0};
	if (!r->other_dots || b->n > 1)
		return;
	if (evn_prove_kernels(r->device, &of, record, &why) == EVN_OK)
		r->dots |= r->other_dots;
	else
		evn_log(EVN_LOG_INFO, "%s", why.text);
}

/* ---- proofs by several processes --------------------------------------------------------------------------------
 */

#define MOST_WORKERS 4

#define SAVING_S 60 /* of a worker's life at most, after the helper's */

/* Files that the worker inherited stay open, and locked, as long as it lives. */
static void leave_files(void)
{
	const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3 && nothing >= 0; i++)
		dup2(nothing, i);
	for (int i = 3; i < 256; i++)
		if (fcntl(i, F_GETFD) >= 0 && !(fcntl(i, F_GETFD) & FD_CLOEXEC))
			close(i);
}

/* What the worker built is saved once the helper is done and measures no more. Nobody waits for that, so the user has
 * the first text earlier; a worker that dies only costs the next run some time. */
static void save_programs(bench *b, pid_t helper)
{
	close(b->fd);
	setsid();
	leave_files();
	setpriority(PRIO_PROCESS, 0, 19);
	alarm(SAVING_S);
	while (getppid() == helper)
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	bench_free(b);
}

static void work(bench *b, const char *pick, uint32_t part, uint32_t n_parts, pid_t helper)
{
	evn_queue *queues[EVN_MAX_RANKS];
	evn_proof_record record = b->record;
	record.part = part;
	record.n_parts = n_parts;
	record.keeps_programs = true;
	if (bench_open(b, &pick, 1, queues, NULL) == EVN_OK)
		bench_prove(b, 0, &record, NULL);
	save_programs(b, helper);
}

/* Appends what the pipe says to what is known, and repeats it. */
static void listen_to(bench *b, int from)
{
	char text[4096];
	ssize_t n;
	while ((n = read(from, text, sizeof text - 1)) > 0) {
		text[n] = '\0';
		char *known = evn_format("%s%s", b->known, text);
		if (!known)
			return;
		free(b->known);
		b->known = known;
		dprintf(b->fd, "%s", text);
	}
}

void bench_prove_in_parallel(bench *b, const char *pick)
{
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const uint32_t n = cores > MOST_WORKERS ? MOST_WORKERS : cores > 1 ? (uint32_t)cores : 1;
	const pid_t helper = getpid();
	int ends[2];
	if (n == 1 || pipe(ends) != 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (fork() == 0) {
			close(ends[0]);
			close(b->fd);
			b->fd = ends[1];
			work(b, pick, i, n, helper);
			_exit(0);
		}
	close(ends[1]);
	listen_to(b, ends[0]);
	close(ends[0]);
}
