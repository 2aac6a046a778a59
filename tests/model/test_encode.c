/* test_encode.c - the encoders of weight formats: known blocks of ggml, the error on normal numbers, and values at
 * the ends of the range. */
#include "base/base.h"
#include "model/quant.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define N 4096
#define BYTES (N * 4)

/* Blocks that gguf-py 0.19 makes of these values, whose products with a scale are no ties. It has no encoder of
 * NVFP4: that block is of its functions for scales and the nearest of its values. */
static const struct {
	const char *format, *hex;
} known[] = {
	{"Q4_0", "80b49df36ad148ae158cf359c037ae047be2"},
	{"Q4_1", "933414c0730c952ec851ea731da63fc862fb841d"},
	{"Q5_0", "80b0a552ab9519f7c4a27f5d2a08d5b3806e3b19e6c4"},
	{"Q5_1", "6d3014c05aad546ae6083b5d80a2d5f72a4c7f91c4e6193b"},
	{"MXFP4", "7e9de52ad651be630ce539c651ad641bd6"},
	{"NVFP4", "2c2c2d2c6da67b27e15ec46de94fd36ea57b17e0b46c06e937d25da527e15ec46d06f937"},
	{"Q8_0", "8924b94be073089d30c457ec7f14a93cd063f88d20b547dc6f04992cc053e87b10a5"},
};

static void blocks_are_those_of_ggml(void **state)
{
	(void)state;
	float x[64];
	for (int i = 0; i < 64; i++)
		x[i] = (float)((i * 37 + 11) % 64 - 29) * 0.0703125f;
	for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
		const evn_quant *q = evn_quant_by_name(known[k].format);
		uint8_t block[64];
		char hex[129] = "";
		evn_quantize(q, x, block, q->block_len);
		for (uint32_t i = 0; i < q->block_bytes; i++)
			snprintf(hex + 2 * i, 3, "%02x", block[i]);
		assert_string_equal(hex, known[k].hex);
	}
}

/* Encodes and decodes n <= N values. */
static void there_and_back(const evn_quant *q, const float *x, float *back, uint64_t n)
{
	static uint8_t blocks[BYTES];
	evn_quantize(q, x, blocks, n);
	evn_dequantize(q, blocks, back, n);
}

/* The root of the mean squared error of normal numbers, in hundredths of their deviation. Half a bit costs much more
 * than the allowed 2 %. */
static const struct {
	const char *format;
	double error;
} errors[] = {
	{"F32", 0},      {"F16", 0.021}, {"BF16", 0.162}, {"Q8_0", 0.53},   {"Q6_K", 1.79},  {"Q5_K", 3.53},
	{"Q5_1", 3.77},  {"Q5_0", 4.22}, {"Q4_K", 7.15},  {"Q4_1", 7.74},   {"Q4_0", 8.75},  {"IQ4_NL", 7.64},
	{"IQ4_XS", 7.7}, {"Q3_K", 15.1}, {"Q2_K", 27.3},  {"MXFP4", 11.55}, {"NVFP4", 9.51},
};

static void errors_are_those_of_the_number_of_bits(void **state)
{
	(void)state;
	static float x[N], back[N];
	evn_random r = {1};
	for (int i = 0; i < N; i++)
		x[i] = (float)evn_random_normal(&r);
	size_t found = 0;
	for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
		double squares = 0;
		there_and_back(evn_quant_by_name(errors[k].format), x, back, N);
		for (int i = 0; i < N; i++)
			squares += ((double)x[i] - (double)back[i]) * ((double)x[i] - (double)back[i]);
		const double error = 100 * sqrt(squares / N);
		assert_true(fabs(error - errors[k].error) <= 0.02 * errors[k].error);
		found++;
	}
	for (size_t i = 0; i < evn_quant_count(); i++)
		found -= evn_quant_at(i)->encode != NULL;
	assert_int_equal(found, 0); /* the table has every format that has an encoder */
}

static void constants_stay(void **state)
{
	(void)state;
	static float x[256], back[256];
	static const float values[] = {0, 1, -1, 0.125f, -24};
	for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
		for (int i = 0; i < 256; i++)
			x[i] = values[v];
		for (size_t k = 0; k < evn_quant_count(); k++) {
			if (!evn_quant_at(k)->encode)
				continue;
			/* half a step of a scale with three bits of mantissa */
			const float allowed = strcmp(evn_quant_at(k)->name, "NVFP4") ? 0.02f : 0.032f;
			there_and_back(evn_quant_at(k), x, back, 256);
			for (int i = 0; i < 256; i++)
				assert_true(fabsf(back[i] - x[i]) <= allowed * fabsf(x[i]));
		}
	}
}

/* The sanitizers see what a conversion of a value that fits no integer would do. */
static void any_finite_values_have_a_block(void **state)
{
	(void)state;
	static float x[256], back[256];
	static const float values[] = {FLT_MAX, -FLT_MAX, FLT_MIN, -1e-40f, 1e-45f, 0, 65504, 1e30f};
	const size_t n = sizeof values / sizeof *values;
	for (size_t first = 0; first < n; first++)
		for (size_t step = 0; step < n; step++) {
			for (size_t i = 0; i < 256; i++)
				x[i] = values[(first + i * step) % n];
			for (size_t k = 0; k < evn_quant_count(); k++)
				if (evn_quant_at(k)->encode)
					there_and_back(evn_quant_at(k), x, back, 256);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_those_of_ggml),
		cmocka_unit_test(errors_are_those_of_the_number_of_bits),
		cmocka_unit_test(constants_stay),
		cmocka_unit_test(any_finite_values_have_a_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
