/* quant.c - the table of weight formats, and their host decoders. The decoders are the f32 reference for every
 * kernel: ggml's values in ggml's order of operations, written to be read rather than to be fast. */
#include "model/quant.h"
#include "model/encode.h"

#include <math.h>
#include <string.h>

float evn_half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
	uint32_t bits = sign | (exponent + 127 - 15) << 23 | mantissa << 13;
	float f;
	if (exponent == 0) {
		f = (float)mantissa * 0x1p-24f; /* zero and subnormal numbers */
		return sign ? -f : f;
	}
	if (exponent == 31)
		bits = sign | 0x7f800000u | mantissa << 13;
	memcpy(&f, &bits, sizeof f);
	return f;
}

uint16_t evn_float_to_half(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
	if (magnitude > 0x7f800000u) /* a NaN stays a quiet NaN */
		return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
	if (magnitude >= 0x477ff000u) /* 65520 and up round to infinity */
		return (uint16_t)(sign | 0x7c00u);
	uint32_t shift = 13, value;
	if (magnitude >= 0x38800000u) { /* 2^-14: normal */
		value = magnitude - ((127u - 15u) << 23);
	} else if (magnitude >= 0x33000000u) { /* 2^-25: subnormal; the hidden bit becomes explicit */
		value = (magnitude & 0x7fffffu) | 0x800000u;
		shift = 126u - (magnitude >> 23);
	} else {
		return (uint16_t)sign;
	}
	uint32_t half = value >> shift, rest = value & ((1u << shift) - 1), middle = 1u << (shift - 1);
	half += rest > middle || (rest == middle && (half & 1)); /* a carry into the exponent gives the right result */
	return (uint16_t)(sign | half);
}

float evn_bfloat_to_float(uint16_t b)
{
	uint32_t bits = (uint32_t)b << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }
static float half_at(const uint8_t *p) { return evn_half_to_float(u16_at(p)); }

/* ---- floats -------------------------------------------------------------------------------------------------- */

static void decode_f32(const uint8_t *block, float *out)
{
	uint32_t bits = u32_at(block);
	memcpy(out, &bits, sizeof *out);
}

static void decode_f16(const uint8_t *block, float *out) { *out = half_at(block); }

static void decode_bf16(const uint8_t *block, float *out) { *out = evn_bfloat_to_float(u16_at(block)); }

/* ---- blocks of 32: the low nibbles are elements 0..15, the high ones 16..31 ------------------------------------ */

static void decode_q4_0(const uint8_t *block, float *out)
{
	const float d = half_at(block);
	const uint8_t *qs = block + 2;
	for (int i = 0; i < 16; i++) {
		out[i] = (float)((qs[i] & 15) - 8) * d;
		out[i + 16] = (float)((qs[i] >> 4) - 8) * d;
	}
}

static void decode_q4_1(const uint8_t *block, float *out)
{
	const float d = half_at(block), m = half_at(block + 2);
	const uint8_t *qs = block + 4;
	for (int i = 0; i < 16; i++) {
		out[i] = (float)(qs[i] & 15) * d + m;
		out[i + 16] = (float)(qs[i] >> 4) * d + m;
	}
}

/* Element i of the 5-bit formats. Its fifth bit is bit i of qh. */
static int q5_at(const uint8_t *qs, uint32_t qh, int i)
{
	int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
	return low | (int)(qh >> i & 1) << 4;
}

static void decode_q5_0(const uint8_t *block, float *out)
{
	const float d = half_at(block);
	const uint32_t qh = u32_at(block + 2);
	for (int i = 0; i < 32; i++)
		out[i] = (float)(q5_at(block + 6, qh, i) - 16) * d;
}

static void decode_q5_1(const uint8_t *block, float *out)
{
	const float d = half_at(block), m = half_at(block + 2);
	const uint32_t qh = u32_at(block + 4);
	for (int i = 0; i < 32; i++)
		out[i] = (float)q5_at(block + 8, qh, i) * d + m;
}

static void decode_q8_0(const uint8_t *block, float *out)
{
	const float d = half_at(block);
	for (int i = 0; i < 32; i++)
		out[i] = (float)(int8_t)block[2 + i] * d;
}

/* The values of 4-bit quants that are not evenly spaced: close together near zero, where most weights are. */
const int8_t evn_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void decode_iq4_nl(const uint8_t *block, float *out)
{
	const float d = half_at(block);
	const uint8_t *qs = block + 2;
	for (int i = 0; i < 16; i++) {
		out[i] = d * (float)evn_iq4_values[qs[i] & 15];
		out[i + 16] = d * (float)evn_iq4_values[qs[i] >> 4];
	}
}

/* The values of a float of 4 bits (sign, two bits of exponent, one of mantissa; OCP Microscaling Formats), doubled.
 */
const int8_t evn_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Exponent of the scale, which is a power of two; nibbles */
static void decode_mxfp4(const uint8_t *block, float *out)
{
	const float d = ldexpf(1, block[0] - 128);
	const uint8_t *qs = block + 1;
	for (int i = 0; i < 16; i++) {
		out[i] = d * (float)evn_mxfp4_values[qs[i] & 15];
		out[i + 16] = d * (float)evn_mxfp4_values[qs[i] >> 4];
	}
}

