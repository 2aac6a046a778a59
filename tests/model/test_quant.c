/* test_quant.c - compares the decoder of every format with a second one that walks over the block, and with blocks of
 * ggml; the half conversions over all their values; the repack with its definition. */
#include "model/quant.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MAX_BLOCK 256
#define MAX_BLOCK_BYTES 256

static uint8_t pseudo_random(uint32_t i) { return (uint8_t)((i * 2654435761u ^ i >> 7) * 2246822519u >> 24); }

/* ---- half precision -------------------------------------------------------------------------------------------- */

/* The value by its definition; exponent 31 is infinity or NaN. */
static double half_value(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double v = exponent == 31  ? (mantissa ? (double)NAN : (double)INFINITY)
			   : exponent == 0 ? ldexp(mantissa, -24)
							   : ldexp(1024 + mantissa, exponent - 25);
	return h & 0x8000 ? -v : v;
}

static void half_to_float_is_exact(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++) {
		double expected = half_value((uint16_t)h), got = (double)evn_half_to_float((uint16_t)h);
		assert_true(isnan(expected) ? isnan(got) : got == expected && !signbit(got) == !signbit(expected));
	}
}

static void float_to_half_returns_every_half(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++) {
		uint16_t back = evn_float_to_half(evn_half_to_float((uint16_t)h));
		if (isnan(half_value((uint16_t)h)))
			assert_true(isnan(half_value(back)));
		else
			assert_int_equal(back, h);
	}
}

/* Between two neighbours: just below the middle rounds down, just above it rounds up, the middle itself to the even
 * one. */
static void float_to_half_rounds_to_nearest_even(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x7bff; h++) {
		float middle = (float)((half_value((uint16_t)h) + half_value((uint16_t)(h + 1))) / 2);
		assert_int_equal(evn_float_to_half(nextafterf(middle, 0)), h);
		assert_int_equal(evn_float_to_half(nextafterf(middle, INFINITY)), h + 1);
		assert_int_equal(evn_float_to_half(middle), h % 2 ? h + 1 : h);
		assert_int_equal(evn_float_to_half(-middle), 0x8000 | (h % 2 ? h + 1 : h));
	}
	assert_int_equal(evn_float_to_half(nextafterf(65520, 0)), 0x7bff);
	assert_int_equal(evn_float_to_half(65520), 0x7c00);
	assert_int_equal(evn_float_to_half(-3e38f), 0xfc00);
	assert_int_equal(evn_float_to_half(1e-30f), 0);
}

static void bfloat_is_the_upper_half_of_a_float(void **state)
{
	(void)state;
	for (uint32_t b = 0; b < 65536; b++) {
		float f = evn_bfloat_to_float((uint16_t)b);
		uint32_t bits;
		memcpy(&bits, &f, sizeof bits);
		assert_int_equal(bits, b << 16);
	}
}

/* ---- decoders -------------------------------------------------------------------------------------------------- */

static float half_ref(const uint8_t *p) { return (float)half_value((uint16_t)(p[0] | p[1] << 8)); }

static void ref_f32(const uint8_t *b, float *y) { memcpy(y, b, 4); }
static void ref_f16(const uint8_t *b, float *y) { *y = half_ref(b); }
static void ref_bf16(const uint8_t *b, float *y)
{
	const uint8_t f32[4] = {0, 0, b[0], b[1]};
	memcpy(y, f32, 4);
}

static void ref_q4_0(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++)
		y[i] = half_ref(b) * (float)((b[2 + i % 16] >> (i / 16 * 4)) % 16 - 8);
}

static void ref_q4_1(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++) {
		float product = half_ref(b) * (float)((b[4 + i % 16] >> (i / 16 * 4)) % 16);
		y[i] = product + half_ref(b + 2);
	}
}

static int ref_bit(const uint8_t *bits, int i) { return bits[i / 8] >> i % 8 & 1; }

static void ref_q5_0(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++)
		y[i] = half_ref(b) * (float)((b[6 + i % 16] >> (i / 16 * 4)) % 16 + 16 * ref_bit(b + 2, i) - 16);
}

static void ref_q5_1(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++) {
		float product = half_ref(b) * (float)((b[8 + i % 16] >> (i / 16 * 4)) % 16 + 16 * ref_bit(b + 4, i));
		y[i] = product + half_ref(b + 2);
	}
}

static void ref_q8_0(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++)
		y[i] = half_ref(b) * (float)(b[2 + i] < 128 ? b[2 + i] : b[2 + i] - 256);
}

static const float iq4_values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void ref_iq4_nl(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++)
		y[i] = half_ref(b) * iq4_values[(b[2 + i % 16] >> (i / 16 * 4)) % 16];
}

