#include "model/encode.h"
#include "model/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define K_LEN 256 /* elements of a K block */

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

/* Stores f as a half, and returns the value that a decoder will read. */
static float put_half(uint8_t *p, float f)
{
	const uint16_t h = evn_float_to_half(f);
	put_u16(p, h);
	return evn_half_to_float(h);
}

/* 0 for numbers so small that theirs is not finite. */
static float inverse(float f) { return fabsf(f) >= FLT_MIN ? 1 / f : 0; }

static int clamp(float f, int low, int high)
{
	const float r = rintf(f);
	return !(r > (float)low) ? low : r >= (float)high ? high : (int)r; /* low for a NaN */
}

/* The integer below f, from 0 to top; 0 for a NaN. */
static uint8_t floor_to(float f, int top) { return (uint8_t)(!(f > 0) ? 0 : f >= (float)top ? top : (int)f); }

/* The value of largest magnitude, with its sign. */
static float extreme_of(const float *x, int n)
{
	float extreme = 0;
	for (int i = 0; i < n; i++)
		if (fabsf(x[i]) > fabsf(extreme))
			extreme = x[i];
	return extreme;
}

static void range_of(const float *x, int n, float *low, float *high)
{
	*low = *high = x[0];
	for (int i = 1; i < n; i++) {
		*low = fminf(*low, x[i]);
		*high = fmaxf(*high, x[i]);
	}
}

/* ---- floats ---------------------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

void evn_encode_f32(const float *x, uint8_t *block)
{
	uint32_t bits;
	memcpy(&bits, x, sizeof bits);
	put_u32(block, bits);
}

void evn_encode_f16(const float *x, uint8_t *block) { put_half(block, *x); }

/* Rounds to nearest even. */
void evn_encode_bf16(const float *x, uint8_t *block)
{
	uint32_t bits;
	memcpy(&bits, x, sizeof bits);
	put_u16(block, (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16));
}

/* ---- blocks of 32 with a scale: ggml's rule, which is part of what users know as these formats -------------------
 */

