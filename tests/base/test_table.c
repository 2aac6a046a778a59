/* test_table.c - keys of any bytes are found again, of equal keys the first one. No choice of keys makes the table
 * slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"

#define N 1500u
#define WIDTH 24

typedef char text[WIDTH];

static evn_key text_of(const void *texts, uint32_t i)
{
	const char *t = (const char *)texts + (size_t)i * WIDTH;
	return (evn_key){t, strlen(t)};
}

static void test_what_is_added_is_found(void **state)
{
	(void)state;
	text *texts = calloc(N, sizeof *texts), absent;
	evn_table t = {0};
	assert_non_null(texts);
	assert_int_equal(evn_table_find(&t, "x", 1), EVN_NOT_FOUND); /* of no table */
	for (uint32_t i = 0; i < N; i++)                             /* lengths 0 to 20; every third is there twice */
		snprintf(texts[i], WIDTH, "%.*s%u", (int)(i % 17), "abcdefghijklmnopqrst", i % 3 ? i : i / 6 * 6);
	texts[N - 1][0] = 0;
	assert_int_equal(evn_table_create(&t, N, text_of, texts, "texts", NULL), EVN_OK);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t first = 0;
		while (first < i && strcmp(texts[first], texts[i]) != 0)
			first++;
		assert_int_equal(evn_table_add(&t, i), first == i);
		assert_int_equal(evn_table_find(&t, texts[i], strlen(texts[i])), first);
	}
	for (uint32_t i = 0; i < N; i++) {
		snprintf(absent, sizeof absent, "none %u", i);
		assert_int_equal(evn_table_find(&t, absent, strlen(absent)), EVN_NOT_FOUND);
	}
	evn_table_clear(&t);
	evn_table_clear(&t);
	free(texts);
}

/* ---- keys with one and the same FNV-1a hash: of each pair of blocks either may be in a key
 * ------------------------- */

#define STAGES 16
#define BLOCK 4
#define FLOOD (1u << STAGES)
#define LOW_BITS 20
#define SEEN (1u << 16)

typedef struct {
	char blocks[STAGES][2][BLOCK];
	char (*keys)[STAGES * BLOCK];
} flood;

/* Two blocks after which the low bits of the hash are the same. */
static uint64_t collide(uint64_t h, char pair[2][BLOCK])
{
	static uint32_t seen[SEEN][2];
	memset(seen, 0, sizeof seen);
	for (uint32_t block = 1;; block++) {
		const uint64_t next = evn_hash(h, &block, BLOCK) & ((1u << LOW_BITS) - 1);
		uint32_t *at = seen[next % SEEN];
		if (at[0] && at[1] == next) {
			memcpy(pair[0], &at[0], BLOCK);
			memcpy(pair[1], &block, BLOCK);
			return next;
		}
		at[0] = block;
		at[1] = (uint32_t)next;
	}
}

static unsigned n_compared;

static evn_key flood_key(const void *keys, uint32_t i)
{
	n_compared++;
	return (evn_key){(const char *)keys + (size_t)i * STAGES * BLOCK, STAGES * BLOCK};
}

static void test_keys_that_collide_elsewhere_do_not_collide(void **state)
{
	(void)state;
	flood f = {.keys = calloc(FLOOD, sizeof *f.keys)};
	uint64_t h = EVN_HASH_START & ((1u << LOW_BITS) - 1);
	evn_table t;
	assert_non_null(f.keys);
	for (int stage = 0; stage < STAGES; stage++)
		h = collide(h, f.blocks[stage]);
	for (uint32_t i = 0; i < FLOOD; i++)
		for (int stage = 0; stage < STAGES; stage++)
			memcpy(f.keys[i] + stage * BLOCK, f.blocks[stage][i >> stage & 1], BLOCK);
	for (uint32_t i = 0; i < FLOOD; i += 1000)
		assert_true((evn_hash(EVN_HASH_START, f.keys[i], sizeof f.keys[i]) & ((1u << LOW_BITS) - 1)) == h);
	assert_int_equal(evn_table_create(&t, FLOOD, flood_key, f.keys, "keys", NULL), EVN_OK);
	for (uint32_t i = 0; i < FLOOD; i++)
		assert_true(evn_table_add(&t, i));
	assert_in_range(n_compared, FLOOD, 4 * FLOOD); /* FLOOD * FLOOD / 2 if all have the same hash */
	evn_table_clear(&t);
	free(f.keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_added_is_found),
									   cmocka_unit_test(test_keys_that_collide_elsewhere_do_not_collide)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