static void ref_iq4_xs(const uint8_t *b, float *y)
{
	for (int i = 0; i < 8; i++) {
		const unsigned bits = (unsigned)(b[4 + i / 2] >> i % 2 * 4) % 16 + ((b[2] + 256u * b[3]) >> 2 * i) % 4 * 16;
		for (int k = 0; k < 32; k++)
			y[32 * i + k] =
				half_ref(b) * ((float)bits - 32) * iq4_values[(b[8 + 16 * i + k % 16] >> k / 16 * 4) % 16];
	}
}

/* By the definition of a float of 4 bits: sign, two bits of exponent, one of mantissa. */
static void ref_mxfp4(const uint8_t *b, float *y)
{
	for (int i = 0; i < 32; i++) {
		const int code = (b[1 + i % 16] >> (i / 16 * 4)) % 16, exponent = code / 2 % 4, mantissa = code % 2;
		const double v = exponent ? ldexp(1 + mantissa / 2.0, exponent - 1) : mantissa / 2.0;
		y[i] = (float)ldexp(code < 8 ? v : -v, b[0] - 127);
	}
}

/* By the definitions of floats of 4 and of 8 bits, the latter without a sign. */
static void ref_nvfp4(const uint8_t *b, float *y)
{
	for (int i = 0; i < 64; i++) {
		const int scale = b[i / 16], at = i % 16, e = scale / 8 % 16, m = scale % 8;
		const int code = (b[4 + i / 16 * 8 + at % 8] >> (at / 8 * 4)) % 16, exponent = code / 2 % 4,
				  mantissa = code % 2;
		const double d = scale == 127 ? 0 : e ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);
		const double v = exponent ? ldexp(1 + mantissa / 2.0, exponent - 1) : mantissa / 2.0;
		y[i] = (float)(d * (code < 8 ? v : -v));
	}
}

/* The K formats as their author walks them: 128 elements at a time, with a pointer and a shift that move along. */

static void ref_q2_k(const uint8_t *b, float *y)
{
	const uint8_t *scale = b, *q = b + 16;
	const float d = half_ref(b + 80), min = half_ref(b + 82);
	for (int n = 0; n < 256; n += 128, q += 32)
		for (int shift = 0; shift < 8; shift += 2)
			for (int part = 0; part < 32; part += 16, scale++)
				for (int l = 0; l < 16; l++) {
					float product = d * (float)(*scale & 0xf) * (float)(q[part + l] >> shift & 3);
					*y++ = product - min * (float)(*scale >> 4);
				}
}

static void ref_q3_k(const uint8_t *b, float *y)
{
	uint32_t aux[4], kmask1 = 0x03030303, kmask2 = 0x0f0f0f0f;
	memcpy(aux, b + 96, 12);
	uint32_t tmp = aux[2];
	aux[2] = (aux[0] >> 4 & kmask2) | (tmp >> 4 & kmask1) << 4;
	aux[3] = (aux[1] >> 4 & kmask2) | (tmp >> 6 & kmask1) << 4;
	aux[0] = (aux[0] & kmask2) | (tmp & kmask1) << 4;
	aux[1] = (aux[1] & kmask2) | (tmp >> 2 & kmask1) << 4;
	int8_t scales[16];
	memcpy(scales, aux, 16);
	const int8_t *scale = scales;
	const uint8_t *q = b + 32;
	uint8_t m = 1;
	for (int n = 0; n < 256; n += 128, q += 32)
		for (int shift = 0; shift < 8; shift += 2, m = (uint8_t)(m << 1))
			for (int part = 0; part < 32; part += 16, scale++)
				for (int l = 0; l < 16; l++)
					*y++ = half_ref(b + 108) * (float)(*scale - 32) *
						   (float)((q[part + l] >> shift & 3) - (b[part + l] & m ? 0 : 4));
}

static void ref_scale_min(int j, const uint8_t *q, uint8_t *d, uint8_t *m)
{
	if (j < 4) {
		*d = q[j] & 63;
		*m = q[j + 4] & 63;
	} else {
		*d = (uint8_t)((q[j + 4] & 0xf) | (q[j - 4] >> 6) << 4);
		*m = (uint8_t)((q[j + 4] >> 4) | (q[j] >> 6) << 4);
	}
}

/* Q4_K, or with qh Q5_K. */
static void ref_q45_k(const uint8_t *b, const uint8_t *qh, const uint8_t *q, float *y)
{
	uint8_t u1 = 1, u2 = 2, sc, m;
	for (int j = 0; j < 256; j += 64, q += 32, u1 = (uint8_t)(u1 << 2), u2 = (uint8_t)(u2 << 2)) {
		ref_scale_min(j / 32, b + 4, &sc, &m);
		float d1 = half_ref(b) * (float)sc, m1 = half_ref(b + 2) * (float)m;
		ref_scale_min(j / 32 + 1, b + 4, &sc, &m);
		float d2 = half_ref(b) * (float)sc, m2 = half_ref(b + 2) * (float)m;
		for (int l = 0; l < 32; l++)
			*y++ = d1 * (float)((q[l] & 0xf) + (qh && qh[l] & u1 ? 16 : 0)) - m1;
		for (int l = 0; l < 32; l++)
			*y++ = d2 * (float)((q[l] >> 4) + (qh && qh[l] & u2 ? 16 : 0)) - m2;
	}
}

