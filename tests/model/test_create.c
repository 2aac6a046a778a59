/* test_create.c - models made from a description: their shapes, the distribution of their weights, the same file for
 * the same seed. And the GGUF writer: what it writes can be read back, and a copy of a file's metadata is equal to
 * it. */
#include "evener/inspect.h"
#include "evener/simulate.h"
#include "model/gguf_write.h"
#include "model/gguf_writer.h"
#include "model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/evener-create-XXXXXX";

static const evn_model_spec simple = {.architecture = "simple-lm", .vocab = 10, .dim = 5, .seed = 1};
static const evn_model_spec small_gpt2 = {
	.architecture = "gpt2", .vocab = 259, .dim = 24, .context = 32, .n_layers = 2, .n_heads = 3, .seed = 5};
static const evn_model_spec small_llama = {.architecture = "llama",
										   .vocab = 257,
										   .dim = 32,
										   .context = 64,
										   .n_layers = 3,
										   .n_heads = 4,
										   .n_kv_heads = 2,
										   .ff_dim = 96,
										   .seed = 5};

static evn_model *make(const evn_model_spec *spec)
{
	evn_model *m = NULL;
	evn_error err = {0};
	if (evn_model_create(&m, spec, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return m;
}

static void assert_shape(const evn_model *m, const char *name, uint64_t columns, uint64_t rows)
{
	const evn_tensor *t;
	evn_error err = {0};
	if (evn_model_need(m, name, columns, rows, &t, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_string_equal(t->quant->name, "F32");
}

static void simple_lm_is_an_embedding_and_a_linear_layer(void **state)
{
	(void)state;
	evn_model *m = make(&simple);
	const evn_hparams *h;
	assert_int_equal(evn_model_require_hparams(m, &h, NULL), EVN_OK);
	assert_true(evn_str_is(h->arch, "simple-lm"));
	assert_int_equal(h->n_layers, 0);
	assert_int_equal(h->dim, 5);
	assert_int_equal(h->vocab, 10);
	assert_int_equal(h->n_heads, 0);
	assert_int_equal(evn_gguf_n_tensors(evn_model_gguf(m)), 3);
	assert_shape(m, "token_embd.weight", 5, 10);
	assert_shape(m, "output.weight", 5, 10);
	assert_shape(m, "output.bias", 10, 0);
	assert_null(evn_model_path(m));
	assert_null(evn_model_tokenizer(m, NULL));
	evn_model_close(m);
}

static void a_seed_makes_one_file(void **state)
{
	(void)state;
	char *paths[3];
	char *texts[3];
	size_t sizes[3];
	evn_error err = {0};
	for (int i = 0; i < 3; i++) {
		evn_model_spec spec = simple;
		spec.seed = i == 2 ? 2 : 1;
		evn_model *m = make(&spec);
		paths[i] = evn_format("%s/%d.gguf", folder, i);
		assert_int_equal(evn_model_save(m, paths[i], &err), EVN_OK);
		assert_int_equal(evn_read_file(&texts[i], &sizes[i], paths[i], 1 << 20, &err), EVN_OK);
		evn_model_close(m);
	}
	assert_int_equal(sizes[0], sizes[1]);
	assert_memory_equal(texts[0], texts[1], sizes[0]);
	assert_memory_not_equal(texts[0], texts[2], sizes[0]);
	evn_model *saved = NULL, *made = make(&simple);
	assert_int_equal(evn_model_open(&saved, paths[0], &err), EVN_OK);
	assert_string_equal(evn_model_path(saved), paths[0]);
	float rows[2][50];
	assert_int_equal(evn_tensor_rows(evn_model_find(saved, "output.weight"), 0, 10, rows[0], &err), EVN_OK);
	assert_int_equal(evn_tensor_rows(evn_model_find(made, "output.weight"), 0, 10, rows[1], &err), EVN_OK);
	assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
	assert_int_equal(evn_model_save(saved, paths[1], &err), EVN_ERR_UNSUPPORTED); /* it is a file already */
	evn_model_close(saved);
	evn_model_close(made);
	evn_model *gone = make(&simple);
	assert_int_equal(evn_model_save(gone, "/nonexistent/folder/m.gguf", &err), EVN_ERR_FILE);
	evn_model_close(gone);
	for (int i = 0; i < 3; i++) {
		unlink(paths[i]);
		free(paths[i]);
		free(texts[i]);
	}
}

/* The mean and the variance of n standard normal numbers lie within 4 deviations: 1/sqrt(n) and sqrt(2/n). */
static void assert_normal(const evn_model *m, const char *name, double deviation)
{
	const evn_tensor *t = evn_model_find(m, name);
	uint64_t n = t->shape[0] * t->shape[1];
	double sum = 0, squares = 0;
	float *row = malloc(t->shape[0] * sizeof *row);
	for (uint64_t r = 0; r < t->shape[1]; r++) {
		assert_int_equal(evn_tensor_rows(t, r, 1, row, NULL), EVN_OK);
		for (uint64_t i = 0; i < t->shape[0]; i++) {
			sum += (double)row[i] / deviation;
			squares += (double)row[i] * (double)row[i] / deviation / deviation;
		}
	}
	free(row);
	assert_true(fabs(sum / (double)n) < 4 / sqrt((double)n));
	assert_true(fabs(squares / (double)n - 1) < 4 * sqrt(2.0 / (double)n));
}

static uint64_t identity_of(const evn_model_spec *spec)
{
	evn_model *m = make(spec);
	uint64_t key = 0;
	assert_int_equal(evn_model_identity(m, &key, NULL), EVN_OK);
	evn_model_close(m);
	return key;
}

static void weights_are_part_of_the_identity(void **state)
{
	(void)state;
	evn_model_spec other = small_llama;
	other.seed++;
	assert_true(identity_of(&small_llama) == identity_of(&small_llama));
	assert_true(identity_of(&small_llama) != identity_of(&other));
}

static void weights_are_distributed_as_they_say(void **state)
{
	(void)state;
	evn_model *m = make(&(evn_model_spec){.architecture = "simple-lm", .vocab = 200, .dim = 100, .seed = 3});
	assert_normal(m, "token_embd.weight", 1);
	assert_normal(m, "output.weight", 1);
	evn_model_close(m);
	m = make(&small_gpt2);
	assert_normal(m, "blk.1.attn_qkv.weight", 0.02);
	assert_normal(m, "blk.1.ffn_down.weight", 0.01); /* 0.02 / sqrt(2 * 2 layers) */
	evn_model_close(m);
}

static void transformers_have_their_tensors(void **state)
{
	(void)state;
	evn_model *m = make(&small_gpt2);
	const evn_hparams *h = evn_model_hparams(m);
	assert_int_equal(h->n_layers, 2);
	assert_int_equal(h->ff_dim, 96);
	assert_int_equal(h->rope.dim, 0); /* positions are learned */
	assert_true(fabsf(h->norm_eps - 1e-5f) < 1e-12f);
	assert_shape(m, "position_embd.weight", 24, 32);
	assert_shape(m, "blk.1.attn_qkv.weight", 24, 72);
	assert_shape(m, "blk.1.attn_qkv.bias", 72, 0);
	assert_shape(m, "blk.0.ffn_down.weight", 96, 24);
	evn_model_close(m);
	m = make(&small_llama);
	h = evn_model_hparams(m);
	assert_int_equal(h->n_kv_heads, 2);
	assert_int_equal(h->rope.dim, 8);
	assert_shape(m, "blk.2.attn_k.weight", 32, 16);
	assert_shape(m, "blk.2.ffn_gate.weight", 32, 96);
	evn_model_close(m);
}

static void every_byte_is_a_token(void **state)
{
	(void)state;
	evn_model *m = make(&small_gpt2);
	char bytes[256], *text = NULL;
	int32_t *ids = NULL;
	size_t n = 0, size = 0;
	evn_error err = {0};
	for (int i = 0; i < 256; i++)
		bytes[i] = (char)i;
	if (evn_tokenize(m, bytes, sizeof bytes, true, true, &ids, &n, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(n, 256);
	for (int i = 0; i < 256; i++)
		assert_int_equal(ids[i], i);
	assert_int_equal(evn_detokenize(m, ids, n, false, &text, &size, &err), EVN_OK);
	assert_int_equal(size, 256);
	assert_memory_equal(text, bytes, 256);
	assert_true(evn_token_ends_generation(m, 256));
	free(text);
	free(ids);
	evn_model_close(m);
}

static void what_cannot_be_made_is_refused(void **state)
{
	(void)state;
	static const struct {
		evn_model_spec spec;
		const char *text;
	} refused[] = {
		{{.architecture = NULL}, "expected simple-lm, gpt2 or llama"},
		{{.architecture = "mamba"}, "architecture \"mamba\" cannot be made"},
		{{.architecture = "simple-lm", .vocab = 10}, "with dim 0: expected 1 to"},
		{{.architecture = "simple-lm", .dim = 5}, "with vocab 0: expected 1 to"},
		{{.architecture = "gpt2", .vocab = 300, .dim = 8}, "with layers 0"},
		{{.architecture = "gpt2", .vocab = 256, .dim = 8, .n_layers = 1, .n_heads = 1},
		 "with vocab 256: expected 257"},
		{{.architecture = "gpt2", .vocab = 300, .dim = 8, .n_layers = 1, .n_heads = 3}, "must be a multiple"},
		{{.architecture = "gpt2", .vocab = 300, .dim = 8, .n_layers = 1, .n_heads = 4, .n_kv_heads = 2},
		 "as many of both"},
		{{.architecture = "llama", .vocab = 300, .dim = 8, .n_layers = 1, .n_heads = 4, .n_kv_heads = 3},
		 "must be a multiple"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		evn_model *m = NULL;
		evn_error err = {0};
		assert_int_equal(evn_model_create(&m, &refused[i].spec, &err), EVN_ERR_USAGE);
		assert_null(m);
		if (!strstr(err.text, refused[i].text))
			fail_msg("\"%s\" lacks \"%s\"", err.text, refused[i].text);
	}
}

/* The tensors of a made model in another format; 30 GB of them take no memory. */
static void an_outline_has_shapes_and_no_weights(void **state)
{
	(void)state;
	evn_model *m = NULL;
	evn_error err = {0};
	evn_model_spec large = {.architecture = "llama",
							.vocab = 128256,
							.dim = 8192,
							.n_layers = 60,
							.n_heads = 64,
							.n_kv_heads = 8,
							.ff_dim = 28672};
	if (evn_model_outline(&m, &large, "Q4_0", &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(evn_model_hparams(m)->n_layers, 60);
	assert_int_equal(evn_model_find(m, "blk.59.ffn_down.weight")->shape[0], 28672);
	assert_string_equal(evn_model_find(m, "blk.59.ffn_down.weight")->quant->name, "Q4_0");
	assert_string_equal(evn_model_find(m, "blk.59.ffn_norm.weight")->quant->name, "F32");
	assert_true(evn_gguf_size(evn_model_gguf(m)) > UINT64_C(29000000000));
	evn_model_close(m);
	assert_int_equal(evn_model_outline(&m, &large, "Q4", &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "found 'Q4'"));
	large.vocab = 3;
	assert_int_equal(evn_model_outline(&m, &large, "Q4_0", &err), EVN_ERR_USAGE);
	assert_null(m);
}

static void metadata_copied_is_the_same(void **state)
{
	(void)state;
	gguf_writer w = {0};
	put_header(&w, 3, 0, 4);
	put_string(&w, "text", "some text");
	put_f32(&w, "real", 0.1f);
	put_array(&w, "list", EVN_GGUF_STRING, 2);
	put_text(&w, "a");
	put_text(&w, "");
	put_array(&w, "numbers", EVN_GGUF_U32, 1);
	put_le(&w, 7, 4);
	evn_gguf *g = NULL;
	evn_error err = {0};
	if (evn_gguf_parse(&g, "source", w.data, w.size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	evn_gguf_writer *out = NULL;
	assert_int_equal(evn_gguf_writer_create(&out, &err), EVN_OK);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		evn_gguf_put_value(out, evn_gguf_value_at(g, i));
	uint8_t *file = NULL;
	size_t size = 0;
	assert_int_equal(evn_gguf_finish(out, &file, &size, &err), EVN_OK);
	assert_true(size >= w.size); /* padded to the place where data would begin */
	assert_memory_equal(file, w.data, w.size);
	free(file);
	evn_gguf_writer_free(out);
	evn_gguf_free(g);
	gguf_writer_free(&w);
}

static void tensors_written_are_read_back(void **state)
{
	(void)state;
	evn_gguf_writer *w = NULL;
	evn_error err = {0};
	static const float a[3] = {1, 2, 3};
	uint8_t blocks[2 * 34];
	for (size_t i = 0; i < sizeof blocks; i++)
		blocks[i] = (uint8_t)i;
	assert_int_equal(evn_gguf_writer_create(&w, &err), EVN_OK);
	evn_gguf_put_tensor(w, "a", evn_quant_by_name("F32"), 1, (uint64_t[]){3}, a);
	evn_gguf_put_tensor(w, "b", evn_quant_by_name("Q8_0"), 2, (uint64_t[]){32, 2}, blocks);
	evn_gguf_put_bool(w, "yes", true);
	uint8_t *file = NULL;
	size_t size = 0;
	assert_int_equal(evn_gguf_finish(w, &file, &size, &err), EVN_OK);
	evn_gguf *g = NULL;
	if (evn_gguf_parse(&g, "written", file, size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	bool yes = false;
	assert_int_equal(evn_gguf_bool(g, "yes", &yes, &err), EVN_OK);
	assert_true(yes);
	assert_memory_equal(evn_gguf_find_tensor(g, "a")->data, a, sizeof a);
	assert_memory_equal(evn_gguf_find_tensor(g, "b")->data, blocks, sizeof blocks);
	evn_gguf_free(g);
	free(file);
	evn_gguf_writer_free(w);
	/* sizes that overflow are reported when the file is finished */
	assert_int_equal(evn_gguf_writer_create(&w, &err), EVN_OK);
	evn_gguf_put_tensor(w, "huge", evn_quant_by_name("F32"), 2, (uint64_t[]){UINT64_MAX, 3}, a);
	assert_int_equal(evn_gguf_finish(w, &file, &size, &err), EVN_ERR_MEMORY);
	evn_gguf_writer_free(w);
}

static void ids_are_drawn_by_seed(void **state)
{
	(void)state;
	int32_t a[1000], b[1000];
	uint32_t counts[10] = {0};
	evn_random_ids(4, 10, a, 1000);
	evn_random_ids(4, 10, b, 1000);
	assert_memory_equal(a, b, sizeof a);
	evn_random_ids(5, 10, b, 1000);
	assert_memory_not_equal(a, b, sizeof a);
	for (int i = 0; i < 1000; i++) {
		assert_in_range(a[i], 0, 9);
		counts[a[i]]++;
	}
	for (int i = 0; i < 10; i++) /* 100 +- 4 deviations of 9.5 */
		assert_in_range(counts[i], 62, 138);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simple_lm_is_an_embedding_and_a_linear_layer),
		cmocka_unit_test(a_seed_makes_one_file),
		cmocka_unit_test(weights_are_part_of_the_identity),
		cmocka_unit_test(weights_are_distributed_as_they_say),
		cmocka_unit_test(transformers_have_their_tensors),
		cmocka_unit_test(every_byte_is_a_token),
		cmocka_unit_test(what_cannot_be_made_is_refused),
		cmocka_unit_test(an_outline_has_shapes_and_no_weights),
		cmocka_unit_test(metadata_copied_is_the_same),
		cmocka_unit_test(tensors_written_are_read_back),
		cmocka_unit_test(ids_are_drawn_by_seed),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
