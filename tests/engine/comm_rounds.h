/* comm_rounds.h - many all-reduces, compared bit for bit with plain sums. Ranks arrive late by random times, and
 * different ranks have a partial sum. */
#ifndef EVN_TEST_COMM_ROUNDS_H
#define EVN_TEST_COMM_ROUNDS_H

#include "engine/comm_ranks.h"

#include <math.h>
#include <time.h>

#define MOST_FLOATS 4096u
#define ROUNDS 240u
#define PER_STEP 12u

/* The same arguments give the same number on every rank (the mixing function of SplitMix64). */
static inline uint32_t mixed(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t z = a * 0x9e3779b97f4a7c15u + b * 0xd1342543de82ef95u + c * 0x2545f4914f6cdd1du + 1;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32);
}

/* Values of very different magnitudes, so that another order of summation gives other bits. */
static inline float value(uint32_t round, uint32_t rank, uint32_t i)
{
	uint32_t bits = mixed(round, rank, i);
	return ((float)(bits >> 8) - 8388608.0f) / (float)(1u << (bits & 31));
}

static inline uint32_t length_of(uint32_t round) { return 16 * (1 + mixed(round, 99, 0) % (MOST_FLOATS / 16)); }
/* The ranks with a partial sum, among those that take part. */
static inline uint32_t mask_of(uint32_t round, const ranks *r)
{
	const uint32_t part = (uint32_t)r->part, mask = (1 + mixed(round, 98, 0) % ((1u << r->n) - 1)) & part;
	return mask ? mask : part;
}

/* The factor of the sum. */
static inline float scale_of(uint32_t round) { return (float[]){1, -0.375f, 0.1f}[round % 3]; }

/* The rank's partial sum. If it does not contribute, a value that must not be read. */
static inline evn_status write_partial(ranks *r, uint32_t round, uint32_t rank, bool contributes, evn_error *err)
{
	float partial[MOST_FLOATS];
	uint32_t n = length_of(round);
	for (uint32_t i = 0; i < n; i++)
		partial[i] = contributes ? value(round, rank, i) : 1e30f;
	return evn_write(r->queues[rank], evn_comm_partial(r->comm, rank, 0), 0, partial, n * sizeof *partial, err);
}

static inline evn_status run_rounds(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t mask = mask_of(round, r), delay = mixed(round, rank, 97) % 16;
		if (round % PER_STEP == 0)
			evn_comm_step_begin(r->comm, rank);
		if (delay < 4)
			nanosleep(&(struct timespec){0, 100000 * (long)delay}, NULL);
		if (rank == r->fail_rank && round == r->fail_round)
			return evn_fail(err, EVN_ERR_DEVICE, "rank %u fails", rank);
		EVN_TRY(write_partial(r, round, rank, mask >> rank & 1, err));
		evn_sum sum = evn_sum_of(r->x[rank], length_of(round), mask);
		sum.scale = scale_of(round);
		EVN_TRY(evn_comm_all_reduce(r->comm, rank, &sum, err));
		if (round % PER_STEP == PER_STEP - 1)
			EVN_TRY(evn_comm_step_end(r->comm, rank, err));
	}
	return EVN_OK;
}

/* The expected x after all rounds: each round adds the partial sums in rank order, then adds their sum times the
 * scale to x. */
static inline void sum_plainly(float *x, const ranks *r)
{
	memset(x, 0, MOST_FLOATS * sizeof *x);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t mask = mask_of(round, r);
		for (uint32_t i = 0; i < length_of(round); i++) {
			float sum = 0;
			for (uint32_t k = 0; k < r->n; k++)
				if (mask >> k & 1)
					sum += value(round, k, i);
			x[i] = fmaf(scale_of(round), sum, x[i]);
		}
	}
}

static inline void check_x(ranks *r)
{
	evn_error err = {0};
	float want[MOST_FLOATS], got[MOST_FLOATS];
	sum_plainly(want, r);
	for (uint32_t k = 0; k < r->n; k++) {
		if (!(r->part >> k & 1))
			continue;
		require_ok(evn_read(r->queues[k], r->x[k], 0, got, sizeof got, &err));
		for (uint32_t i = 0; i < MOST_FLOATS; i++)
			if (memcmp(&got[i], &want[i], sizeof *got))
				fail_msg("rank %u: x[%u] is %.9g, expected %.9g", k, i, (double)got[i], (double)want[i]);
	}
}

#endif
