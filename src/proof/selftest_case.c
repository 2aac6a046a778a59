/* selftest_case.c - runs one case: its data, its comparison, its report. */
#include "proof/selftest_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool evn_case_has_format(const evn_cases *c, evn_act_format format)
{
	const uint32_t dots = c->options.dots;
	return !dots || (dots & evn_dots_of_format(format == EVN_ACT_Q8));
}

uint32_t evn_case_bits(evn_cases *c)
{
	c->random = c->random * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
	return (uint32_t)(c->random >> 32);
}

float evn_case_random(evn_cases *c) { return (float)(evn_case_bits(c) >> 8) * 0x1p-23f - 1.0f; }

evn_status evn_case_memory(evn_cases *c, void **out, uint64_t bytes, evn_error *err)
{
	if (c->n_memory == EVN_CASE_ALLOCATIONS)
		return evn_fail(err, EVN_ERR_LIMIT, "a self-test case makes more than %d allocations", EVN_CASE_ALLOCATIONS);
	*out = calloc(1, bytes);
	if (!*out)
		return evn_fail_memory(err, "self-test", bytes);
	c->memory[c->n_memory++] = *out;
	return EVN_OK;
}

/* The array has n floats, its buffer `room`. */
static evn_status make_array(evn_cases *c, evn_case_array *out, uint64_t n, uint64_t room, evn_error *err)
{
	void *values;
	*out = (evn_case_array){.n = n, .room = room};
	EVN_TRY(evn_case_memory(c, &values, room * sizeof *out->values, err));
	out->values = values;
	for (uint64_t i = 0; i < room; i++)
		out->values[i] = evn_case_random(c);
	if (c->n_bufs == EVN_CASE_ALLOCATIONS)
		return evn_fail(err, EVN_ERR_LIMIT, "a self-test case makes more than %d buffers", EVN_CASE_ALLOCATIONS);
	EVN_TRY(evn_buf_create(&out->buf, evn_queue_device(c->q), room * sizeof *out->values, EVN_BUF_DEVICE, "self-test",
						   err));
	c->bufs[c->n_bufs++] = out->buf;
	return EVN_OK;
}

evn_status evn_case_array_make(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err)
{
	return make_array(c, out, n, n, err);
}

evn_status evn_case_rows_make(evn_cases *c, evn_case_array *out, uint32_t n_rows, uint32_t stride, evn_error *err)
{
	return make_array(c, out, (uint64_t)n_rows * stride, evn_round_up(n_rows, EVN_BLOCK_TOKENS) * stride, err);
}

evn_status evn_case_upload(evn_cases *c, evn_case_array *a, evn_error *err)
{
	return evn_write(c->q, a->buf, 0, a->values, a->room * sizeof *a->values, err);
}

evn_status evn_case_input(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err)
{
	EVN_TRY(evn_case_array_make(c, out, n, err));
	return evn_case_upload(c, out, err);
}

/* The kernel is expected to change nothing, unless the case sets other values. */
static evn_status make_output(evn_cases *c, evn_case_array *out, evn_error *err)
{
	void *want, *bound;
	EVN_TRY(evn_case_upload(c, out, err));
	EVN_TRY(evn_case_memory(c, &want, out->n * sizeof *out->want, err));
	EVN_TRY(evn_case_memory(c, &bound, out->n * sizeof *out->bound, err));
	out->want = want;
	out->bound = bound;
	for (uint64_t i = 0; i < out->n; i++)
		out->want[i] = (double)out->values[i];
	return EVN_OK;
}

evn_status evn_case_output(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err)
{
	EVN_TRY(evn_case_array_make(c, out, n, err));
	return make_output(c, out, err);
}

evn_status evn_case_rows_output(evn_cases *c, evn_case_array *out, uint32_t n_rows, uint32_t stride, evn_error *err)
{
	EVN_TRY(evn_case_rows_make(c, out, n_rows, stride, err));
	return make_output(c, out, err);
}

static double largest(const evn_case_array *a)
{
	double most = 0;
	for (uint64_t i = 0; i < a->n; i++)
		most = fmax(most, fabs(a->want[i]));
	return most > 0 ? most : 1;
}

