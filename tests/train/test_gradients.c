/* test_gradients.c - the gradients of the whole network. Along the gradient of each parameter the loss must grow as
 * fast as its norm says. Every split over ranks must give the same gradients, parameters and losses as one rank. */
#include "evener/train.h"
#include "model/gguf_write.h"
#include "nn/embed.h"
#include "train/checkpoint.h"
#include "train/ranks.h"
#include "worst.h"

#define N_CTX 32
#define N_SEQUENCES 3
#define N_TOK (N_CTX * N_SEQUENCES)
#define VOCAB 300

static evn_system *drivers;

/* What is trained, and with which dropout. Granite is Llama with four scales. In SmolLM3 the fourth attention block
 * does not rotate. They differ only inside blocks, so few cuts are enough (`few`). */
typedef struct {
	const char *architecture;
	float dropout;
	bool few;
} network_case;

static const network_case cases[] = {
	{"llama", 0, false}, {"gpt2", 0, false}, {"gpt2", 0.25f, false}, {"granite", 0.25f, true}, {"smollm3", 0, true}};
#define N_CASES (sizeof cases / sizeof *cases)

static void put_random(evn_gguf_writer *w, const char *name, uint64_t length, double mean, evn_random *random)
{
	float *values = test_malloc(length * sizeof *values);
	for (uint64_t i = 0; i < length; i++)
		values[i] = (float)(mean + 0.1 * evn_random_normal(random));
	evn_gguf_put_tensor(w, name, evn_quant_by_name("F32"), 1, &length, values);
	test_free(values);
}

static void put_scaled(evn_gguf_writer *w, const char *name, const evn_tensor *t, float by)
{
	const uint64_t columns = t->shape[0], rows = t->shape[1];
	float *values = test_malloc(columns * rows * sizeof *values);
	assert_int_equal(evn_tensor_rows(t, 0, rows, values, NULL), EVN_OK);
	for (uint64_t i = 0; i < columns * rows; i++)
		values[i] *= by;
	evn_gguf_put_tensor(w, name, evn_quant_by_name("F32"), 2, t->shape, values);
	test_free(values);
}

/* Random numbers for norms and biases, which are ones and zeros in a made model, and larger matrices. With the
 * matrices of a made model, attention is the same for all keys, and its gradients are lost in the rounding of the
 * loss. */
static void put_tensors(evn_gguf_writer *w, const evn_gguf *g, evn_random *random)
{
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[64];
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		if (t->n_dims == 1)
			put_random(w, name, t->shape[0], strstr(name, ".bias") ? 0 : 1, random);
		else
			put_scaled(w, name, t, 3);
	}
}

/* Biases as in Qwen 2, each as long as its matrix has rows. */
static void put_qkv_biases(evn_gguf_writer *w, const evn_hparams *h, evn_random *random)
{
	static const char *const names[] = {"q", "k", "v"};
	for (uint32_t layer = 0; layer < h->n_layers; layer++)
		for (int i = 0; i < 3; i++) {
			char name[64];
			snprintf(name, sizeof name, "blk.%u.attn_%s.bias", layer, names[i]);
			put_random(w, name, (uint64_t)(i ? h->n_kv_heads : h->n_heads) * h->head_dim, 0, random);
		}
}

/* Turns the keys of a made Llama into those of an architecture of its family, whose hyper-parameters begin with the
 * architecture's name. */
static void put_values(evn_gguf_writer *w, const evn_gguf *g, const char *architecture)
{
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++) {
		evn_gguf_value v = *evn_gguf_value_at(g, i);
		char key[128];
		const char *of_llama = v.key.length > 6 && !memcmp(v.key.text, "llama.", 6) ? v.key.text + 6 : NULL;
		if (of_llama) {
			snprintf(key, sizeof key, "%s.%.*s", architecture, (int)v.key.length - 6, of_llama);
			v.key = (evn_str){key, strlen(key)};
		}
		if (evn_str_is(v.key, "general.architecture"))
			evn_gguf_put_string(w, "general.architecture", architecture);
		else
			evn_gguf_put_value(w, &v);
	}
	if (strcmp(architecture, "granite"))
		return;
	evn_gguf_put_f32(w, "granite.embedding_scale", 2.5f);
	evn_gguf_put_f32(w, "granite.residual_scale", 0.6f);
	evn_gguf_put_f32(w, "granite.attention.scale", 0.5f);
	evn_gguf_put_f32(w, "granite.logit_scale", 1.7f);
}

