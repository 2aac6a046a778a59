/* test_comm_rows.c - what belongs to the sum of rows: the norm of the layer above, computed by the kernel that adds,
 * in every format and with every method; gathering columns to the host; broadcasting host rows to every rank. */
#include "engine/comm_ranks.h"

#include <math.h>

#include "nn/norm.h"

enum { N_ROWS = 3, DIM = 75, STRIDE = 96, N_FLOATS = N_ROWS * STRIDE };

typedef struct {
	ranks r;
	evn_norm norm[MOST_RANKS];
	evn_buf *y[2][MOST_RANKS]; /* y of the kernel that adds, and of the norm alone */
	evn_buf *w[MOST_RANKS], *bias[MOST_RANKS];
	float matrix[N_ROWS * 100];
} rows;

static evn_buf *upload(ranks *r, uint32_t rank, const float *values, uint32_t n)
{
	evn_error err = {0};
	evn_buf *b;
	require_ok(evn_buf_create(&b, r->devices[rank % r->n_devices], n * sizeof *values, EVN_BUF_DEVICE, "rows", &err));
	require_ok(evn_write(r->queues[rank], b, 0, values, n * sizeof *values, &err));
	return b;
}

static void open_rows(rows *t, const char *devices, evn_reduce how)
{
	float values[N_FLOATS] = {0};
	*t = (rows){0};
	ranks_open(&t->r, devices, 1, (evn_comm_config){.reduce = how, .max_floats = N_FLOATS});
	for (uint32_t i = 0; i < DIM; i++)
		values[i] = 1 + 0.01f * (float)i;
	for (uint32_t rank = 0; rank < t->r.n; rank++) {
		t->w[rank] = upload(&t->r, rank, values, STRIDE);
		t->bias[rank] = upload(&t->r, rank, values, STRIDE);
		t->y[0][rank] = upload(&t->r, rank, values, N_FLOATS);
		t->y[1][rank] = upload(&t->r, rank, values, N_FLOATS);
	}
}

static void close_rows(rows *t)
{
	for (uint32_t rank = 0; rank < t->r.n; rank++) {
		evn_buf_free(t->w[rank]);
		evn_buf_free(t->bias[rank]);
		evn_buf_free(t->y[0][rank]);
		evn_buf_free(t->y[1][rank]);
	}
	ranks_close(&t->r);
}

/* ---- norms ----------------------------------------------------------------------------------------------------- */

static evn_status norm_alone(rows *t, uint32_t rank, evn_error *err)
{
	evn_queue *q = t->r.queues[rank];
	const uint32_t items = evn_device_row_items(evn_queue_device(q));
	evn_norm alone = t->norm[rank];
	evn_spec spec = evn_spec_of("norm_rows.cl");
	evn_kernel *k;
	alone.y = t->y[1][rank];
	if (alone.kind == EVN_NORM_REPLACE)
		alone.kind = EVN_NORM_NONE; /* the sum's rows are the norm */
	evn_spec_norm(&spec, alone.kind, alone.format, items);
	EVN_TRY(evn_kernel_get(&k, q, &spec, "norm_rows", err));
	return evn_norm_launch(k, items, &alone, t->r.x[rank], 0, N_ROWS, STRIDE, err);
}

/* Both buffers of the stream are written before. */
static evn_status sum_and_norm(void *arg, uint32_t rank, evn_error *err)
{
	rows *t = arg;
	float partial[N_FLOATS] = {0};
	for (uint32_t i = 0; i < N_FLOATS; i++)
		partial[i] = i % STRIDE < DIM ? 0.1f * (float)((i + rank) % 13) - 0.5f : 0;
	evn_comm_step_begin(t->r.comm, rank);
	EVN_TRY(evn_write(t->r.queues[rank], evn_comm_partial(t->r.comm, rank, 0), 0, partial, sizeof partial, err));
	const evn_sum sum = {.x = t->r.x[rank],
						 .n_rows = N_ROWS,
						 .stride = STRIDE,
						 .ranks = UINT64_MAX >> (64 - t->r.n),
						 .kept = 0.75f,
						 .scale = 0.5f,
						 .then = evn_norm_epilogue(&t->norm[rank])};
	EVN_TRY(evn_comm_all_reduce(t->r.comm, rank, &sum, err));
	EVN_TRY(norm_alone(t, rank, err));
	return evn_comm_step_end(t->r.comm, rank, err);
}

