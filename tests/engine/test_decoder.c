/* test_decoder.c - the layer walk against logits computed elsewhere in float64 (oracle.py), for every weight format,
 * architecture, head layout and rope scaling that decoder_cases.py makes, cut over ranks in several ways.
 *   test_decoder [FOLDER [DEVICES [PREFILL]]]
 * FOLDER left out: EVENER_TEST_CASES. DEVICES of several drivers (pocl,intel) replace the ways on one; PREFILL:
 * tokens of a prompt piece. */
#include "engine/harness.h"

#include <dirent.h>
#include <math.h>

#include "group/team.h"
#include "nn/embed.h"
#include "nn/shape.h"
#include "nn/walk.h"

/* Of the largest logit; 1.5e-6 was seen. Bounding f32 sums of up to 768 products by n units of 2^-24 would allow some
 * 1e-3, but errors do not all go one way. A value that passed through f16 is off by 5e-4, a wrong formula or block by
 * 1e-2 and more. */
#define TOLERANCE 2e-5

typedef struct {
	const char *devices;
	uint32_t n_ranks;
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	evn_reduce reduce;
	bool gemm;        /* of prompts */
	uint32_t prefill; /* tokens */
} cut;

static const cut on_one_driver[] = {
	{"pocl", 1, {1}, {1}, EVN_REDUCE_HOST, false, 36},
	{"pocl,pocl", 2, {5, 3}, {1, 9}, EVN_REDUCE_EVENTS, false, 36},
	{"pocl,pocl,pocl", 3, {1, 5, 2}, {1, 5, 2}, EVN_REDUCE_HOST, true, 7},
	{"pocl,pocl,pocl", 3, {3, 0, 4}, {0, 5, 1}, EVN_REDUCE_EVENTS, true, 36},
};

static cut one_cut[2];
static const cut *cuts = on_one_driver;
static size_t n_cuts = sizeof on_one_driver / sizeof *on_one_driver;
static evn_system *drivers;

typedef struct {
	uint32_t n_ids, n_positions, vocab;
	int32_t *ids;
	uint32_t *positions;
	double *logits; /* (n_positions, vocab) */
} expected;

typedef struct {
	uint32_t n;
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	evn_shard *shards[EVN_MAX_RANKS];
	evn_view *views[EVN_MAX_RANKS];
	evn_workspace *workspaces[EVN_MAX_RANKS];
	evn_cache *caches[EVN_MAX_RANKS];
	evn_block_pool pool;
	evn_slot slot;
	evn_comm *comm;
	evn_team *team;
	evn_graph *graph;
	evn_limits limits;
	evn_split split;
	bool gemm;
	evn_batch batch;
} ranks;

static void *read_all(FILE *f, size_t n, size_t size)
{
	void *p = malloc(n * size);
	assert_non_null(p);
	assert_int_equal(fread(p, size, n, f), n);
	return p;
}

static expected read_expected(const char *path)
{
	expected e;
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(&e, sizeof(uint32_t), 3, f), 3);
	e.ids = read_all(f, e.n_ids, sizeof *e.ids);
	e.positions = read_all(f, e.n_positions, sizeof *e.positions);
	e.logits = read_all(f, (size_t)e.n_positions * e.vocab, sizeof *e.logits);
	fclose(f);
	return e;
}

static void free_expected(expected *e)
{
	free(e->ids);
	free(e->positions);
	free(e->logits);
}

static void give_up(void *arg) { evn_comm_cancel(((ranks *)arg)->comm); }

static evn_status load(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	evn_queue *q = r->queues[rank];
	EVN_TRY(evn_shard_load(&r->shards[rank], q, r->graph, &r->split, rank, NULL, err));
	EVN_TRY(evn_view_make(&r->views[rank], r->shards[rank], &r->split, rank, err));
	EVN_TRY(evn_workspace_create(&r->workspaces[rank], q, r->shards[rank], r->limits, err));
	evn_ops_set_gemm(r->workspaces[rank]->ops, r->gemm);
	return evn_cache_create(&r->caches[rank], q, r->shards[rank], r->limits.kv_cache, r->pool.n_blocks, err);
}

static evn_status run_step(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	const evn_walker w = {r->views[rank], r->workspaces[rank], r->caches[rank], r->comm};
	return evn_walk(&w, &r->batch, err);
}