/* The low nibbles of q[32] in the order of the formats of 32. */
static void put_nibbles(uint8_t *qs, const uint8_t *q)
{
	for (int i = 0; i < 16; i++)
		qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void put_fifth_bits(uint8_t *qh, const uint8_t *q)
{
	uint32_t bits = 0;
	for (int i = 0; i < 32; i++)
		bits |= (uint32_t)(q[i] >> 4 & 1) << i;
	put_u32(qh, bits);
}

/* The extreme value becomes the lowest code, -middle. */
static void round_symmetric(const float *x, int middle, uint8_t *half, uint8_t *q)
{
	const float d = extreme_of(x, 32) / (float)-middle, by = inverse(d);
	put_half(half, d);
	for (int i = 0; i < 32; i++)
		q[i] = floor_to(x[i] * by + (float)middle + 0.5f, 2 * middle - 1);
}

static void round_affine(const float *x, int top, uint8_t *halves, uint8_t *q)
{
	float low, high;
	range_of(x, 32, &low, &high);
	const float d = (high - low) / (float)top, by = inverse(d);
	put_half(halves, d);
	put_half(halves + 2, low);
	for (int i = 0; i < 32; i++)
		q[i] = floor_to((x[i] - low) * by + 0.5f, top);
}

void evn_encode_q4_0(const float *x, uint8_t *block)
{
	uint8_t q[32];
	round_symmetric(x, 8, block, q);
	put_nibbles(block + 2, q);
}

void evn_encode_q4_1(const float *x, uint8_t *block)
{
	uint8_t q[32];
	round_affine(x, 15, block, q);
	put_nibbles(block + 4, q);
}

void evn_encode_q5_0(const float *x, uint8_t *block)
{
	uint8_t q[32];
	round_symmetric(x, 16, block, q);
	put_fifth_bits(block + 2, q);
	put_nibbles(block + 6, q);
}

void evn_encode_q5_1(const float *x, uint8_t *block)
{
	uint8_t q[32];
	round_affine(x, 31, block, q);
	put_fifth_bits(block + 4, q);
	put_nibbles(block + 8, q);
}

void evn_encode_q8_0(const float *x, uint8_t *block)
{
	const float d = fabsf(extreme_of(x, 32)) / 127, by = inverse(d);
	put_half(block, d);
	for (int i = 0; i < 32; i++)
		block[2 + i] = (uint8_t)(int8_t)roundf(x[i] * by);
}

/* ---- searched scales ------------------------------------------------------------------------------------------- */

/* The values that codes 0 .. n - 1 stand for: low + code, or those of a table. */
typedef struct {
	int group; /* elements with one scale */
	int n, low;
	const int8_t *values;
	float step; /* of the search, in values */
} levels;

static float value_of(const levels *l, int code) { return (float)(l->values ? l->values[code] : l->low + code); }

/* out = the values nearest to by * x, group by group in loops that compilers vectorise. */
static void nearest_values(const levels *l, const float *x, float by, float *out)
{
	const float low = (float)l->low, high = (float)(l->low + l->n - 1);
	for (int i = 0; i < l->group; i++)
		out[i] = l->values ? low : fmaxf(low, fminf(high, rintf(x[i] * by)));
	for (int code = 1; l->values && code < l->n; code++) {
		const float middle = 0.5f * (value_of(l, code - 1) + value_of(l, code));
		const float gap = value_of(l, code) - value_of(l, code - 1);
		for (int i = 0; i < l->group; i++)
			out[i] += x[i] * by > middle ? gap : 0;
	}
}

static void nearest_codes(const levels *l, const float *x, float by, uint8_t *codes)
{
	for (int i = 0; i < l->group; i++)
		codes[i] = l->values ? 0 : (uint8_t)(clamp(x[i] * by, l->low, l->low + l->n - 1) - l->low);
	for (int code = 1; l->values && code < l->n; code++)
		for (int i = 0; i < l->group; i++)
			codes[i] = (uint8_t)(codes[i] + (x[i] * by > 0.5f * (value_of(l, code - 1) + value_of(l, code))));
}

/* The scale with the least error, large values counting more: squares of values are the weights. 0 if all are. */
static float fit_scale(const float *x, const levels *l)
{
	const int n = l->group;
	const float extreme = extreme_of(x, n);
	float best = 0, scale = 0;
	if (fabsf(extreme) < 1e-15f)
		return 0;
	for (int k = -9; k <= 9; k++) {
		float xv = 0, vv = 0, v[32];
		nearest_values(l, x, ((float)l->low + l->step * (float)k) / extreme, v);
		for (int i = 0; i < n; i++) {
			xv += x[i] * x[i] * x[i] * v[i];
			vv += x[i] * x[i] * v[i] * v[i];
		}
		if (vv > 0 && xv * xv > best * vv) {
			scale = xv / vv;
			best = scale * xv;
		}
	}
	return scale;
}

typedef struct {
	float scale, min; /* a value is scale * code - min; min >= 0 */
} affine;

/* The weighted least squares of scale and minimum for the codes that `by` gives. Returns the error. */
static float fit_codes(const float *x, const float *weights, int n, affine guess, int top, affine *out)
{
	float w = 0, wx = 0, wq = 0, wqq = 0, wxq = 0, error = 0, q[32];
	const float by = inverse(guess.scale);
	for (int i = 0; i < n; i++) {
		q[i] = (float)clamp((x[i] + guess.min) * by, 0, top);
		w += weights[i];
		wx += weights[i] * x[i];
		wq += weights[i] * q[i];
		wqq += weights[i] * q[i] * q[i];
		wxq += weights[i] * x[i] * q[i];
	}
	const float determinant = w * wqq - wq * wq;
	*out = guess;
	if (determinant > 0) {
		out->scale = (w * wxq - wx * wq) / determinant;
		out->min = -(wqq * wx - wq * wxq) / determinant;
		if (out->min < 0)
			*out = (affine){wxq * inverse(wqq), 0};
	}
	for (int i = 0; i < n; i++) {
		const float off = out->scale * q[i] - out->min - x[i];
		error += weights[i] * off * off;
	}
	return error;
}

static affine fit_affine(const float *x, int n, int top)
{
	float low, high, weights[32], squares = 0, least = INFINITY;
	affine best = {0};
	range_of(x, n, &low, &high);
	low = fminf(low, 0);
	if (high <= low)
		return (affine){0, -low};
	for (int i = 0; i < n; i++)
		squares += x[i] * x[i];
	for (int i = 0; i < n; i++)
		weights[i] = sqrtf(squares / (float)n) + fabsf(x[i]);
	for (int k = -10; k <= 10; k++) {
		const affine guess = {(high - low) / ((float)top + 0.1f * (float)k), -low};
		affine fit;
		const float error = fit_codes(x, weights, n, guess, top, &fit);
		if (error < least && fit.scale > 0) {
			least = error;
			best = fit;
		}
	}
	return best;
}

/* ---- blocks of 256 --------------------------------------------------------------------------------------------- */

typedef struct {
	int group, top, scale_top; /* elements of a group; the highest code, of values and of scales */
} affine_shape;

typedef struct {
	uint8_t q[K_LEN], scales[16], mins[16];
} affine_codes;

/* Stores d and dmin at `halves`. */
static void fit_affine_groups(const float *x, const affine_shape *s, uint8_t *halves, affine_codes *out)
{
	affine fits[16];
	float scale_max = 0, min_max = 0;
	const int n = K_LEN / s->group;
	for (int g = 0; g < n; g++) {
		fits[g] = fit_affine(x + g * s->group, s->group, s->top);
		scale_max = fmaxf(scale_max, fits[g].scale);
		min_max = fmaxf(min_max, fits[g].min);
	}
	const float d = put_half(halves, scale_max / (float)s->scale_top);
	const float dmin = put_half(halves + 2, min_max / (float)s->scale_top);
	for (int g = 0; g < n; g++) {
		out->scales[g] = (uint8_t)clamp(fits[g].scale * inverse(d), 0, s->scale_top);
		out->mins[g] = (uint8_t)clamp(fits[g].min * inverse(dmin), 0, s->scale_top);
		const float min = dmin * (float)out->mins[g], by = inverse(d * (float)out->scales[g]);
		for (int i = g * s->group; i < (g + 1) * s->group; i++)
			out->q[i] = (uint8_t)clamp((x[i] + min) * by, 0, s->top);
	}
}

typedef struct {
	uint8_t q[K_LEN];
	int scales[16];
} scaled_codes;

/* Groups have scales of low .. -low - 1. Stores d at `half`. */
static void fit_scaled_groups(const float *x, const levels *l, int low, uint8_t *half, scaled_codes *out)
{
	float fits[16];
	const int group = l->group, n = K_LEN / group;
	for (int g = 0; g < n; g++)
		fits[g] = fit_scale(x + g * group, l);
	const float d = put_half(half, extreme_of(fits, n) / (float)low);
	for (int g = 0; g < n; g++) {
		out->scales[g] = clamp(fits[g] * inverse(d), low, -low - 1);
		nearest_codes(l, x + g * group, inverse(d * (float)out->scales[g]), out->q + g * group);
	}
}

/* Two bits of each code: element i of group g of 32 is in byte g / 4 * 32 + i. */
static void put_crumbs(uint8_t *qs, const uint8_t *q, int shift)
{
	memset(qs, 0, 64);
	for (int i = 0; i < K_LEN; i++)
		qs[i / 128 * 32 + i % 32] |= (uint8_t)((q[i] >> shift & 3) << i % 128 / 32 * 2);
}

/* One bit of each code: that of element i of group g of 32 is bit g of byte i. */
static void put_bits(uint8_t *bits, const uint8_t *q, int bit)
{
	memset(bits, 0, 32);
	for (int i = 0; i < K_LEN; i++)
		bits[i % 32] |= (uint8_t)((q[i] >> bit & 1) << i / 32);
}

/* Groups of 32 in pairs, the first in the low nibbles. */
static void put_k_nibbles(uint8_t *qs, const uint8_t *q)
{
	for (int i = 0; i < 128; i++) {
		const uint8_t *pair = q + i / 32 * 64 + i % 32;
		qs[i] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
	}
}

/* Eight scales and eight minima of 6 bits in 12 bytes, as Q4_K and Q5_K share them. */
static void put_k4_scales(uint8_t *out, const affine_codes *c)
{
	for (int g = 0; g < 4; g++) {
		out[g] = (uint8_t)(c->scales[g] | c->scales[g + 4] >> 4 << 6);
		out[g + 4] = (uint8_t)(c->mins[g] | c->mins[g + 4] >> 4 << 6);
		out[g + 8] = (uint8_t)((c->scales[g + 4] & 15) | (c->mins[g + 4] & 15) << 4);
	}
}

void evn_encode_q2_k(const float *x, uint8_t *block)
{
	affine_codes c;
	fit_affine_groups(x, &(affine_shape){16, 3, 15}, block + 80, &c);
	for (int g = 0; g < 16; g++)
		block[g] = (uint8_t)(c.scales[g] | c.mins[g] << 4);
	put_crumbs(block + 16, c.q, 0);
}

void evn_encode_q3_k(const float *x, uint8_t *block)
{
	scaled_codes c;
	fit_scaled_groups(x, &(levels){16, 8, -4, NULL, 0.1f}, -32, block + 108, &c);
	put_bits(block, c.q, 2);
	put_crumbs(block + 32, c.q, 0);
	memset(block + 96, 0, 12);
	for (int g = 0; g < 16; g++) {
		const int scale = c.scales[g] + 32;
		block[96 + g % 8] |= (uint8_t)((scale & 15) << g / 8 * 4);
		block[104 + g % 4] |= (uint8_t)(scale >> 4 << g / 4 * 2);
	}
}

void evn_encode_q4_k(const float *x, uint8_t *block)
{
	affine_codes c;
	fit_affine_groups(x, &(affine_shape){32, 15, 63}, block, &c);
	put_k4_scales(block + 4, &c);
	put_k_nibbles(block + 16, c.q);
}

void evn_encode_q5_k(const float *x, uint8_t *block)
{
	affine_codes c;
	fit_affine_groups(x, &(affine_shape){32, 31, 63}, block, &c);
	put_k4_scales(block + 4, &c);
	put_bits(block + 16, c.q, 4);
	put_k_nibbles(block + 48, c.q);
}

void evn_encode_q6_k(const float *x, uint8_t *block)
{
	scaled_codes c;
	fit_scaled_groups(x, &(levels){16, 64, -32, NULL, 0.1f}, -128, block + 208, &c);
	for (int i = 0; i < 128; i++) {
		const uint8_t *q = c.q + i / 64 * 128 + i % 64;
		block[i] = (uint8_t)((q[0] & 15) | (q[64] & 15) << 4);
	}
	put_crumbs(block + 128, c.q, 4);
	for (int g = 0; g < 16; g++)
		block[192 + g] = (uint8_t)c.scales[g];
}

/* ---- values that are not evenly spaced ---------------------------------------------------------------------------
 */

static const levels iq4_levels = {32, 16, -127, evn_iq4_values, 1};

void evn_encode_iq4_nl(const float *x, uint8_t *block)
{
	uint8_t q[32];
	nearest_codes(&iq4_levels, x, inverse(put_half(block, fit_scale(x, &iq4_levels))), q);
	put_nibbles(block + 2, q);
}

void evn_encode_iq4_xs(const float *x, uint8_t *block)
{
	scaled_codes c;
	uint32_t high = 0;
	fit_scaled_groups(x, &iq4_levels, -32, block, &c);
	memset(block + 4, 0, 4);
	for (int g = 0; g < 8; g++) {
		const uint32_t scale = (uint32_t)(c.scales[g] + 32);
		high |= scale >> 4 << 2 * g;
		block[4 + g / 2] |= (uint8_t)((scale & 15) << g % 2 * 4);
		put_nibbles(block + 8 + 16 * g, c.q + 32 * g);
	}
	put_u16(block + 2, (uint16_t)high);
}

/* The code nearest to x / d; the first of two. */
static uint8_t mxfp4_code(float x, float d)
{
	int best = 0;
	for (int i = 1; i < 8; i++)
		if (fabsf((float)evn_mxfp4_values[i] * d - fabsf(x)) < fabsf((float)evn_mxfp4_values[best] * d - fabsf(x)))
			best = i;
	return (uint8_t)(best | (best && x < 0 ? 8 : 0));
}

/* ggml's rule: the largest value lies in the highest of the four octaves, or a little above it. */
void evn_encode_mxfp4(const float *x, uint8_t *block)
{
	const float most = fabsf(extreme_of(x, 32));
	uint8_t q[32];
	block[0] = most > 0 ? (uint8_t)clamp(floorf(log2f(most)) + 125, 0, 255) : 0;
	for (int i = 0; i < 32; i++)
		q[i] = mxfp4_code(x[i], ldexpf(1, block[0] - 128));
	put_nibbles(block + 1, q);
}

/* The nearest code as ggml rounds: half a step goes up, and above 240 there is only the largest number. */
static uint8_t ue4m3_code(float f)
{
	int exponent;
	if (!(f > 0))
		return 0;
	const float fraction = frexpf(f, &exponent); /* f = fraction 2^exponent, 0.5 <= fraction < 1 */
	if (exponent <= -6)
		return (uint8_t)floor_to(f * 512 + 0.5f, 7);
	const int code = (exponent + 6) * 8 + (int)(fraction * 16 + 0.5f) - 8; /* a carry gives the right result */
	return (uint8_t)(code >= 0x78 ? 0x7e : code);
}

/* ggml's rule: the largest value of a group of 16 is the largest that a float of 4 bits has, which is 6. */
void evn_encode_nvfp4(const float *x, uint8_t *block)
{
	for (int group = 0; group < 4; group++, x += 16) {
		block[group] = ue4m3_code(fabsf(extreme_of(x, 16)) / 6);
		const float d = evn_ue4m3_to_float(block[group]) * 0.5f;
		for (int i = 0; i < 8; i++)
			block[4 + group * 8 + i] = (uint8_t)(mxfp4_code(x[i], d) | mxfp4_code(x[i + 8], d) << 4);
	}
}
