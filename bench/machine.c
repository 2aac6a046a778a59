/* machine.c - measures the peaks of the machine without OpenCL: bytes read from memory and f32 multiply-adds per
 * second, with one thread for each core. Prints "read_gbs N" and "fma_gflops N", medians of several rounds.
 * cc -O3 -march=native -pthread */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, MAX_THREADS = 256, ACCUMULATORS = 12, LANES = 16 };
#define BUFFER_BYTES ((size_t)1 << 30) /* of all threads: beyond caches of hundreds of MiB */
#define FMA_STEPS 4000000u

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));

typedef struct {
	uint64_t *words; /* this thread's part */
	size_t n_words;
	pthread_barrier_t *start;
	double began[2 * ROUNDS], ended[2 * ROUNDS];
	uint64_t sum; /* stops the compiler from removing the work */
	float product;
} worker;

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_all(worker *w)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (size_t i = 0; i < w->n_words; i += 4) {
		a += w->words[i];
		b += w->words[i + 1];
		c += w->words[i + 2];
		d += w->words[i + 3];
	}
	w->sum += a + b + c + d;
}

/* Independent chains: more than the latency times the number of units. */
static void multiply_add(worker *w)
{
	vector x[ACCUMULATORS], factor, term;
	for (int k = 0; k < LANES; k++) {
		factor[k] = 0.5f + w->product * 1e-30f;
		term[k] = (float)k;
	}
	for (int i = 0; i < ACCUMULATORS; i++)
		x[i] = term + (float)i;
	for (uint32_t step = 0; step < FMA_STEPS; step++)
#pragma GCC unroll 12
		for (int i = 0; i < ACCUMULATORS; i++)
			x[i] = x[i] * factor + term;
	for (int i = 0; i < ACCUMULATORS; i++)
		for (int k = 0; k < LANES; k++)
			w->product += x[i][k];
}

static void *work(void *arg)
{
	worker *w = arg;
	memset(w->words, 1, w->n_words * sizeof *w->words); /* touched first by the thread that reads them */
	for (int round = 0; round < 2 * ROUNDS; round++) {
		pthread_barrier_wait(w->start);
		w->began[round] = now_s();
		if (round < ROUNDS)
			read_all(w);
		else
			multiply_add(w);
		w->ended[round] = now_s();
	}
	return NULL;
}

/* The time from the start of the first thread to the end of the last. The working threads read the clock: another
 * thread would share a core with one of them and read it late. */
static double seconds_of(const worker *workers, size_t n, int round)
{
	double began = workers[0].began[round], ended = workers[0].ended[round];
	for (size_t i = 1; i < n; i++) {
		began = workers[i].began[round] < began ? workers[i].began[round] : began;
		ended = workers[i].ended[round] > ended ? workers[i].ended[round] : ended;
	}
	return ended - began;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *seconds)
{
	qsort(seconds, ROUNDS, sizeof *seconds, compare);
	return seconds[ROUNDS / 2];
}

int main(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (size_t)cores;
	size_t n_words = BUFFER_BYTES / sizeof(uint64_t) / n / 4 * 4;
	static worker workers[MAX_THREADS];
	pthread_t threads[MAX_THREADS];
	pthread_barrier_t start;
	double seconds[2 * ROUNDS];
	pthread_barrier_init(&start, NULL, (unsigned)n);
	for (size_t i = 0; i < n; i++) {
		uint64_t *words = malloc(n_words * sizeof *words);
		workers[i] = (worker){.words = words, .n_words = n_words, .start = &start};
		if (!words || pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
			fprintf(stderr, "machine: no memory or no thread for core %zu of %zu\n", i, n);
			return 1;
		}
	}
	double kept = 0;
	for (size_t i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		kept += (double)workers[i].product + (double)workers[i].sum;
	}
	for (int round = 0; round < 2 * ROUNDS; round++)
		seconds[round] = seconds_of(workers, n, round);
	double operations = 2.0 * LANES * ACCUMULATORS * FMA_STEPS * (double)n;
	printf("read_gbs %.2f\nfma_gflops %.1f\n", (double)(n * n_words * sizeof(uint64_t)) / median(seconds) * 1e-9,
		   operations / median(seconds + ROUNDS) * 1e-9);
	return kept == 0; /* never true: the sums are of ones */
}
