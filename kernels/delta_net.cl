// delta_net.cl - gated DeltaNet (Yang et al. 2024), as in Qwen 3.5: a short causal convolution, then linear attention whose
// memory of each value head is a matrix T of STATE rows and columns. Row i belongs to entry i of a key. Parameters: STATE, a
// multiple of 16; TAPS of the convolution.
//
// Rows of activations hold the queries of all heads, then their keys, then the values, then the gates, STATE columns each.
// A run is a number of rows of one sequence; a work-item goes through them one after the other, so a row has the same bits
// however its sequence is cut into steps.
#include "common.cl"

#ifndef STATE
#define STATE 64
#endif
#ifndef TAPS
#define TAPS 4
#endif
#define NONE UINT_MAX // a place: there is no state yet

typedef struct {
	uint first_row, n_rows, from, to;
} run;

INLINE run load_run(const global uint *runs, uint i)
{
	const uint4 words = vload4(i, runs);
	const run r = {words.x, words.y, words.z, words.w};
	return r;
}

// x = silu(convolution over positions) for channels, the first columns of rows, in place. inputs (place, TAPS - 1, channels):
// what was before the run, and what is at its end. w (TAPS, channels). Work-item (LANES channels, run).
kernel IN_VECTORS void delta_conv(global float *x, uint stride, uint n_channels, global float *inputs, const global float *w,
                                  const global uint *runs)
{
	const size_t at = get_global_id(0);
	const run r = load_run(runs, get_global_id(1));
	floats before[TAPS], taps[TAPS];
	for (uint i = 0; i < TAPS; i++) {
		taps[i] = load_columns(w + (size_t)i * n_channels, at);
		before[i] = 0.0f;
		if (i < TAPS - 1 && r.from != NONE)
			before[i] = load_columns(inputs + ((size_t)r.from * (TAPS - 1) + i) * n_channels, at);
	}
	for (uint t = 0; t < r.n_rows; t++) {
		global float *row = x + (size_t)(r.first_row + t) * stride;
		floats sum = 0.0f;
		before[TAPS - 1] = load_columns(row, at);
		for (uint i = 0; i < TAPS; i++)
			sum = fma(taps[i], before[i], sum);
		store_columns(silu(sum), at, row);
		for (uint i = 0; i < TAPS - 1; i++)
			before[i] = before[i + 1];
	}
	for (uint i = 0; i < TAPS - 1; i++)
		store_columns(before[i], at, inputs + ((size_t)r.to * (TAPS - 1) + i) * n_channels);
}

INLINE float squares_of(const global float *x)
{
#if LANES == 16
	float16 sum = 0.0f;
	for (uint i = 0; i < STATE / 16; i++)
		sum = fma(vload16(i, x), vload16(i, x), sum);
	return sum16(sum);
#else
	float sum = 0.0f;
	for (uint i = 0; i < STATE; i++)
		sum = fma(x[i], x[i], sum);
	return sum;
#endif
}

// Makes the length of each query and key 1, and divides queries by sqrt(STATE). The first half of the heads are queries.
// Work-item (head, row).
kernel IN_VECTORS void delta_unit(global float *x, uint stride, uint n_queries)
{
	const uint head = get_global_id(0);
	global float *h = x + (size_t)get_global_id(1) * stride + head * STATE;
	float scale = 1.0f / sqrt(squares_of(h) + 1e-6f);
	if (head < n_queries)
		scale /= sqrt((float)STATE);
	for (size_t i = 0; i < STATE / LANES; i++)
		store_columns(load_columns(h, i) * scale, i, h);
}

// How much of the state stays, and how much of what is new is added.
INLINE float kept(float decay, float alpha) { return exp(decay * (alpha > 20.0f ? alpha : log1p(exp(alpha)))); }
INLINE float added(float beta) { return 1.0f / (1.0f + exp(-beta)); }

// For each row: T = kept T; T += key (added (value - T^t key))^t; the output of the head is T^t query.
//   at     the columns of y at which heads begin; those of x for keys and for values
//   heads  value heads; the model's index of the first one; likewise key heads
//   rates  alpha of the heads, then beta
// Work-item (LANES columns of all value heads, run).
kernel IN_VECTORS void delta_rule(global float *y, uint y_stride, const global float *x, uint stride, uint4 at, uint4 heads,
                                  uint all_keys, const global float *rates, uint rates_stride, const global float *decay,
                                  global float *states, const global uint *runs)
{
	const size_t column = get_global_id(0);
	const uint head = column * LANES / STATE;
	const uint key = (heads.y + head) % all_keys - heads.w;
	const run r = load_run(runs, get_global_id(1));
	const size_t place = (size_t)STATE * STATE * heads.x, own = (size_t)STATE * STATE * head;
	const size_t vector = column - (size_t)head * (STATE / LANES);
	floats T[STATE];
	if (r.from == NONE)
		for (uint i = 0; i < STATE; i++)
			T[i] = 0.0f;
	else
		for (uint i = 0; i < STATE; i++)
			T[i] = load_columns(states + place * r.from + own + i * STATE, vector);
	for (uint t = 0; t < r.n_rows; t++) {
		const size_t n = r.first_row + t;
		const global float *row = x + n * stride, *q = row + key * STATE, *k = q + at.y;
		const float a = kept(decay[head], rates[n * rates_stride + head]);
		const float b = added(rates[n * rates_stride + heads.x + head]);
		floats known = 0.0f, out = 0.0f;
		for (uint i = 0; i < STATE; i++) {
			T[i] *= a;
			known = fma((floats)k[i], T[i], known);
		}
		const floats new = b * (load_columns(row + at.z, column) - known);
		for (uint i = 0; i < STATE; i++) {
			T[i] = fma((floats)k[i], new, T[i]);
			out = fma((floats)q[i], T[i], out);
		}
		store_columns(out, column, y + n * y_stride + at.x);
	}
	for (uint i = 0; i < STATE; i++)
		store_columns(T[i], vector, states + place * r.to + own + i * STATE);
}

// y = RMS norm of each head of y, times silu of its gate in x. Columns of y beside the heads become zeros. Work-item
// (head, row), and one more for the other columns.
kernel IN_VECTORS void delta_gate(global float *y, uint y_stride, uint y_offset, uint n_heads, const global float *x, uint stride,
                                  uint z_offset, const global float *w, float eps)
{
	const uint head = get_global_id(0);
	const size_t row = get_global_id(1);
	global float *out = y + row * y_stride;
	if (head == n_heads) {
		for (uint i = 0; i < y_offset; i++)
			out[i] = 0.0f;
		for (uint i = y_offset + n_heads * STATE; i < y_stride; i++)
			out[i] = 0.0f;
		return;
	}
	out += y_offset + head * STATE;
	const global float *z = x + row * stride + z_offset + head * STATE;
	const float scale = 1.0f / sqrt(squares_of(out) / (float)STATE + eps);
	for (size_t i = 0; i < STATE / LANES; i++)
		store_columns(load_columns(out, i) * scale * load_columns(w, i) * silu(load_columns(z, i)), i, out);
}