static evn_model *dressed(evn_model *made, const char *architecture)
{
	const evn_gguf *g = evn_model_gguf(made);
	const evn_hparams *h = evn_model_hparams(made);
	evn_error err = {0};
	evn_random random = {.state = 3};
	evn_gguf_writer *w;
	evn_model *m;
	uint8_t *file;
	size_t size;
	require_ok(evn_gguf_writer_create(&w, &err));
	put_values(w, g, architecture);
	put_tensors(w, g, &random);
	if (!strcmp(architecture, "llama"))
		put_qkv_biases(w, h, &random);
	require_ok(evn_gguf_finish(w, &file, &size, &err));
	require_ok(evn_model_from_memory(&m, "dressed", file, size, &err));
	evn_gguf_writer_free(w);
	evn_model_close(made);
	return m;
}

/* Llama and its family with nine query heads over three KV heads: shares of 4 to 5 cut the query heads of one KV head
 * in two. */
static evn_model *make_model(const char *architecture)
{
	evn_error err = {0};
	evn_model *m;
	const bool gpt2 = !strcmp(architecture, "gpt2");
	const evn_model_spec spec = {.architecture = gpt2 ? "gpt2" : "llama",
								 .vocab = VOCAB,
								 .dim = 72,
								 .context = N_CTX,
								 .n_layers = strcmp(architecture, "smollm3") ? 2 : 4,
								 .n_heads = 9,
								 .n_kv_heads = gpt2 ? 9 : 3,
								 .ff_dim = 112,
								 .seed = 5};
	require_ok(evn_model_create(&m, &spec, &err));
	return dressed(m, architecture);
}

static void make_batch(uint32_t *ids, uint32_t *targets)
{
	for (uint32_t t = 0; t < N_TOK; t++) {
		ids[t] = (t * t * 7 + 3 * t) % VOCAB;
		targets[t] = (t * 31 + 5) % VOCAB;
	}
}

static ranks open_cut(evn_model *m, const ranks_cut *c, const uint32_t *ids, const uint32_t *targets, bool recompute,
					  float dropout)
{
	ranks r = {.drivers = drivers,
			   .model = m,
			   .state = evn_model_gguf(m),
			   .shape = {N_CTX, N_SEQUENCES, recompute},
			   .batch = {.ids = ids, .targets = targets, .dropout = {dropout, 11}}};
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
	/* A step along which the loss of about 6 changes by 3e-4, or by less where that would be far. The mean of f32
	 * losses is known to 2e-8, and curvature adds the square of the step. */
	double norm = sqrt(squares), step = fmin(3e-4 / squares, 0.05 / norm);
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
	for (size_t c = 0; c < N_CASES; c++) {
		evn_model *m = make_model(cases[c].architecture);
		ranks r = open_cut(m, &one, ids, targets, false, cases[c].dropout);
		double loss = ranks_pass(&r, true);
		if (!(fabs(loss - log(VOCAB)) < 0.3))
			fail_msg("%s: a loss of %g", cases[c].architecture, loss);
		for (uint32_t i = 0; i < r.networks[0]->n_params; i++)
			check_slope(&r, i);
		ranks_close(&r);
		evn_model_close(m);
	}
}

/* Another key drops other elements, the same key the same ones. Without dropout the loss is different. */
static void masks_follow_their_key(void **state)
{
	(void)state;
	const ranks_cut one = {"pocl", {1}, EVN_REDUCE_HOST};
	uint32_t ids[N_TOK], targets[N_TOK];
	make_batch(ids, targets);
	evn_model *m = make_model("gpt2");
	ranks r = open_cut(m, &one, ids, targets, false, 0.25f);
	const double first = ranks_pass(&r, false), again = ranks_pass(&r, false);
	r.batch.dropout.key++;
	const double other = ranks_pass(&r, false);
	r.batch.dropout.fraction = 0;
	const double whole = ranks_pass(&r, false);
	assert_true(first == again);
	assert_true(fabs(first - other) > 1e-4 && fabs(first - whole) > 1e-4);
	ranks_close(&r);
	evn_model_close(m);
}

/* The largest difference of one piece between two runs, as a fraction of its largest value. */
static void compare_piece(ranks *a, ranks *b, uint32_t i, uint32_t k, evn_param_part part, double bound)
{
	uint64_t n;
	float *x = ranks_gather(a, i, k, part, &n), *y = ranks_gather(b, i, k, part, &n);
	double most = 0, worst = 0;
	for (uint64_t at = 0; at < n; at++) {
		most = worse(most, fabs((double)x[at]));
		worst = worse(worst, fabs((double)x[at] - (double)y[at]));
	}
	if (!(worst <= bound * most))
		fail_msg("%s: off by %g of %g", a->networks[0]->params[i]->pieces[k].name, worst, most);
	test_free(x);
	test_free(y);
}

