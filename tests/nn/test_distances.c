/* test_distances.c - buckets of distances, against values worked out by hand from Raffel et al. 2020: half of a side
 * has a bucket for each distance; of the others bucket k begins at exact * (128 / exact)^(k / others). */
#include "nn/distances.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct {
	int distance;
	uint32_t bucket;
} pair;

static void check(const pair *pairs, size_t n, uint32_t n_buckets, bool both_ways)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(evn_distance_bucket(pairs[i].distance, n_buckets, both_ways), pairs[i].bucket);
}

/* 8 exact ones on each side; the others begin at 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5 */
static void test_both_ways(void **state)
{
	static const pair pairs[] = {{0, 0},     {-1, 1},    {-7, 7},   {-8, 8},   {-11, 8},  {-12, 9},  {-15, 9},
								 {-16, 10},  {-22, 10},  {-23, 11}, {-32, 12}, {-64, 14}, {-90, 14}, {-91, 15},
								 {-128, 15}, {-999, 15}, {1, 17},   {7, 23},   {8, 24},   {16, 26},  {45, 28},
								 {46, 29},   {127, 31},  {128, 31}, {5000, 31}};
	(void)state;
	check(pairs, sizeof pairs / sizeof *pairs, 32, true);
}

/* 16 exact ones; the others begin at 16, 18.2, 20.7, 23.6, 26.9, 30.6, 34.9, ... */
static void test_backwards(void **state)
{
	static const pair pairs[] = {{0, 0},    {3, 0},     {-1, 1},    {-15, 15}, {-16, 16}, {-18, 16},
								 {-19, 17}, {-21, 18},  {-24, 19},  {-27, 20}, {-31, 21}, {-34, 21},
								 {-35, 22}, {-112, 30}, {-113, 31}, {-900, 31}};
	(void)state;
	check(pairs, sizeof pairs / sizeof *pairs, 32, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_backwards)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
