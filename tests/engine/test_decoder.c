/* test_decoder.c - compares the walk with logits computed in float64 by another program (oracle.py), for every
 * weight format, architecture, head layout and rope scaling that decoder_cases.py makes, and with several splits.
 *   test_decoder [FOLDER [DEVICES [PREFILL]]]
 *
 * FOLDER: EVENER_TEST_CASES if it is left out. DEVICES of several drivers (pocl,intel) replace the splits on one
 * driver. PREFILL: the tokens of a prompt in one step. EVENER_TEST_LANES=1: every rank computes with 1 lane, as GPUs
 * do. */
#include "engine/ranks.h"

#include <dirent.h>
#include <math.h>

#include "worst.h"

/* As a fraction of the largest logit; 1.5e-6 was seen. A bound of n units of 2^-24 for f32 sums of up to 768 products
 * would allow about 1e-3, but errors do not all have the same sign. A value that was stored in f16 is off by 5e-4, a
 * wrong formula or block by 1e-2 and more. */
#define TOLERANCE 2e-5

typedef struct {
	const char *devices;
	uint32_t n_ranks;
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	evn_reduce reduce;
	bool gemm;        /* for prompts */
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
	uint32_t n_ids, n_positions, vocab, n_text;
	int32_t *ids, *text; /* text: for the encoder, if there is one */
	uint32_t *positions;
	double *logits; /* (n_positions, vocab) */
} expected;

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
	assert_int_equal(fread(&e, sizeof(uint32_t), 4, f), 4);
	e.ids = read_all(f, e.n_ids, sizeof *e.ids);
	e.text = read_all(f, e.n_text, sizeof *e.text);
	e.positions = read_all(f, e.n_positions, sizeof *e.positions);
	e.logits = read_all(f, (size_t)e.n_positions * e.vocab, sizeof *e.logits);
	fclose(f);
	return e;
}

static void free_expected(expected *e)
{
	free(e->ids);
	free(e->text);
	free(e->positions);
	free(e->logits);
}

static void use_lanes(ranks *r)
{
	const char *lanes = getenv("EVENER_TEST_LANES");
	for (uint32_t i = 0; lanes && i < r->n; i++) {
		evn_device_set_lanes(r->devices[i], (uint32_t)strtoul(lanes, NULL, 10));
		r->limits.dot = evn_dot_f32(evn_device_lanes(r->devices[i]));
	}
}

static void open_ranks(ranks *r, const evn_model *m, const cut *c, const expected *e, evn_slot *slot,
					   evn_slot *memory)
{
	evn_error err = {0};
	const uint32_t n_ctx = evn_model_hparams(m)->n_ctx_train;
	*r = (ranks){.gemm = c->gemm,
				 .limits = {.n_ctx = n_ctx, .n_batch = c->prefill > e->n_text ? c->prefill : e->n_text}};
	ranks_open_devices(r, drivers, c->devices);
	assert_int_equal(r->n, c->n_ranks);
	use_lanes(r);
	ranks_start(r, m, c->shares, c->prompt_shares, c->reduce, 2 * evn_blocks_for(n_ctx));
	require_ok(evn_slot_extend(slot, &r->pool, n_ctx, &err));
	require_ok(evn_slot_extend(memory, &r->pool, n_ctx, &err));
}

/* The encoder reads the text. */
static void read_text(ranks *r, evn_slot *memory, const expected *e)
{
	evn_error err = {0};
	const uint32_t stride = evn_graph_row_floats(r->graph);
	evn_embedding embedding;
	float *rows = calloc((size_t)e->n_text * stride, sizeof *rows), *scratch = calloc(stride, sizeof *scratch);
	assert_true(rows && scratch);
	require_ok(evn_embedding_find(&embedding, r->graph, &err));
	require_ok(evn_embed(&embedding, e->text, e->n_text, 0, rows, stride, scratch, &err));
	const evn_span span = {.slot = memory, .n_rows = e->n_text, .phase = EVN_PROMPT};
	ranks_step(r, &(evn_batch){.n_rows = e->n_text, .n_spans = 1, .spans = &span, .encodes = true, .x = rows});
	free(rows);
	free(scratch);
}

/* The logits of all tokens: the prompt in pieces, then the last four tokens one by one. */
static float *walk(ranks *r, evn_slot *slot, const evn_slot *memory, const expected *e, uint32_t prefill)
{
	evn_error err = {0};
	const uint32_t stride = evn_graph_row_floats(r->graph);
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
		require_ok(evn_embed(&embedding, e->ids + at, n, at, rows, stride, scratch, &err));
		const evn_span span = {.slot = slot,
							   .n_rows = n,
							   .position = at,
							   .phase = n > 1 ? EVN_PROMPT : EVN_DECODE,
							   .memory = memory,
							   .n_memory = e->n_text};
		ranks_step(r, &(evn_batch){.n_rows = n,
								   .n_spans = 1,
								   .spans = &span,
								   .x = rows,
								   .n_out = n,
								   .out_rows = every_row,
								   .out = all + (size_t)at * e->vocab});
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
			worst = worse(worst, difference);
		}
	return worst / largest;
}

/* Pieces of 3 tokens are too few to be grouped by expert. A row has the same bits there. */
static void check_pieces(ranks *r, evn_slot *slot, const evn_slot *memory, const expected *e, const float *got)
{
	float *pieces = walk(r, slot, memory, e, 3);
	assert_memory_equal(pieces, got, (size_t)e->n_ids * e->vocab * sizeof *got);
	free(pieces);
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
		evn_slot slot = {0}, memory = {0};
		open_ranks(&r, m, &cuts[i], &e, &slot, &memory);
		if (e.n_text)
			read_text(&r, &memory, &e);
		float *got = walk(&r, &slot, &memory, &e, cuts[i].prefill);
		double worst = compare(got, &e);
		print_message("%s, cut %zu: %.2g\n", cuts[i].devices, i, worst);
		n_wrong += !(worst <= TOLERANCE);
		if ((e.n_text || strstr(path, "moe") || strstr(path, "qwen35")) && !cuts[i].gemm)
			check_pieces(&r, &slot, &memory, &e, got);
		free(got);
		evn_slot_free(&slot, &r.pool);
		evn_slot_free(&memory, &r.pool);
		ranks_close(&r);
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