static void ref_q4_k(const uint8_t *b, float *y) { ref_q45_k(b, NULL, b + 16, y); }
static void ref_q5_k(const uint8_t *b, float *y) { ref_q45_k(b, b + 16, b + 48, y); }

static void ref_q6_k(const uint8_t *b, float *y)
{
	const uint8_t *ql = b, *qh = b + 128;
	const int8_t *sc = (const int8_t *)b + 192;
	const float d = half_ref(b + 208);
	for (int n = 0; n < 256; n += 128, y += 128, ql += 64, qh += 32, sc += 8)
		for (int l = 0; l < 32; l++) {
			int q1 = ((ql[l] & 0xf) | (qh[l] & 3) << 4) - 32, q2 = ((ql[l + 32] & 0xf) | (qh[l] >> 2 & 3) << 4) - 32;
			int q3 = (ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) - 32, q4 = (ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4) - 32;
			y[l] = d * (float)sc[l / 16] * (float)q1;
			y[l + 32] = d * (float)sc[l / 16 + 2] * (float)q2;
			y[l + 64] = d * (float)sc[l / 16 + 4] * (float)q3;
			y[l + 96] = d * (float)sc[l / 16 + 6] * (float)q4;
		}
}

static const struct {
	const char *name;
	uint32_t gguf_type;
	void (*decode)(const uint8_t *block, float *y);
} references[] = {
	{"F32", 0, ref_f32},      {"F16", 1, ref_f16},        {"BF16", 30, ref_bf16},     {"Q4_0", 2, ref_q4_0},
	{"Q4_1", 3, ref_q4_1},    {"Q5_0", 6, ref_q5_0},      {"Q5_1", 7, ref_q5_1},      {"Q8_0", 8, ref_q8_0},
	{"Q2_K", 10, ref_q2_k},   {"Q3_K", 11, ref_q3_k},     {"Q4_K", 12, ref_q4_k},     {"Q5_K", 13, ref_q5_k},
	{"Q6_K", 14, ref_q6_k},   {"IQ4_NL", 20, ref_iq4_nl}, {"IQ4_XS", 23, ref_iq4_xs}, {"MXFP4", 39, ref_mxfp4},
	{"NVFP4", 40, ref_nvfp4},
};
#define N_FORMATS (sizeof references / sizeof *references)

static void formats_decode_as_the_reference(void **state)
{
	(void)state;
	enum { BLOCKS = 400 };
	for (size_t f = 0; f < N_FORMATS; f++) {
		const evn_quant *q = evn_quant_find(references[f].gguf_type);
		assert_non_null(q);
		const size_t n = (size_t)BLOCKS * q->block_len, bytes = (size_t)BLOCKS * q->block_bytes;
		uint8_t *blocks = malloc(bytes);
		float *got = malloc(n * sizeof *got), *expected = malloc(n * sizeof *expected);
		for (size_t i = 0; i < bytes; i++)
			blocks[i] = pseudo_random((uint32_t)i);
		evn_dequantize(q, blocks, got, n);
		for (size_t b = 0; b < BLOCKS; b++)
			references[f].decode(blocks + b * q->block_bytes, expected + b * q->block_len);
		for (size_t i = 0; i < n; i++) /* the same operations in the same order: the same bits */
			if (!(isnan(expected[i]) ? isnan(got[i]) : got[i] == expected[i]))
				fail_msg("%s: element %zu is %g, expected %g", q->name, i, (double)got[i], (double)expected[i]);
		free(blocks);
		free(got);
		free(expected);
	}
}

static void read_hex(const json_t *text, void *out, size_t n)
{
	const char *hex = json_string_value(text);
	unsigned byte;
	assert_non_null(hex);
	assert_int_equal(strlen(hex), 2 * n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		((uint8_t *)out)[i] = (uint8_t)byte;
	}
}