static void pick_devices(ranks *r, const cut *c)
{
	evn_error err = {0};
	evn_pick picks[EVN_MAX_RANKS];
	char list[128], *rest = list;
	size_t n = 0;
	snprintf(list, sizeof list, "%s", c->devices);
	for (char *item; (item = strsep(&rest, ","));)
		require_ok(evn_system_select(drivers, item, 0, picks, &n, EVN_MAX_RANKS, &err));
	assert_int_equal(n, c->n_ranks);
	require_ok(evn_devices_open(drivers, picks, n, r->devices, &err));
	r->n = (uint32_t)n;
	for (uint32_t i = 0; i < r->n; i++) {
		evn_device_build_throwaway(r->devices[i], true); /* no other test runs these kernels */
		require_ok(evn_queue_create(&r->queues[i], r->devices[i], &err));
	}
}

static void open_ranks(ranks *r, const evn_model *m, const cut *c)
{
	evn_error err = {0};
	evn_plan_shape shape;
	uint64_t memory[EVN_MAX_RANKS];
	*r = (ranks){.gemm = c->gemm};
	r->limits = (evn_limits){.n_ctx = evn_model_hparams(m)->n_ctx_train, .n_batch = c->prefill};
	require_ok(evn_graph_make(&r->graph, m, &err));
	require_ok(evn_pool_grow(&r->pool, evn_blocks_for(r->limits.n_ctx), &err));
	require_ok(evn_slot_extend(&r->slot, &r->pool, r->limits.n_ctx, &err));
	pick_devices(r, c);
	for (uint32_t i = 0; i < r->n; i++)
		memory[i] = UINT64_MAX;
	require_ok(evn_graph_shape(r->graph, r->limits, &shape, &err));
	require_ok(evn_split_make(&r->split, &shape, r->n, c->shares, c->prompt_shares, memory, &err));
	require_ok(evn_comm_create(&r->comm, r->queues, r->n, c->reduce, EVN_MESSAGES_F32,
								evn_message_floats(r->graph->h, r->limits.n_batch), &err));
	require_ok(evn_team_create(&r->team, r->n, give_up, r, &err));
	require_ok(evn_team_run(r->team, load, r, NULL, NULL, &err));
}

static void close_ranks(ranks *r)
{
	evn_team_free(r->team);
	evn_comm_free(r->comm);
	for (uint32_t i = 0; i < r->n; i++) {
		evn_cache_free(r->caches[i]);
		evn_workspace_free(r->workspaces[i]);
		evn_view_free(r->views[i]);
		evn_shard_free(r->shards[i]);
		evn_queue_free(r->queues[i]);
	}
	for (uint32_t i = 0; i < r->n; i++)
		evn_device_close(r->devices[i]);
	evn_split_free(&r->split);
	evn_slot_free(&r->slot, &r->pool);
	evn_pool_free(&r->pool);
	evn_graph_free(r->graph);
}

/* Logits of all tokens: pieces of a prompt, the last four tokens one by one. */
static float *walk(ranks *r, const expected *e, uint32_t prefill)
{
	evn_error err = {0};
	uint32_t dim = r->graph->h->dim, stride = (uint32_t)evn_round_up(dim, EVN_PAD);
	evn_embedding embedding;
	require_ok(evn_embedding_find(&embedding, r->graph, &err));
	float *rows = calloc((size_t)prefill * stride, sizeof *rows), *scratch = calloc(stride, sizeof *scratch);
	float *all = malloc((size_t)e->n_ids * e->vocab * sizeof *all);
	uint32_t every_row[256];
	assert_true(rows && scratch && all && prefill <= 256);
	for (uint32_t i = 0; i < 256; i++)
		every_row[i] = i;
	for (uint32_t at = 0, n; at < e->n_ids; at += n) {
		n = e->n_ids - 4 <= at ? 1 : e->n_ids - 4 - at < prefill ? e->n_ids - 4 - at : prefill;
		evn_embed(&embedding, e->ids + at, n, at, rows, stride, scratch);
		const evn_span span = {
			.slot = &r->slot, .n_rows = n, .position = at, .phase = n > 1 ? EVN_PROMPT : EVN_DECODE};
		r->batch = (evn_batch){.n_rows = n,
							   .n_spans = 1,
							   .spans = &span,
							   .x = rows,
							   .n_out = n,
							   .out_rows = every_row,
							   .out = all + (size_t)at * e->vocab};
		require_ok(evn_team_run(r->team, run_step, r, NULL, NULL, &err));
	}
	free(rows);
	free(scratch);
	return all;
}

