/* test_gradients.c - the whole network's gradients: along each parameter's own gradient the loss must grow as fast as
 * its norm says, and every cut over ranks must give the same gradients, parameters and losses as one rank. */
#include "train/ranks.h"

#define N_CTX 32
#define N_SEQUENCES 3
#define N_TOK (N_CTX * N_SEQUENCES)
#define VOCAB 300

static evn_system *drivers;

/* Nine query heads over three KV heads: shares of 4 to 5 cut a KV head's group in two. */
static evn_model *make_model(void)
{
	evn_error err = {0};
	evn_model *m;
	const evn_model_spec spec = {.architecture = "llama",
								 .vocab = VOCAB,
								 .dim = 72,
								 .context = N_CTX,
								 .n_layers = 2,
								 .n_heads = 9,
								 .n_kv_heads = 3,
								 .ff_dim = 112,
								 .seed = 5};
	require_ok(evn_model_create(&m, &spec, &err));
	return m;
}

static void make_batch(uint32_t *ids, uint32_t *targets)
{
	for (uint32_t t = 0; t < N_TOK; t++) {
		ids[t] = (t * t * 7 + 3 * t) % VOCAB;
		targets[t] = (t * 31 + 5) % VOCAB;
	}
}

static ranks open_cut(evn_model *m, const ranks_cut *c, const uint32_t *ids, const uint32_t *targets, bool recompute)
{
	ranks r = {.drivers = drivers,
			   .model = m,
			   .state = evn_model_gguf(m),
			   .shape = {N_CTX, N_SEQUENCES, recompute},
			   .batch = {ids, targets, NULL}};
	ranks_open(&r, c);
	return r;
}

static void check_slope(ranks *r, uint32_t i)
{
	const evn_param *p = r->networks[0]->params[i];
	evn_error err = {0};
	uint64_t n = evn_param_floats(p);
	float *w = test_malloc(n * sizeof *w), *g = test_malloc(n * sizeof *g), *moved = test_malloc(n * sizeof *moved);
	require_ok(evn_read(r->queues[0], p->value, 0, w, n * sizeof *w, &err));
	require_ok(evn_read(r->queues[0], p->gradient, 0, g, n * sizeof *g, &err));
	double squares = 0, loss[2];
	for (uint64_t k = 0; k < n; k++)
		squares += (double)g[k] * (double)g[k];
	/* A way along which the loss moves by 4e-3 in all, of about 6: f32 knows the loss to 1e-6, curvature adds the
	 * step's square. */
	double norm = sqrt(squares), step = 2e-3 / squares;
	assert_true(norm > 0);
	for (int side = 0; side < 2; side++) {
		for (uint64_t k = 0; k < n; k++)
			moved[k] = (float)((double)w[k] + (side ? -step : step) * (double)g[k]);
		require_ok(evn_write(r->queues[0], p->value, 0, moved, n * sizeof *moved, &err));
		loss[side] = ranks_pass(r, false);
	}
	require_ok(evn_write(r->queues[0], p->value, 0, w, n * sizeof *w, &err));
	double slope = (loss[0] - loss[1]) / (2 * step);
	if (!(fabs(slope - squares) < 1e-3 * squares))
		fail_msg("%s: slope %g, gradient says %g", p->pieces[0].name, slope, squares);
	test_free(w);
	test_free(g);
	test_free(moved);
}

static void loss_grows_along_gradients(void **state)
{
	(void)state;
	const ranks_cut one = {"pocl", {1}, EVN_REDUCE_HOST};
	uint32_t ids[N_TOK], targets[N_TOK];
	make_batch(ids, targets);
	evn_model *m = make_model();
	ranks r = open_cut(m, &one, ids, targets, false);
	double loss = ranks_pass(&r, true);
	assert_true(fabs(loss - log(VOCAB)) < 0.3);
	for (uint32_t i = 0; i < r.networks[0]->n_params; i++)
		check_slope(&r, i);
	ranks_close(&r);
	evn_model_close(m);
}