/* Copies of a shared row must have the same bits on every holder. */
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

static void compare_cut(evn_model *m, const ranks_cut *c, bool recompute, float dropout)
{
	const ranks_cut single = {"pocl", {1}, EVN_REDUCE_HOST};
	uint32_t ids[N_TOK], targets[N_TOK];
	make_batch(ids, targets);
	ranks one = open_cut(m, &single, ids, targets, false, dropout);
	ranks cut = open_cut(m, c, ids, targets, recompute, dropout);
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
		{"pocl,pocl,pocl", {0, 3, 1}, EVN_REDUCE_HOST},
		{"intel,pocl", {4, 5}, EVN_REDUCE_HOST},
		{"pocl,intel,pocl", {2, 4, 3}, EVN_REDUCE_HOST},
	};
	for (size_t c = 0; c < N_CASES; c++) {
		evn_model *m = make_model(cases[c].architecture);
		for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
			if (strstr(cuts[i].devices, "intel") && !driver_exists("intel"))
				print_message("not tested, no Intel runtime: %s\n", cuts[i].devices);
			else if (!cases[c].few || i == 1 || i == 2)
				compare_cut(m, &cuts[i], i % 2 == 0, cases[c].dropout);
		}
		evn_model_close(m);
	}
}

/* Finds the piece of this name among the parameters of one rank's network. */
static float *gradient_of(ranks *r, const char *name, size_t length, uint64_t *rows, uint64_t *cols)
{
	for (uint32_t i = 0; i < r->networks[0]->n_params; i++)
		for (uint32_t k = 0; k < r->networks[0]->params[i]->n_pieces; k++) {
			const evn_piece *piece = &r->networks[0]->params[i]->pieces[k];
			uint64_t n;
			if (strlen(piece->name) != length || memcmp(piece->name, name, length))
				continue;
			*rows = piece->rows;
			*cols = piece->cols;
			return ranks_gather(r, i, k, EVN_PARAM_GRADIENT, &n);
		}
	fail_msg("no parameter %.*s", (int)length, name);
	return NULL;
}

/* If W + 2 B A replaces W, then dA = 2 B^T dW and dB = 2 dW A^T. dW comes from the same model trained as a whole,
 * with the adapter merged. */
static void compare_with_merged(ranks *r, const char *architecture, const char *adapter, const uint32_t *ids,
								const uint32_t *targets)
{
	const ranks_cut one = {"pocl", {1}, EVN_REDUCE_HOST};
	evn_error err = {0};
	evn_model *m = make_model(architecture);
	require_ok(evn_model_apply_adapter(m, adapter, 1, &err));
	ranks whole = open_cut(m, &one, ids, targets, false, 0);
	assert_true(fabs(ranks_pass(&whole, true) - ranks_pass(r, false)) < 1e-5);
	for (uint32_t i = 0; i < r->networks[0]->n_params; i += 2) {
		const char *name = r->networks[0]->params[i]->pieces[0].name;
		const uint64_t low = r->networks[0]->params[i]->pieces[0].rows;
		uint64_t rows = 0, cols = 0, n;
		float *dw = gradient_of(&whole, name, strlen(name) - strlen(".lora_a"), &rows, &cols);
		float *a = ranks_gather(r, i, 0, EVN_PARAM_VALUE, &n), *b = ranks_gather(r, i + 1, 0, EVN_PARAM_VALUE, &n);
		float *da = ranks_gather(r, i, 0, EVN_PARAM_GRADIENT, &n);
		float *db = ranks_gather(r, i + 1, 0, EVN_PARAM_GRADIENT, &n);
		double most_a = 0, most_b = 0, worst_a = 0, worst_b = 0;
		for (uint64_t k = 0; k < low; k++) {
			for (uint64_t c = 0; c < cols; c++) {
				double want = 0;
				for (uint64_t o = 0; o < rows; o++)
					want += 2 * (double)b[o * low + k] * (double)dw[o * cols + c];
				most_a = worse(most_a, fabs(want));
				worst_a = worse(worst_a, fabs(want - (double)da[k * cols + c]));
			}
			for (uint64_t o = 0; o < rows; o++) {
				double want = 0;
				for (uint64_t c = 0; c < cols; c++)
					want += 2 * (double)dw[o * cols + c] * (double)a[k * cols + c];
				most_b = worse(most_b, fabs(want));
				worst_b = worse(worst_b, fabs(want - (double)db[o * low + k]));
			}
		}
		if (!(worst_a <= 1e-4 * most_a && worst_b <= 1e-4 * most_b && most_a > 0 && most_b > 0))
			fail_msg("%s: off by %g of %g, B's by %g of %g", name, worst_a, most_a, worst_b, most_b);
		float *const arrays[] = {dw, a, b, da, db};
		for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++)
			test_free(arrays[k]);
	}
	ranks_close(&whole);
	evn_model_close(m);
}