/* The largest difference, as a fraction of the largest logit. */
static double compare(const float *got, const expected *e)
{
	double largest = 0, worst = 0;
	for (uint32_t i = 0; i < e->n_positions; i++)
		for (uint32_t v = 0; v < e->vocab; v++) {
			double want = e->logits[(size_t)i * e->vocab + v];
			double difference = fabs((double)got[(size_t)e->positions[i] * e->vocab + v] - want);
			largest = fmax(largest, fabs(want));
			worst = difference > worst || isnan(difference) ? difference : worst;
		}
	return worst / largest;
}

static void test_case(void **at)
{
	const char *path = *at;
	evn_error err = {0};
	evn_model *m;
	char *expected_path = evn_format("%.*s.expected", (int)(strlen(path) - strlen(".gguf")), path);
	expected e = read_expected(expected_path);
	require_ok(evn_model_open(&m, path, &err));
	size_t n_wrong = 0;
	for (size_t i = 0; i < n_cuts; i++) {
		ranks r;
		open_ranks(&r, m, &cuts[i]);
		float *got = walk(&r, &e, cuts[i].prefill);
		double worst = compare(got, &e);
		print_message("%s, way %zu: %.2g\n", cuts[i].devices, i, worst);
		n_wrong += !(worst <= TOLERANCE);
		free(got);
		close_ranks(&r);
	}
	evn_model_close(m);
	free_expected(&e);
	free(expected_path);
	assert_int_equal(n_wrong, 0);
}

#define MOST_CASES 64

static size_t find_cases(const char *folder, struct CMUnitTest *tests)
{
	struct dirent **files;
	int n_files = scandir(folder, &files, NULL, alphasort);
	size_t n = 0;
	for (int i = 0; i < n_files; i++) {
		size_t length = strlen(files[i]->d_name);
		if (length > 5 && !strcmp(files[i]->d_name + length - 5, ".gguf") && n < MOST_CASES) {
			char *path = evn_format("%s/%s", folder, files[i]->d_name);
			tests[n++] = (struct CMUnitTest){evn_strdup(files[i]->d_name), test_case, NULL, NULL, path};
		}
		free(files[i]);
	}
	if (n_files >= 0)
		free(files);
	return n;
}

static void use_cuts(int argc, char **argv)
{
	uint32_t prefill = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 36;
	uint32_t n = 1;
	for (const char *c = argv[2]; *c; c++)
		n += *c == ',';
	one_cut[0] = (cut){argv[2], n, {3, 5, 2}, {4, 1, 1}, EVN_REDUCE_HOST, false, prefill};
	one_cut[1] = (cut){argv[2], n, {5, 2, 4}, {0, 1, 3}, EVN_REDUCE_HOST, true, prefill / 2};
	cuts = one_cut;
	n_cuts = 2;
}

int main(int argc, char **argv)
{
	static struct CMUnitTest tests[MOST_CASES];
	evn_error err = {0};
	const char *folder = argc > 1 ? argv[1] : getenv("EVENER_TEST_CASES");
	if (!folder)
		return missing("EVENER_TEST_CASES names no folder");
	size_t n = find_cases(folder, tests);
	if (!n)
		return missing("the folder holds no cases: python3 has no numpy");
	if (argc > 2)
		use_cuts(argc, argv);
	for (size_t i = 0; i < n_cuts; i++)
		for (const char *name = "pocl\0intel\0rusticl\0"; *name; name += strlen(name) + 1)
			if (strstr(cuts[i].devices, name) && !driver_exists(name))
				return missing(name);
	if (evn_system_open(&drivers, &err) != EVN_OK)
		return fprintf(stderr, "%s\n", err.text), 1;
	int failed = _cmocka_run_group_tests(folder, tests, n, NULL, NULL);
	evn_system_close(drivers);
	for (size_t i = 0; i < n; i++) {
		free(tests[i].initial_state);
		free((char *)(uintptr_t)tests[i].name);
	}
	return failed;
}