/* Largest difference of one piece between two runs as a fraction of its largest value. */
static void compare_piece(ranks *a, ranks *b, uint32_t i, uint32_t k, evn_param_part part, double bound)
{
	uint64_t n;
	float *x = ranks_gather(a, i, k, part, &n), *y = ranks_gather(b, i, k, part, &n);
	double most = 0, worst = 0;
	for (uint64_t at = 0; at < n; at++) {
		most = fmax(most, fabs((double)x[at]));
		worst = fmax(worst, fabs((double)x[at] - (double)y[at]));
		assert_false(isnan(x[at]) || isnan(y[at]));
	}
	if (!(worst <= bound * most))
		fail_msg("%s: off by %g of %g", a->networks[0]->params[i]->pieces[k].name, worst, most);
	test_free(x);
	test_free(y);
}

/* Copies of a shared row must be the same bits on every holder. */
static void check_copies(ranks *r)
{
	evn_error err = {0};
	for (uint32_t i = 0; i < r->networks[0]->n_params; i++)
		for (uint32_t k = 0; k < r->networks[0]->params[i]->n_pieces; k++) {
			uint64_t n;
			float *whole = ranks_gather(r, i, k, EVN_PARAM_VALUE, &n);
			for (uint32_t rank = 0; rank < r->n; rank++) {
				const evn_param *p = r->networks[rank]->params[i];
				evn_piece held = p->pieces[k];
				float *own = test_malloc(n * sizeof *own);
				memcpy(own, whole, n * sizeof *own);
				held.owned = held.row;
				require_ok(evn_piece_download(p, &held, r->queues[rank], EVN_PARAM_VALUE, own, &err));
				assert_memory_equal(own, whole, n * sizeof *own);
				test_free(own);
			}
			test_free(whole);
		}
}

static void compare_cut(evn_model *m, const ranks_cut *c, bool recompute)
{
	const ranks_cut single = {"pocl", {1}, EVN_REDUCE_HOST};
	uint32_t ids[N_TOK], targets[N_TOK];
	make_batch(ids, targets);
	ranks one = open_cut(m, &single, ids, targets, false), cut = open_cut(m, c, ids, targets, recompute);
	double a = ranks_pass(&one, true), b = ranks_pass(&cut, true);
	assert_true(fabs(a - b) < 1e-5);
	ranks_update(&one, 0);
	ranks_update(&cut, 0);
	assert_true(fabs(one.norms[0] - cut.norms[0]) < 1e-4 * one.norms[0]);
	for (uint32_t i = 0; i < one.networks[0]->n_params; i++)
		for (uint32_t k = 0; k < one.networks[0]->params[i]->n_pieces; k++)
			compare_piece(&one, &cut, i, k, EVN_PARAM_GRADIENT, 1e-4);
	for (int step = 0; step < 3; step++) {
		ranks_pass(&cut, true);
		ranks_update(&cut, 1e-3f);
	}
	check_copies(&cut);
	assert_true(ranks_pass(&cut, false) < b);
	ranks_close(&one);
	ranks_close(&cut);
}

static void cuts_agree(void **state)
{
	(void)state;
	const ranks_cut cuts[] = {
		{"pocl", {1}, EVN_REDUCE_HOST},
		{"pocl,pocl", {5, 4}, EVN_REDUCE_EVENTS},
		{"pocl,pocl,pocl", {2, 5, 3}, EVN_REDUCE_HOST},
		{"pocl,pocl,pocl", {3, 0, 1}, EVN_REDUCE_EVENTS},
		{"intel,pocl", {4, 5}, EVN_REDUCE_HOST},
		{"pocl,intel,pocl", {2, 4, 3}, EVN_REDUCE_HOST},
	};
	evn_model *m = make_model();
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		if (strstr(cuts[i].devices, "intel") && !driver_exists("intel"))
			print_message("not tested, no Intel runtime: %s\n", cuts[i].devices);
		else
			compare_cut(m, &cuts[i], i % 2 == 0);
	}
	evn_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(loss_grows_along_gradients), cmocka_unit_test(cuts_agree)};
	evn_error err = {0};
	if (!driver_exists("pocl"))
		return missing("PoCL");
	require_ok(evn_system_open(&drivers, &err));
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
