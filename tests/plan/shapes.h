/* shapes.h - model shapes and repeatable pseudo-random numbers for the tests of the plan. */
#ifndef TESTS_PLAN_SHAPES_H
#define TESTS_PLAN_SHAPES_H

#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}

static inline uint32_t random_in(uint64_t *state, uint32_t least, uint32_t most)
{
	return least + (uint32_t)(next_random(state) % (most - least + 1));
}

/* SmolLM2-135M as Q4_1 (20 bytes per 32 weights) with an 8-bit vocabulary (34 per 32) and an f32 KV cache. */
static inline evn_plan_shape small_shape(uint32_t context)
{
	return (evn_plan_shape){.n_layers = 30,
							.dim = 576,
							.ff_dim = 1536,
							.n_heads = 9,
							.n_kv_heads = 3,
							.head_dim = 64,
							.vocab = 49152,
							.ff_grain = 32,
							.vocab_grain = 16,
							.head_bytes = 2 * 64 * 576 / 32 * 20,
							.kv_head_bytes = 2 * 64 * 576 / 32 * 20,
							.ff_unit_lines = 3,
							.ff_unit_bytes = 3 * 576 / 32 * 20,
							.vocab_row_bytes = 576 / 32 * 34,
							.kv_cache_bytes = (uint64_t)context * 2 * 64 * 4,
							.fixed_bytes = MIB};
}

static inline evn_plan_shape random_shape(uint64_t *state)
{
	static const uint32_t grains[] = {1, 2, 16, 32, 256};
	evn_plan_shape s = {.n_layers = random_in(state, 1, 80),
						.dim = 64 * random_in(state, 1, 64),
						.ff_dim = random_in(state, 1, 8192),
						.n_kv_heads = random_in(state, 1, 8),
						.head_dim = 32 * random_in(state, 1, 4),
						.vocab = random_in(state, 1, 150000),
						.ff_grain = grains[random_in(state, 0, 4)],
						.vocab_grain = grains[random_in(state, 0, 4)],
						.ff_unit_lines = 3,
						.fixed_bytes = random_in(state, 0, 1 << 20)};
	s.n_heads = s.n_kv_heads * random_in(state, 1, 9);
	s.head_bytes = (uint64_t)2 * s.head_dim * s.dim * 5 / 8;
	s.kv_head_bytes = s.head_bytes;
	s.ff_unit_bytes = (uint64_t)3 * s.dim * 5 / 8;
	s.vocab_row_bytes = (uint64_t)s.dim * 17 / 16;
	s.kv_cache_bytes = (uint64_t)random_in(state, 0, 8192) * 2 * s.head_dim * 4;
	return s;
}

/* Shares of which some are 0 and some far apart, but never all 0. */
static inline uint32_t random_shares(double *shares, uint64_t *state)
{
	uint32_t n = random_in(state, 1, EVN_MAX_RANKS);
	double sum = 0;
	for (uint32_t r = 0; r < n; r++) {
		uint32_t kind = random_in(state, 0, 5);
		shares[r] = kind == 0 ? 0 : kind == 1 ? random_in(state, 1, 9) : random_in(state, 1, 1000000) * 1e-6;
		shares[r] *= kind == 2 ? 1e-3 : 1;
		sum += shares[r];
	}
	if (sum <= 0)
		shares[n - 1] = 1;
	return n;
}

#endif