/* Low-rank additions to a model that stays as it is. B begins as zeros, so A has a gradient only from the second pass
 * on. */
static void compare_additions(const char *architecture, uint32_t targets_of_lora)
{
	const ranks_cut cuts[] = {{"pocl", {1}, EVN_REDUCE_HOST}, {"pocl,pocl,pocl", {2, 5, 3}, EVN_REDUCE_HOST}};
	const evn_trained trained = {.lora_rank = 3, .lora_alpha = 6, .lora_targets = targets_of_lora};
	char path[] = "/tmp/evener-adapter-XXXXXX";
	int fd = mkstemp(path);
	evn_error err = {0};
	uint32_t ids[N_TOK], targets[N_TOK];
	evn_model *m = make_model(architecture);
	evn_embedding embedding;
	float position[96];
	evn_state adapter;
	ranks r[2];
	assert_true(fd >= 0);
	close(fd);
	make_batch(ids, targets);
	require_ok(evn_adapter_create(path, m, &trained, 7, &err));
	require_ok(evn_state_open(&adapter, path, &err));
	float *embeddings = test_calloc((size_t)N_TOK * 96, sizeof *embeddings);
	evn_graph *graph;
	require_ok(evn_graph_make(&graph, m, &err));
	require_ok(evn_embedding_find(&embedding, graph, &err));
	for (uint32_t t = 0; t < N_TOK; t += N_CTX)
		require_ok(evn_embed(&embedding, (const int32_t *)ids + t, N_CTX, 0, embeddings + (size_t)t * 96, 96,
							 position, &err));
	evn_graph_free(graph);
	for (int i = 0; i < 2; i++) {
		r[i] = (ranks){.drivers = drivers,
					   .model = m,
					   .state = adapter.gguf,
					   .trained = trained,
					   .shape = {N_CTX, N_SEQUENCES, i == 1},
					   .batch = {.ids = ids, .targets = targets, .embeddings = embeddings}};
		ranks_open(&r[i], &cuts[i]);
		ranks_pass(&r[i], true);
		r[i].eps = 1e-2f; /* steps proportional to the gradient, not to its sign, which rounding may change */
		ranks_update(&r[i], 30.0f);
		ranks_pass(&r[i], true);
	}
	for (int i = 0; i < 2; i++)
		ranks_update(&r[i], 0);
	const evn_networks first = {r[0].networks, 0, 1, NULL};
	require_ok(evn_checkpoint_write(path, adapter.gguf, &first, NULL, &err));
	compare_with_merged(&r[0], architecture, path, ids, targets);
	for (uint32_t i = 0; i < r[0].networks[0]->n_params; i++)
		compare_piece(&r[0], &r[1], i, 0, EVN_PARAM_GRADIENT, 1e-4);
	check_copies(&r[1]);
	for (int i = 0; i < 2; i++)
		ranks_close(&r[i]);
	evn_state_close(&adapter);
	evn_model_close(m);
	test_free(embeddings);
	unlink(path);
}

/* Q, K and V of GPT-2 are one matrix, which no target names. */
static void additions_agree(void **state)
{
	(void)state;
	uint32_t of_gpt2 = 0;
	for (uint32_t i = 0; i < EVN_TARGETS; i++)
		of_gpt2 |= (uint32_t)(strstr("attn_output ffn_up ffn_down", evn_target_names[i]) != NULL) << i;
	compare_additions("llama", (1u << EVN_TARGETS) - 1);
	compare_additions("gpt2", of_gpt2);
	compare_additions("granite", (1u << EVN_TARGETS) - 1);
}

/* With an argument: the cases of that name. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(loss_grows_along_gradients),
									   cmocka_unit_test(masks_follow_their_key), cmocka_unit_test(cuts_agree),
									   cmocka_unit_test(additions_agree)};
	evn_error err = {0};
	if (!driver_exists("pocl"))
		return missing("PoCL");
	require_ok(evn_system_open(&drivers, &err));
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