static void check_norm(rows *t, evn_norm_kind kind, evn_act_format format)
{
	evn_error err = {0};
	float got[N_FLOATS], want[N_FLOATS];
	/* 8-bit blocks fill only a part of the rows */
	const size_t bytes = format == EVN_ACT_F32 ? sizeof got : sizeof got / 2;
	for (uint32_t rank = 0; rank < t->r.n; rank++)
		t->norm[rank] = (evn_norm){.kind = kind,
								   .format = format,
								   .y = t->y[0][rank],
								   .w = kind == EVN_NORM_NONE ? NULL : t->w[rank],
								   .bias = kind == EVN_NORM_LAYER || kind == EVN_NORM_REPLACE ? t->bias[rank] : NULL,
								   .dim = DIM,
								   .eps = 1e-5f};
	require_ok(evn_team_run(t->r.team, sum_and_norm, t, NULL, NULL, &err));
	for (uint32_t rank = 0; rank < t->r.n; rank++) {
		require_ok(evn_read(t->r.queues[rank], t->y[0][rank], 0, got, bytes, &err));
		require_ok(evn_read(t->r.queues[rank], t->y[1][rank], 0, want, bytes, &err));
		assert_memory_equal(got, want, bytes);
		assert_true(format == EVN_ACT_Q8 || (isfinite(got[1]) && got[1] != 0));
	}
}

static void check_norms(const char *devices, evn_reduce how)
{
	rows t;
	open_rows(&t, devices, how);
	for (evn_norm_kind kind = 0; kind < EVN_NORM_KINDS; kind++)
		for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++)
			check_norm(&t, kind, format);
	close_rows(&t);
}

static void test_norms(void **at)
{
	(void)at;
	check_norms("pocl", EVN_REDUCE_AUTO);
	check_norms("pocl/1+1", EVN_REDUCE_HOST);
	check_norms("pocl/1+1", EVN_REDUCE_EVENTS);
	check_norms("pocl/1+1", EVN_REDUCE_FLAGS);
}

/* ---- gather and broadcast -------------------------------------------------------------------------------------- */

/* 100 columns: 7 of rank 0, none of rank 1, the rest of rank 2. The 3 columns before them belong to no rank. */
static evn_gather columns_of(rows *t, uint32_t rank)
{
	static const uint32_t begin[] = {0, 7, 10}, n[] = {7, 0, 90};
	return (evn_gather){.from = t->r.x[rank],
						.to = t->matrix,
						.from_stride = STRIDE,
						.to_stride = 100,
						.n_rows = N_ROWS,
						.column = begin[rank],
						.n_columns = n[rank]};
}

static float value_at(uint32_t i) { return 0.25f * (float)i - 3; }

static evn_status share_and_gather(void *arg, uint32_t rank, evn_error *err)
{
	rows *t = arg;
	static float all[N_FLOATS];
	if (rank == 0)
		for (uint32_t i = 0; i < N_FLOATS; i++)
			all[i] = value_at(i);
	evn_comm_step_begin(t->r.comm, rank);
	EVN_TRY(evn_comm_barrier(t->r.comm, rank, err));
	EVN_TRY(evn_comm_broadcast(t->r.comm, rank, t->r.x[rank], all, N_FLOATS, err));
	const evn_gather g = columns_of(t, rank);
	EVN_TRY(evn_comm_gather(t->r.comm, rank, &g, err));
	return evn_comm_step_end(t->r.comm, rank, err);
}

static void test_gather_and_broadcast(void **at)
{
	evn_error err = {0};
	rows t;
	(void)at;
	open_rows(&t, "pocl,pocl,pocl", EVN_REDUCE_HOST);
	for (uint32_t i = 0; i < sizeof t.matrix / sizeof *t.matrix; i++)
		t.matrix[i] = 77;
	require_ok(evn_team_run(t.r.team, share_and_gather, &t, NULL, NULL, &err));
	for (uint32_t row = 0; row < N_ROWS; row++)
		for (uint32_t column = 0; column < 100; column++) {
			const uint32_t first = column < 7 ? 0 : 10;
			const float want = column >= 7 && column < 10 ? 77 : value_at(row * STRIDE + column - first);
			assert_true(t.matrix[row * 100 + column] == want);
		}
	close_rows(&t);
}

int main(void)
{
	const int found = ranks_find_drivers("pocl");
	if (found)
		return found;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_norms), cmocka_unit_test(test_gather_and_broadcast)};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