/* A float of 8 bits without a sign: four bits of exponent, three of mantissa. ggml takes 0x7f, which is no number, as
 * 0. */
float evn_ue4m3_to_float(uint8_t code)
{
	const int exponent = code >> 3 & 15, mantissa = code & 7;
	if (code == 0x7f)
		return 0;
	return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

/* Four scales, then 8 bytes of nibbles for each group of 16. The table is doubled, so the scales are halved. */
static void decode_nvfp4(const uint8_t *block, float *out)
{
	for (int group = 0; group < 4; group++) {
		const float d = evn_ue4m3_to_float(block[group]) * 0.5f;
		const uint8_t *qs = block + 4 + group * 8;
		for (int i = 0; i < 8; i++) {
			out[group * 16 + i] = d * (float)evn_mxfp4_values[qs[i] & 15];
			out[group * 16 + i + 8] = d * (float)evn_mxfp4_values[qs[i] >> 4];
		}
	}
}

/* ---- K formats: 256 elements in groups of 16 or 32 whose scales are quantised themselves ----------------------- */

/* scales[16] (low nibble scale, high nibble minimum), qs[64], d, dmin */
static void decode_q2_k(const uint8_t *block, float *out)
{
	const uint8_t *scales = block, *qs = block + 16;
	const float d = half_at(block + 80), dmin = half_at(block + 82);
	for (int group = 0; group < 16; group++) {
		const float scale = d * (float)(scales[group] & 15), min = dmin * (float)(scales[group] >> 4);
		const uint8_t *q = qs + group / 8 * 32 + group % 2 * 16;
		const int shift = group % 8 / 2 * 2;
		for (int i = 0; i < 16; i++)
			out[group * 16 + i] = scale * (float)(q[i] >> shift & 3) - min;
	}
}

/* hmask[32], qs[64], scales[12] (16 of 6 bits: 4 low bits in bytes 0..7, 2 high ones in bytes 8..11), d */
static void decode_q3_k(const uint8_t *block, float *out)
{
	const uint8_t *hmask = block, *qs = block + 32, *scales = block + 96;
	const float d = half_at(block + 108);
	for (int group = 0; group < 16; group++) {
		const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
		const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
		const float scale = d * (float)((low | high << 4) - 32);
		const uint8_t *q = qs + group / 8 * 32 + group % 2 * 16, *h = hmask + group % 2 * 16;
		const int shift = group % 8 / 2 * 2, bit = group / 2;
		for (int i = 0; i < 16; i++)
			out[group * 16 + i] = scale * (float)((q[i] >> shift & 3) - (h[i] >> bit & 1 ? 0 : 4));
	}
}

/* d, scales_h[2] (two bits of each group), scales_l[4] (nibbles), qs[128] as in IQ4_NL */
static void decode_iq4_xs(const uint8_t *block, float *out)
{
	const uint8_t *high = block + 2, *low = block + 4;
	const float d = half_at(block);
	for (int group = 0; group < 8; group++) {
		const int scale_q = (low[group / 2] >> group % 2 * 4 & 15) | (high[group / 4] >> group % 4 * 2 & 3) << 4;
		const float scale = d * (float)(scale_q - 32);
		const uint8_t *qs = block + 8 + group * 16;
		for (int i = 0; i < 16; i++) {
			out[group * 32 + i] = scale * (float)evn_iq4_values[qs[i] & 15];
			out[group * 32 + i + 16] = scale * (float)evn_iq4_values[qs[i] >> 4];
		}
	}
}

/* The scale and minimum (6 bits each) of group 0..7, from the 12 bytes that Q4_K and Q5_K share. */
static void k4_scale(const uint8_t *scales, int group, int *scale, int *min)
{
	if (group < 4) {
		*scale = scales[group] & 63;
		*min = scales[group + 4] & 63;
	} else {
		*scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
		*min = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
	}
}

/* d, dmin, scales[12], qs[128] */
static void decode_q4_k(const uint8_t *block, float *out)
{
	const float d = half_at(block), dmin = half_at(block + 2);
	for (int group = 0; group < 8; group++) {
		int scale_q, min_q;
		k4_scale(block + 4, group, &scale_q, &min_q);
		const float scale = d * (float)scale_q, min = dmin * (float)min_q;
		const uint8_t *q = block + 16 + group / 2 * 32;
		const int shift = group % 2 * 4;
		for (int i = 0; i < 32; i++)
			out[group * 32 + i] = scale * (float)(q[i] >> shift & 15) - min;
	}
}

/* d, dmin, scales[12], qh[32] (bit `group` is the fifth), qs[128] */
static void decode_q5_k(const uint8_t *block, float *out)
{
	const float d = half_at(block), dmin = half_at(block + 2);
	const uint8_t *qh = block + 16;
	for (int group = 0; group < 8; group++) {
		int scale_q, min_q;
		k4_scale(block + 4, group, &scale_q, &min_q);
		const float scale = d * (float)scale_q, min = dmin * (float)min_q;
		const uint8_t *q = block + 48 + group / 2 * 32;
		const int shift = group % 2 * 4;
		for (int i = 0; i < 32; i++)
			out[group * 32 + i] = scale * (float)((q[i] >> shift & 15) | (qh[i] >> group & 1) << 4) - min;
	}
}

/* ql[128], qh[64], scales[16] (signed), d */
static void decode_q6_k(const uint8_t *block, float *out)
{
	const int8_t *scales = (const int8_t *)block + 192;
	const float d = half_at(block + 208);
	for (int group = 0; group < 16; group++) {
		const float scale = d * (float)scales[group];
		const int half = group / 8, quarter = group % 8 / 2, at = group % 2 * 16;
		const uint8_t *ql = block + half * 64 + quarter % 2 * 32 + at, *qh = block + 128 + half * 32 + at;
		for (int i = 0; i < 16; i++) {
			const int low = ql[i] >> quarter / 2 * 4 & 15, high = qh[i] >> quarter * 2 & 3;
			out[group * 16 + i] = scale * (float)((low | high << 4) - 32);
		}
	}
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

static const evn_quant quants[] = {
	{"F32", "f32", 0, 1, 4, 32, {{4, 1}}, decode_f32, evn_encode_f32},
	{"F16", "f16", 1, 1, 2, 32, {{2, 1}}, decode_f16, evn_encode_f16},
	{"BF16", "bf16", 30, 1, 2, 32, {{2, 1}}, decode_bf16, evn_encode_bf16},
	{"Q4_0", "q4_0", 2, 32, 18, 32, {{2, 1}, {4, 4}}, decode_q4_0, evn_encode_q4_0},
	{"Q4_1", "q4_1", 3, 32, 20, 32, {{2, 2}, {4, 4}}, decode_q4_1, evn_encode_q4_1},
	{"Q5_0", "q5_0", 6, 32, 22, 32, {{2, 1}, {4, 1}, {4, 4}}, decode_q5_0, evn_encode_q5_0},
	{"Q5_1", "q5_1", 7, 32, 24, 32, {{2, 2}, {4, 1}, {4, 4}}, decode_q5_1, evn_encode_q5_1},
	{"Q8_0", "q8_0", 8, 32, 34, 32, {{2, 1}, {4, 8}}, decode_q8_0, evn_encode_q8_0},
	{"IQ4_NL", "iq4_nl", 20, 32, 18, 32, {{2, 1}, {4, 4}}, decode_iq4_nl, evn_encode_iq4_nl},
	{"MXFP4", "mxfp4", 39, 32, 17, 32, {{1, 1}, {4, 4}}, decode_mxfp4, evn_encode_mxfp4},
	{"NVFP4", "nvfp4", 40, 64, 36, 64, {{1, 4}, {4, 8}}, decode_nvfp4, evn_encode_nvfp4},
	{"Q2_K", "q2_k", 10, 256, 84, 256, {{1, 16}, {4, 16}, {2, 2}}, decode_q2_k, evn_encode_q2_k},
	{"Q3_K", "q3_k", 11, 256, 110, 256, {{4, 8}, {4, 16}, {1, 12}, {2, 1}}, decode_q3_k, evn_encode_q3_k},
	{"Q4_K", "q4_k", 12, 256, 144, 256, {{2, 2}, {1, 12}, {4, 32}}, decode_q4_k, evn_encode_q4_k},
	{"Q5_K", "q5_k", 13, 256, 176, 256, {{2, 2}, {1, 12}, {4, 8}, {4, 32}}, decode_q5_k, evn_encode_q5_k},
	{"Q6_K", "q6_k", 14, 256, 210, 256, {{4, 32}, {4, 16}, {1, 16}, {2, 1}}, decode_q6_k, evn_encode_q6_k},
	{"IQ4_XS", "iq4_xs", 23, 256, 136, 256, {{2, 1}, {1, 6}, {4, 32}}, decode_iq4_xs, evn_encode_iq4_xs},
};

size_t evn_quant_count(void) { return sizeof quants / sizeof *quants; }

const evn_quant *evn_quant_at(size_t i) { return i < evn_quant_count() ? &quants[i] : NULL; }

_Static_assert(sizeof quants / sizeof *quants <= EVN_FORMATS, "tables by format");
size_t evn_quant_index(const evn_quant *q) { return (size_t)(q - quants); }

const evn_quant *evn_quant_find(uint32_t gguf_type)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (quants[i].gguf_type == gguf_type)
			return &quants[i];
	return NULL;
}

const evn_quant *evn_quant_by_name(const char *name)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (!strcmp(quants[i].name, name))
			return &quants[i];
	return NULL;
}

void evn_dequantize(const evn_quant *q, const uint8_t *blocks, float *out, uint64_t n)
{
	for (uint64_t i = 0; i < n; i += q->block_len, blocks += q->block_bytes)
		q->decode(blocks, out + i);
}

void evn_quantize(const evn_quant *q, const float *values, uint8_t *blocks, uint64_t n)
{
	for (uint64_t i = 0; i < n; i += q->block_len, blocks += q->block_bytes)
		q->encode(values + i, blocks);
}