static double ratio(double error, double bound)
{
	return error <= bound ? (error > 0 ? error / bound : 0) : INFINITY;
}

void evn_case_compare(evn_cases *c, const char *what, uint64_t index, double got, double want, double bound,
					  double scale)
{
	double error = fabs(got - want), r = ratio(error, bound); /* a NaN exceeds every bound */
	if (r == INFINITY && !c->reason[0])
		snprintf(c->reason, sizeof c->reason, "%s[%llu] is %.9g, expected %.9g within %.2g", what,
				 (unsigned long long)index, got, want, bound);
	if (r > c->ratio) {
		c->ratio = r;
		c->max_error = error / scale;
		c->tolerance = bound / scale;
	}
}

evn_status evn_case_check(evn_cases *c, const evn_case_array *a, const char *what, evn_error *err)
{
	void *memory;
	EVN_TRY(evn_case_memory(c, &memory, a->n * sizeof(float), err));
	EVN_TRY(evn_read(c->q, a->buf, 0, memory, a->n * sizeof(float), err));
	const double scale = largest(a);
	for (uint64_t i = 0; i < a->n; i++)
		evn_case_compare(c, what, i, (double)((const float *)memory)[i], a->want[i], a->bound[i], scale);
	return EVN_OK;
}

/* A block with the layout of kernels/q8.cl. Kernels with scalars end it before scaled_sum. */
typedef struct {
	int8_t bytes[32];
	float scale;
	int32_t sum;
	float scaled_half_sums[2], scaled_sum;
} q8_block;
_Static_assert(offsetof(q8_block, scale) == EVN_Q8_SCALE && offsetof(q8_block, sum) == EVN_Q8_SUM &&
				   offsetof(q8_block, scaled_half_sums) == EVN_Q8_HALF_SUMS &&
				   offsetof(q8_block, scaled_sum) == EVN_Q8_SCALED_SUM && sizeof(q8_block) == EVN_Q8_BYTES,
			   "kernels/constants.h");
_Static_assert(offsetof(q8_block, scaled_sum) == EVN_Q8_LANE_BYTES, "kernels/constants.h");

static evn_status read_q8(evn_cases *c, const evn_buf *buf, uint64_t n_blocks, const q8_block **out, evn_error *err)
{
	const uint64_t size = evn_device_lanes(evn_queue_device(c->q)) == 1 ? EVN_Q8_LANE_BYTES : sizeof(q8_block);
	void *memory, *read;
	EVN_TRY(evn_case_memory(c, &memory, n_blocks * sizeof(q8_block), err));
	EVN_TRY(evn_case_memory(c, &read, n_blocks * size, err));
	EVN_TRY(evn_read(c->q, buf, 0, read, n_blocks * size, err));
	q8_block *blocks = memory;
	for (uint64_t i = 0; i < n_blocks; i++) {
		memcpy(&blocks[i], (const uint8_t *)read + i * size, size);
		if (size < sizeof(q8_block))
			blocks[i].scaled_sum = blocks[i].scale * (float)blocks[i].sum;
	}
	*out = blocks;
	return EVN_OK;
}

static bool is_scaled(float value, float scale, int32_t sum)
{
	const double scaled = (double)scale * sum;
	return fabs((double)value - scaled) <= EVN_UNIT * fabs(scaled);
}

static void check_sums(evn_cases *c, const q8_block *b, uint64_t at, const char *what)
{
	int32_t sums[2] = {0};
	for (int k = 0; k < 32; k++)
		sums[k / 16] += b->bytes[k];
	const bool right = b->sum == sums[0] + sums[1] && is_scaled(b->scaled_sum, b->scale, b->sum) &&
					   is_scaled(b->scaled_half_sums[0], b->scale, sums[0]) &&
					   is_scaled(b->scaled_half_sums[1], b->scale, sums[1]);
	if (!right && !c->reason[0])
		snprintf(c->reason, sizeof c->reason,
				 "%s: block %llu of scale %.9g says that its bytes sum to %d, scaled %.9g + %.9g = %.9g; they sum to "
				 "%d + %d",
				 what, (unsigned long long)at, (double)b->scale, b->sum, (double)b->scaled_half_sums[0],
				 (double)b->scaled_half_sums[1], (double)b->scaled_sum, sums[0], sums[1]);
}

