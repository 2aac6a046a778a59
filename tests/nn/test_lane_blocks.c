/* test_lane_blocks.c - with 1 lane a row has the same bits whether 8 rows are multiplied at once or blocks of 64. An
 * argument names another platform than pocl, further ones other weight formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/ops.h"

#define ROWS 69u /* more than a block of weights */
#define COLUMNS 768u
#define TOKENS 67u /* more than a block of rows, and no multiple of 8 */
#define ROOM 72u
#define STRIDE 96u /* of the results */

static const char *platform = "pocl", *const usual[] = {"Q4_1", "F16"}, *const *formats = usual;
static size_t n_formats = sizeof usual / sizeof *usual;

static void require_ok(evn_status s, const evn_error *err)
{
	if (s != EVN_OK)
		fail_msg("%s", err->text);
}

/* Halves and scales are normal numbers: their bytes have no bits that make exponents large. */
static evn_status make_matrix(evn_matrix *m, evn_queue *q, const evn_quant *quant, evn_error *err)
{
	const uint64_t size = (uint64_t)ROWS * COLUMNS / quant->block_len * quant->block_bytes;
	uint8_t *blocks = malloc(size);
	uint32_t random = 1;
	assert_non_null(blocks);
	for (uint64_t i = 0; i < size; i++)
		blocks[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24) & 0xbf;
	const evn_tensor tensor = {
		.quant = quant, .n_dims = 2, .shape = {COLUMNS, ROWS, 1, 1}, .size_bytes = size, .data = blocks};
	evn_status s = evn_matrix_split_output(m, q, &(evn_row_block){&tensor, {0, ROWS}}, 1, NULL, err);
	free(blocks);
	return s;
}

static evn_buf *make_buffer(evn_queue *q, uint64_t floats)
{
	evn_error err = {0};
	evn_buf *buf;
	void *host;
	require_ok(evn_buf_create(&buf, evn_queue_device(q), floats * sizeof(float), EVN_BUF_DEVICE, "rows", &err), &err);
	require_ok(evn_map(q, buf, floats * sizeof(float), EVN_MAP_OVERWRITE, true, &host, &err), &err);
	for (uint64_t i = 0; i < floats; i++)
		((float *)host)[i] = (float)((int)(i * 7919 % 2003) - 1001) / 1000;
	require_ok(evn_unmap(q, buf, host, &err), &err);
	return buf;
}

static void multiply(evn_ops *ops, evn_queue *q, const evn_matrix *m, const evn_buf *x, evn_act_format format,
					 double cost, float *out)
{
	evn_error err = {0};
	evn_buf *y = make_buffer(q, (uint64_t)ROOM * STRIDE);
	void *host;
	evn_ops_set_block_cost(ops, cost);
	require_ok(evn_op_quantised(ops, y, STRIDE, format, x, COLUMNS, m, TOKENS, &err), &err);
	require_ok(evn_map(q, y, (uint64_t)TOKENS * STRIDE * sizeof(float), EVN_MAP_READ, true, &host, &err), &err);
	memcpy(out, host, (size_t)TOKENS * STRIDE * sizeof(float));
	require_ok(evn_unmap(q, y, host, &err), &err);
	require_ok(evn_queue_finish(q, &err), &err);
	evn_buf_free(y);
}

static void compare(evn_queue *q, const evn_quant *quant)
{
	static float by_eight[TOKENS * STRIDE], in_blocks[TOKENS * STRIDE];
	evn_error err = {0};
	evn_ops *ops;
	evn_matrix m = {0};
	const evn_ops_config config = {.dot = quant->block_len > 1 ? EVN_DOT_LANES_PLAIN : EVN_DOT_LANES_NONE};
	require_ok(evn_ops_create(&ops, q, &config, &err), &err);
	require_ok(make_matrix(&m, q, quant, &err), &err);
	const evn_act_format format = evn_op_act_format(ops, &m, EVN_DECODE);
	evn_buf *x = make_buffer(q, (uint64_t)ROOM * COLUMNS), *rounded = make_buffer(q, (uint64_t)ROOM * COLUMNS);
	if (format == EVN_ACT_Q8)
		require_ok(evn_op_store(ops, format, rounded, x, COLUMNS, ROOM, &err), &err);
	const evn_buf *read = format == EVN_ACT_Q8 ? rounded : x;
	multiply(ops, q, &m, read, format, EVN_BLOCKS_NEVER, by_eight);
	multiply(ops, q, &m, read, format, EVN_BLOCKS_ALWAYS, in_blocks);
	for (uint32_t i = 0; i < TOKENS * STRIDE; i++)
		if (memcmp(&by_eight[i], &in_blocks[i], sizeof(float)))
			fail_msg("%s: row %u, token %u: %.9g in a block, %.9g among 8", quant->name, i % STRIDE, i / STRIDE,
					 (double)in_blocks[i], (double)by_eight[i]);
	evn_buf_free(x);
	evn_buf_free(rounded);
	evn_matrix_free(&m);
	evn_ops_free(ops);
}

static void rows_have_the_same_bits(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_system *sys;
	evn_pick pick;
	size_t n = 0;
	evn_device *d;
	evn_queue *q;
	require_ok(evn_system_open(&sys, &err), &err);
	if (evn_system_select(sys, platform, 0, &pick, &n, 1, &err) != EVN_OK) {
		evn_system_close(sys);
		skip();
	}
	require_ok(evn_devices_open(sys, &pick, 1, &d, &err), &err);
	evn_device_set_lanes(d, 1);
	require_ok(evn_queue_create(&q, d, &err), &err);
	for (size_t i = 0; i < n_formats; i++)
		compare(q, evn_quant_by_name(formats[i]));
	evn_queue_free(q);
	evn_device_close(d);
	evn_system_close(sys);
}

int main(int argc, char **argv)
{
	setenv("EVENER_CACHE_DIR", EVN_BINARY_DIR "/tests/cache", 0);
	if (argc > 1)
		platform = argv[1];
	if (argc > 2) {
		formats = (const char *const *)argv + 2;
		n_formats = (size_t)argc - 2;
	}
	const struct CMUnitTest tests[] = {cmocka_unit_test(rows_have_the_same_bits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
