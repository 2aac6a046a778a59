// loss.cl - cross-entropy if every rank has only the logits of its own vocabulary rows (Shoeybi et al. 2019). For
// each token the ranks exchange three numbers: the largest logit, the sum of the exponentials relative to it, and the
// target's logit.
#include "common.cl"
#include "train/arguments.h"

#define LOWEST -3.0e38f // of a rank without rows; with an infinity the differences would be NaN

// stats[t][rank] = this rank's three numbers, and zeros for the other ranks. The sum over ranks thus has the numbers
// of all ranks. logits (n_tok, stride). Work-item t.
kernel void loss_stats(global float *stats, const global float *logits, const global uint *targets, evn_loss l)
{
	size_t t = get_global_id(0);
	const global float *row = logits + t * l.stride;
	global float *out = stats + t * l.n_ranks * EVN_LOSS_STATS;
	float top = LOWEST, sum = 0.0f;
	float16 tops = LOWEST, sums = 0.0f;
	uint whole = l.n / 16 * 16, target = targets[l.offset + t] - l.first; // wraps if the target is below first
	for (uint i = 0; i < whole; i += 16)
		tops = fmax(tops, vload16(0, row + i));
	float8 a = fmax(tops.lo, tops.hi);
	float4 b = fmax(a.lo, a.hi);
	float2 c = fmax(b.lo, b.hi);
	top = fmax(c.x, c.y);
	for (uint i = whole; i < l.n; i++)
		top = fmax(top, row[i]);
	for (uint i = 0; i < whole; i += 16)
		sums += exp(vload16(0, row + i) - top);
	sum = sum16(sums);
	for (uint i = whole; i < l.n; i++)
		sum += exp(row[i] - top);
	for (uint i = 0; i < l.n_ranks * EVN_LOSS_STATS; i++)
		out[i] = 0.0f;
	out[l.rank * EVN_LOSS_STATS] = top;
	out[l.rank * EVN_LOSS_STATS + 1] = sum;
	out[l.rank * EVN_LOSS_STATS + 2] = target < l.n ? row[target] : 0.0f;
}

// losses[offset + t] = -log p(target), from the stats of all ranks. logits becomes the gradient of the loss times
// scale, (p - [row is the target]) scale, and 0 from n up to the stride. Work-item t.
kernel void loss_gradient(global float *losses, global float *logits, const global float *stats, const global uint *targets,
                          evn_loss l, float scale)
{
	size_t t = get_global_id(0);
	const global float *in = stats + t * l.n_ranks * EVN_LOSS_STATS;
	global float *row = logits + t * l.stride;
	float top = LOWEST, sum = 0.0f, at_target = 0.0f;
	for (uint r = 0; r < l.n_ranks; r++)
		top = fmax(top, in[r * EVN_LOSS_STATS]);
	for (uint r = 0; r < l.n_ranks; r++) {
		sum = fma(in[r * EVN_LOSS_STATS + 1], exp(in[r * EVN_LOSS_STATS] - top), sum);
		at_target += in[r * EVN_LOSS_STATS + 2];
	}
	losses[l.offset + t] = log(sum) + top - at_target;
	float factor = scale / sum;
	for (uint i = 0; i < l.stride; i += 16)
		vstore16(exp(vload16(0, row + i) - top) * factor, 0, row + i);
	uint target = targets[l.offset + t] - l.first;
	if (target < l.n)
		row[target] -= scale;
	for (uint i = l.n; i < l.stride; i++)
		row[i] = 0.0f;
}