/* The error of rounding is half a step of the scale. The scale has the error of a division. So has its inverse, by
 * which the bytes are computed; the product is rounded once. All this is relative to a value of at most 127 steps. */
evn_status evn_case_check_q8(evn_cases *c, const evn_case_array *a, const char *what, evn_error *err)
{
	const q8_block *blocks;
	const double scale = largest(a), steps = 0.5 + 127 * (2 * EVN_DIVIDE_ERROR + 2 * EVN_UNIT);
	EVN_TRY(read_q8(c, a->buf, a->n / 32, &blocks, err));
	for (uint64_t b = 0; b < a->n / 32; b++) {
		double top = 0, slack = 0;
		for (uint64_t i = b * 32; i < b * 32 + 32; i++) {
			top = fmax(top, fabs(a->want[i]));
			slack = fmax(slack, a->bound[i]);
		}
		check_sums(c, &blocks[b], b, what);
		for (uint64_t i = b * 32; i < b * 32 + 32; i++)
			evn_case_compare(c, what, i, (double)blocks[b].scale * blocks[b].bytes[i % 32], a->want[i],
							 a->bound[i] + steps * (top + slack) / 127, scale);
	}
	return EVN_OK;
}

evn_status evn_case_check_format(evn_cases *c, const evn_case_array *a, evn_act_format format, const char *what,
								 evn_error *err)
{
	return format == EVN_ACT_Q8 ? evn_case_check_q8(c, a, what, err) : evn_case_check(c, a, what, err);
}

evn_status evn_case_read_q8(evn_cases *c, evn_case_array *a, const evn_buf *buf, evn_error *err)
{
	const q8_block *blocks;
	EVN_TRY(read_q8(c, buf, a->n / 32, &blocks, err));
	for (uint64_t i = 0; i < a->n; i++)
		a->values[i] = blocks[i / 32].scale * (float)blocks[i / 32].bytes[i % 32];
	return EVN_OK;
}

static void report(evn_cases *c, const char *name)
{
	const char *device = evn_device_id(evn_queue_device(c->q));
	bool passed = !c->reason[0];
	c->n_run++;
	c->n_failed += !passed;
	if (!passed && !c->first_failure[0])
		snprintf(c->first_failure, sizeof c->first_failure, "%s: %.500s", name, c->reason);
	if (c->fn)
		c->fn(c->user, &(evn_selftest_result){.device = device,
											  .kernel = name,
											  .passed = passed,
											  .max_error = c->max_error,
											  .tolerance = c->tolerance,
											  .reason = passed ? NULL : c->reason});
}

static bool is_wanted(const evn_selftest_options *o, const evn_case *what, const char *name)
{
	return (!o->only || strstr(name, o->only)) && (!o->subject || !strcmp(o->subject, what->subject)) &&
		   (!o->quant || o->quant == what->quant);
}

void evn_case_run(evn_cases *c, const evn_case *what, const char *details, ...)
{
	char text[96];
	evn_error err = {0};
	va_list args;
	int n = snprintf(text, sizeof text, "%s%s%s ", what->subject, what->quant ? " " : "",
					 what->quant ? what->quant->kernel : "");
	va_start(args, details);
	vsnprintf(text + n, sizeof text - (size_t)n, details, args);
	va_end(args);
	if (!is_wanted(&c->options, what, text))
		return;
	c->random = evn_hash_str(EVN_HASH_START, text); /* a case's inputs do not depend on the cases before it */
	c->max_error = c->tolerance = c->ratio = 0;
	c->reason[0] = 0;
	if (what->run(c, what->shape, &err) != EVN_OK)
		snprintf(c->reason, sizeof c->reason, "%s", err.text);
	report(c, text);
	while (c->n_bufs)
		evn_buf_free(c->bufs[--c->n_bufs]);
	while (c->n_memory)
		free(c->memory[--c->n_memory]);
}