/* data/golden-blocks.json: for each format, pairs of a block and its values, as hexadecimal bytes. */
static void blocks_of_ggml_have_its_values(void **state)
{
	json_t *golden = json_load_file(EVN_TEST_DATA "/golden-blocks.json", 0, NULL), *pair;
	size_t i;
	(void)state;
	assert_non_null(golden);
	for (size_t f = 0; f < evn_quant_count(); f++) {
		const evn_quant *q = evn_quant_at(f);
		uint8_t block[MAX_BLOCK_BYTES];
		float got[MAX_BLOCK], expected[MAX_BLOCK];
		if (q->block_len > 1 && !json_object_get(golden, q->name))
			fail_msg("%s: golden-blocks.json has no blocks of it", q->name);
		json_array_foreach(json_object_get(golden, q->name), i, pair)
		{
			read_hex(json_array_get(pair, 0), block, q->block_bytes);
			read_hex(json_array_get(pair, 1), expected, q->block_len * sizeof *expected);
			q->decode(block, got);
			for (uint32_t k = 0; k < q->block_len; k++)
				if (memcmp(&got[k], &expected[k], sizeof *got) != 0)
					fail_msg("%s: element %u of block %zu is %.9g, expected %.9g", q->name, k, i, (double)got[k],
							 (double)expected[k]);
		}
	}
	json_decref(golden);
}

static void the_table_is_consistent(void **state)
{
	(void)state;
	assert_int_equal(evn_quant_count(), N_FORMATS);
	assert_null(evn_quant_at(N_FORMATS));
	assert_null(evn_quant_find(4)); /* removed from the format long ago */
	assert_null(evn_quant_by_name("Q9_9"));
	for (size_t f = 0; f < N_FORMATS; f++) {
		const evn_quant *q = evn_quant_by_name(references[f].name);
		assert_non_null(q);
		assert_ptr_equal(q, evn_quant_find(references[f].gguf_type));
		uint32_t bytes = 0;
		for (const evn_quant_field *field = q->fields; field->unit_bytes; field++)
			bytes += (uint32_t)field->unit_bytes * field->n_units;
		assert_int_equal(bytes, q->block_bytes);
		assert_int_equal(q->group_len % q->block_len, 0);
	}
}

/* ---- repack ---------------------------------------------------------------------------------------------------- */

/* By the definition in quant.h: for each block, for each unit, that unit of rows 0..15. */
static void repack_reference(const evn_quant *q, const uint8_t *const *rows, uint32_t n_blocks, uint32_t n_padded,
							 uint8_t *out)
{
	for (uint32_t b = 0; b < n_padded; b++) {
		size_t at = (size_t)b * q->block_bytes;
		for (const evn_quant_field *f = q->fields; f->unit_bytes; f++)
			for (int u = 0; u < f->n_units; u++, at += f->unit_bytes)
				for (int r = 0; r < EVN_TILE_ROWS; r++)
					for (int byte = 0; byte < f->unit_bytes; byte++)
						*out++ = rows[r] && b < n_blocks ? rows[r][at + (size_t)byte] : 0;
	}
}

static void check_repack(const evn_quant *q, uint32_t n_blocks, uint32_t n_padded, int n_rows)
{
	const size_t row_bytes = (size_t)n_blocks * q->block_bytes,
				 out_bytes = (size_t)EVN_TILE_ROWS * n_padded * q->block_bytes;
	uint8_t *memory[EVN_TILE_ROWS] = {0}; /* each row has exactly its own length, to see a read past its end */
	const uint8_t *rows[EVN_TILE_ROWS];
	for (int r = 0; r < EVN_TILE_ROWS; r++) {
		memory[r] = r < n_rows ? malloc(row_bytes) : NULL;
		for (size_t i = 0; memory[r] && i < row_bytes; i++)
			memory[r][i] = pseudo_random((uint32_t)(i * 31 + (size_t)r * 7919));
		rows[r] = memory[r];
	}
	uint8_t *got = malloc(out_bytes), *expected = malloc(out_bytes);
	memset(got, 0xaa, out_bytes);
	evn_repack_tile(q, rows, n_blocks, n_padded, got);
	repack_reference(q, rows, n_blocks, n_padded, expected);
	assert_memory_equal(got, expected, out_bytes);
	for (int r = 0; r < EVN_TILE_ROWS; r++)
		free(memory[r]);
	free(got);
	free(expected);
}

static void repack_interleaves_unit_by_unit(void **state)
{
	(void)state;
	for (size_t f = 0; f < evn_quant_count(); f++) {
		const evn_quant *q = evn_quant_at(f);
		check_repack(q, 1, 1, 16);
		check_repack(q, 5, 8, 16);
		check_repack(q, 300, 320, 16); /* several runs of the float formats and a remainder */
		check_repack(q, 64, 64, 9);
		check_repack(q, 200, 224, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_to_float_is_exact),
		cmocka_unit_test(float_to_half_returns_every_half),
		cmocka_unit_test(float_to_half_rounds_to_nearest_even),
		cmocka_unit_test(bfloat_is_the_upper_half_of_a_float),
		cmocka_unit_test(formats_decode_as_the_reference),
		cmocka_unit_test(blocks_of_ggml_have_its_values),
		cmocka_unit_test(the_table_is_consistent),
		cmocka_unit_test(repack_interleaves_unit_by_unit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
