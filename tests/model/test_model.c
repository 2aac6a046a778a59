/* test_model.c - opens model files: hyper-parameters with their defaults, one refusal for each way in which they can
 * be wrong, and what the public calls report about a file. */
#include "evener/inspect.h"
#include "model/model.h"
#include "model/gguf_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- a model of one layer, with one key changed -------------------------------------------------------------------
 */

typedef enum { ABSENT, NUMBER, REAL, TEXT, PER_LAYER } value_kind;

typedef struct {
	const char *key;
	value_kind kind;
	double number; /* PER_LAYER: the value of the first layer; the second has `second` */
	double second;
	const char *text;
} setting;

#define LEFT_OUT(k) .key = (k), .kind = ABSENT
#define AS_NUMBER(k, n) .key = (k), .kind = NUMBER, .number = (n)
#define AS_REAL(k, x) .key = (k), .kind = REAL, .number = (double)(x)
#define AS_TEXT(k, s) .key = (k), .kind = TEXT, .text = (s)
#define AS_LAYERS(k, a, b) .key = (k), .kind = PER_LAYER, .number = (a), .second = (b)

static const setting base[] = {
	{AS_TEXT("general.architecture", "llama")},
	{AS_NUMBER("llama.block_count", 2)},
	{AS_NUMBER("llama.context_length", 512)},
	{AS_NUMBER("llama.embedding_length", 64)},
	{AS_NUMBER("llama.feed_forward_length", 96)},
	{AS_NUMBER("llama.attention.head_count", 4)},
	{AS_REAL("llama.attention.layer_norm_rms_epsilon", 1e-5)},
};
#define N_BASE (sizeof base / sizeof *base)

static void put_setting(gguf_writer *w, const setting *s)
{
	if (s->kind == NUMBER)
		put_u32(w, s->key, (uint32_t)s->number);
	else if (s->kind == REAL)
		put_f32(w, s->key, (float)s->number);
	else if (s->kind == TEXT)
		put_string(w, s->key, s->text);
	else if (s->kind == PER_LAYER) {
		put_array(w, s->key, EVN_GGUF_U32, 2);
		put_le(w, (uint32_t)s->number, 4);
		put_le(w, (uint32_t)s->second, 4);
	}
}

/* The base file with `n` settings added, or put in place of those with the same key. ABSENT leaves the key out. */
static gguf_writer model_file(const setting *changed, size_t n)
{
	gguf_writer w = {0};
	uint64_t count = 0;
	put_header(&w, 3, 3, 0);
	for (size_t i = 0; i < N_BASE + n; i++) {
		const setting *s = i < N_BASE ? &base[i] : &changed[i - N_BASE];
		for (size_t c = 0; i < N_BASE && c < n; c++)
			s = strcmp(changed[c].key, base[i].key) ? s : NULL;
		if (!s)
			continue;
		put_setting(&w, s);
		count += s->kind != ABSENT;
	}
	for (size_t b = 0; b < 8; b++)
		w.data[16 + b] = (uint8_t)(count >> 8 * b);
	put_tensor(&w, "token_embd.weight", 8, 2, (uint64_t[]){64, 10}, 0);
	put_tensor(&w, "output_norm.weight", 0, 1, (uint64_t[]){64}, 704);
	put_tensor(&w, "rope_freqs", 0, 1, (uint64_t[]){8}, 960);
	put_data(&w, 32, 992);
	return w;
}

static evn_status read_hparams(const setting *changed, size_t n, evn_hparams *h, evn_error *err)
{
	gguf_writer w = model_file(changed, n);
	evn_gguf *g = NULL;
	if (evn_gguf_parse(&g, "test.gguf", w.data, w.size, err) != EVN_OK)
		fail_msg("%s", err->text);
	evn_status s = evn_hparams_read(h, g, err);
	h->arch = (evn_str){0}; /* points into the file, which is freed now */
	evn_gguf_free(g);
	gguf_writer_free(&w);
	return s;
}

/* ---- hyper-parameters ------------------------------------------------------------------------------------------ */

static void absent_keys_take_their_defaults(void **state)
{
	(void)state;
	evn_hparams h;
	evn_error err = {0};
	if (read_hparams(NULL, 0, &h, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(h.n_layers, 2);
	assert_int_equal(h.dim, 64);
	assert_int_equal(h.ff_dim, 96);
	assert_int_equal(h.n_heads, 4);
	assert_int_equal(h.n_kv_heads, 4);
	assert_int_equal(h.head_dim, 16);
	assert_int_equal(h.rope.dim, 16);
	assert_int_equal(h.vocab, 10);
	assert_int_equal(h.n_ctx_train, 512);
	assert_int_equal(h.rope.n_ctx_orig, 512);
	assert_int_equal(h.rope.scaling, EVN_ROPE_SCALING_NONE);
	assert_true(h.norm_eps == 1e-5f && h.rope.base == 10000 && h.rope.factor == 1 && h.rope.attn_factor == 1);
	assert_true(h.rope.beta_fast == 32 && h.rope.beta_slow == 1 && h.rope.ext_factor == 1);
	assert_null(h.rope.freq_factors);
}

static void given_keys_are_read(void **state)
{
	(void)state;
	const setting given[] = {
		{AS_LAYERS("llama.attention.head_count_kv", 2, 2)},
		{AS_NUMBER("llama.attention.key_length", 32)},
		{AS_NUMBER("llama.attention.value_length", 32)},
		{AS_NUMBER("llama.rope.dimension_count", 24)},
		{AS_REAL("llama.rope.freq_base", 500000)},
		{AS_TEXT("llama.rope.scaling.type", "yarn")},
		{AS_REAL("llama.rope.scaling.factor", 4)},
		{AS_NUMBER("llama.rope.scaling.original_context_length", 128)},
		{AS_REAL("llama.rope.scaling.attn_factor", 0.5)},
		{AS_REAL("llama.rope.scaling.yarn_beta_fast", 16)},
		{AS_REAL("llama.rope.scaling.yarn_beta_slow", 2)},
		{AS_REAL("llama.rope.scaling.yarn_ext_factor", 0.25)},
	};
	evn_hparams h;
	evn_error err = {0};
	if (read_hparams(given, sizeof given / sizeof *given, &h, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(h.n_kv_heads, 2);
	assert_int_equal(h.head_dim, 32);
	assert_int_equal(h.rope.dim, 24);
	assert_int_equal(h.rope.scaling, EVN_ROPE_SCALING_YARN);
	assert_int_equal(h.rope.n_ctx_orig, 128);
	assert_true(h.rope.base == 500000 && h.rope.factor == 4 && h.rope.attn_factor == 0.5f);
	assert_true(h.rope.beta_fast == 16 && h.rope.beta_slow == 2 && h.rope.ext_factor == 0.25f);
}

static void linear_scaling_has_two_spellings_and_none_wins(void **state)
{
	(void)state;
	const setting old = {AS_REAL("llama.rope.scale_linear", 2)}, factor = {AS_REAL("llama.rope.scaling.factor", 8)};
	const setting none[] = {factor, {AS_TEXT("llama.rope.scaling.type", "none")}};
	evn_hparams h;
	evn_error err = {0};
	assert_int_equal(read_hparams(&old, 1, &h, &err), EVN_OK);
	assert_int_equal(h.rope.scaling, EVN_ROPE_SCALING_LINEAR);
	assert_true(h.rope.factor == 2);
	assert_int_equal(read_hparams(&factor, 1, &h, &err), EVN_OK);
	assert_int_equal(h.rope.scaling, EVN_ROPE_SCALING_LINEAR);
	assert_true(h.rope.factor == 8);
	const setting half = {AS_REAL("llama.rope.scaling.factor", 0.5)}, no = {AS_REAL("llama.rope.scaling.factor", 0)};
	assert_int_equal(read_hparams(&half, 1, &h, &err), EVN_OK);
	assert_true(h.rope.scaling == EVN_ROPE_SCALING_LINEAR && h.rope.factor == 0.5f);
	assert_int_equal(read_hparams(&no, 1, &h, &err), EVN_OK);
	assert_true(h.rope.scaling == EVN_ROPE_SCALING_NONE && h.rope.factor == 1);
	assert_int_equal(read_hparams(none, 2, &h, &err), EVN_OK);
	assert_int_equal(h.rope.scaling, EVN_ROPE_SCALING_NONE);
	assert_true(h.rope.factor == 1);
}

static const struct {
	setting changed;
	evn_status status;
	const char *text;
} refused[] = {
	{{LEFT_OUT("general.architecture")}, EVN_ERR_FORMAT, "\"general.architecture\" is missing"},
	{{AS_NUMBER("general.architecture", 1)}, EVN_ERR_FORMAT, "is of type u32, expected string"},
	{{AS_TEXT("general.architecture", "a-name-that-is-longer-than-any-architecture-there-is")},
	 EVN_ERR_FORMAT,
	 "1 to 48"},
	{{AS_TEXT("general.architecture", "mamba")}, EVN_ERR_FORMAT, "\"mamba.block_count\" is missing"},
	{{LEFT_OUT("llama.block_count")}, EVN_ERR_FORMAT, "\"llama.block_count\" is missing"},
	{{AS_NUMBER("llama.block_count", 1000000)}, EVN_ERR_FORMAT, "expected at most one layer per tensor"},
	{{LEFT_OUT("llama.context_length")}, EVN_ERR_FORMAT, "\"llama.context_length\" is missing"},
	{{AS_NUMBER("llama.embedding_length", 0)}, EVN_ERR_FORMAT, "\"llama.embedding_length\" is 0"},
	{{AS_NUMBER("llama.embedding_length", 32)},
	 EVN_ERR_FORMAT,
	 "\"token_embd.weight\" is [64, 10], expected [32, 1 to 2^24]"},
	{{AS_NUMBER("llama.feed_forward_length", 4294967295.0)}, EVN_ERR_FORMAT, "is 4294967295, expected 1 to 2^24"},
	{{AS_LAYERS("llama.feed_forward_length", 96, 64)}, EVN_ERR_UNSUPPORTED, "differs between layers (96 and 64)"},
	{{AS_NUMBER("llama.attention.head_count", 0)}, EVN_ERR_FORMAT, "\"llama.attention.head_count\" is 0"},
	{{AS_REAL("llama.attention.head_count", 4)}, EVN_ERR_FORMAT, "is of type f32, expected u32"},
	{{AS_NUMBER("llama.attention.head_count", 5)}, EVN_ERR_FORMAT, "\"llama.attention.key_length\" is missing"},
	{{AS_NUMBER("llama.attention.head_count_kv", 0)}, EVN_ERR_FORMAT, "\"llama.attention.head_count_kv\" is 0"},
	{{AS_NUMBER("llama.attention.head_count_kv", 3)},
	 EVN_ERR_FORMAT,
	 "is 3, expected a divisor of attention.head_count"},
	{{AS_NUMBER("llama.attention.head_count_kv", 8)}, EVN_ERR_FORMAT, "is 8, expected a divisor"},
	{{AS_LAYERS("llama.attention.head_count_kv", 2, 4)}, EVN_ERR_UNSUPPORTED, "differs between layers (2 and 4)"},
	{{AS_NUMBER("llama.attention.key_length", 32)}, EVN_ERR_UNSUPPORTED, "value_length\" is 16, expected the same"},
	{{AS_NUMBER("llama.attention.value_length", 32)}, EVN_ERR_UNSUPPORTED, "is 32, expected the same"},
	{{LEFT_OUT("llama.attention.layer_norm_rms_epsilon")}, EVN_ERR_FORMAT, "layer_norm_rms_epsilon\" is missing"},
	{{AS_REAL("llama.attention.layer_norm_rms_epsilon", -1)}, EVN_ERR_FORMAT, "is -1, expected at least 0"},
	{{AS_REAL("llama.attention.layer_norm_rms_epsilon", NAN)}, EVN_ERR_FORMAT, "is nan, expected a finite f32"},
	{{AS_NUMBER("llama.rope.dimension_count", 0)}, EVN_ERR_FORMAT, "\"llama.rope.dimension_count\" is 0"},
	{{AS_NUMBER("llama.rope.dimension_count", 15)},
	 EVN_ERR_FORMAT,
	 "is 15, expected even and at most the size of a head"},
	{{AS_NUMBER("llama.rope.dimension_count", 18)},
	 EVN_ERR_FORMAT,
	 "is 18, expected even and at most the size of a head"},
	{{AS_REAL("llama.rope.freq_base", 0)}, EVN_ERR_FORMAT, "\"llama.rope.freq_base\" is 0, expected at least 1"},
	{{AS_REAL("llama.rope.freq_base", INFINITY)}, EVN_ERR_FORMAT, "is inf, expected a finite f32"},
	{{AS_TEXT("llama.rope.scaling.type", "llama3")},
	 EVN_ERR_UNSUPPORTED,
	 "is \"llama3\", expected none, linear, yarn or longrope"},
	{{AS_TEXT("llama.rope.scaling.type", "longrope")},
	 EVN_ERR_FORMAT,
	 "tensor \"rope_factors_short.weight\" is missing, which longrope needs"},
	{{AS_REAL("llama.rope.scaling.factor", -2)}, EVN_ERR_FORMAT, "is -2, expected at least 0"},
	{{AS_REAL("llama.rope.scaling.yarn_ext_factor", -1)}, EVN_ERR_FORMAT, "is -1, expected at least 0"},
	{{AS_NUMBER("llama.rope.scaling.original_context_length", 0)}, EVN_ERR_FORMAT, "is 0, expected 1 to 2^24"},
	{{AS_REAL("llama.rope.scaling.yarn_beta_fast", 0.5)}, EVN_ERR_FORMAT, "is 0.5, expected at least 1"},
	{{AS_REAL("llama.rope.scaling.attn_factor", -1)}, EVN_ERR_FORMAT, "is -1, expected at least 0"},
};

static void every_bad_hyperparameter_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		evn_hparams h;
		evn_error err = {0};
		evn_status s = read_hparams(&refused[i].changed, 1, &h, &err);
		if (s != refused[i].status || !strstr(err.text, refused[i].text) || strncmp(err.text, "test.gguf: ", 11))
			fail_msg("%s: %s \"%s\", expected \"%s\"", refused[i].changed.key, evn_status_name(s), err.text,
					 refused[i].text);
		assert_int_equal(h.dim, 0);
		assert_null(h.rope.freq_factors);
	}
}

/* The same file, with its unused tensor under the name that counts. */
static evn_status read_freq_factors(uint64_t n, float last, evn_hparams *h, evn_error *err)
{
	gguf_writer w = {0};
	put_header(&w, 3, 3, N_BASE);
	for (size_t i = 0; i < N_BASE; i++)
		put_setting(&w, &base[i]);
	put_tensor(&w, "token_embd.weight", 8, 2, (uint64_t[]){64, 10}, 0);
	put_tensor(&w, "output_norm.weight", 0, 1, (uint64_t[]){64}, 704);
	put_tensor(&w, "rope_freqs.weight", 0, 1, &n, 960);
	put_data(&w, 32, 960 + 4 * n);
	float *factors = (float *)(void *)(w.data + w.size - 4 * n); /* 32-aligned in the file and in malloc's memory */
	for (uint64_t i = 0; i < n; i++)
		factors[i] = i + 1 < n ? (float)i + 1 : last;
	evn_gguf *g = NULL;
	if (evn_gguf_parse(&g, "test.gguf", w.data, w.size, err) != EVN_OK)
		fail_msg("%s", err->text);
	evn_status s = evn_hparams_read(h, g, err);
	evn_gguf_free(g);
	gguf_writer_free(&w);
	return s;
}

static void frequency_factors_are_read_and_checked(void **state)
{
	(void)state;
	evn_hparams h;
	evn_error err = {0};
	assert_int_equal(read_freq_factors(8, 8, &h, &err), EVN_OK);
	for (int i = 0; i < 8; i++)
		assert_true(h.rope.freq_factors[i] == (float)i + 1);
	evn_hparams_clear(&h);
	assert_int_equal(read_freq_factors(7, 7, &h, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "\"rope_freqs.weight\" has 7 elements, expected 8"));
	assert_int_equal(read_freq_factors(8, 0, &h, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "holds 0 at 7, expected divisors > 0"));
	assert_int_equal(read_freq_factors(8, NAN, &h, &err), EVN_ERR_FORMAT);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/evener-test-model-XXXXXX";

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

static char *write_model(gguf_writer *w)
{
	char *path = evn_format("%s/model.gguf", folder);
	evn_error err = {0};
	if (evn_write_file(path, w->data, w->size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	gguf_writer_free(w);
	return path;
}

static void an_opened_model_tells_what_it_holds(void **state)
{
	(void)state;
	gguf_writer w = model_file(&(setting){AS_TEXT("general.name", "tiny")}, 1);
	const size_t size = w.size;
	char *path = write_model(&w);
	evn_model *m = NULL;
	evn_error err = {0};
	if (evn_model_open(&m, path, &err) != EVN_OK)
		fail_msg("%s", err.text);
	evn_model_info info = evn_model_get_info(m);
	assert_string_equal(info.arch, "llama");
	assert_string_equal(info.name, "tiny");
	assert_int_equal(info.head_dim, 16);
	assert_int_equal(info.n_params, 640 + 64 + 8);
	assert_int_equal(info.file_bytes, size);
	assert_int_equal(info.tensor_bytes, 640 / 32 * 34 + 4 * (64 + 8));
	assert_int_equal(info.n_tensors, 3);
	assert_int_equal(info.n_metadata, N_BASE + 1);
	evn_tensor_info t = evn_model_tensor(m, 0);
	assert_string_equal(t.name, "token_embd.weight");
	assert_string_equal(t.type, "Q8_0");
	assert_int_equal(t.shape[1], 10);
	assert_int_equal(t.offset_bytes, size - 992);
	assert_null(evn_model_tensor(m, 3).name);
	const char *key, *type;
	char value[64];
	evn_model_metadata(m, 0, &key, &type, value, sizeof value);
	assert_string_equal(key, "general.architecture");
	assert_string_equal(type, "string");
	assert_string_equal(value, "\"llama\"");
	evn_model_metadata(m, info.n_metadata, &key, &type, value, sizeof value);
	assert_null(key);
	const evn_hparams *h = NULL;
	assert_int_equal(evn_model_require_hparams(m, &h, &err), EVN_OK);
	assert_ptr_equal(h, evn_model_hparams(m));
	assert_true(evn_str_is(h->arch, "llama"));
	evn_model_close(m);
	unlink(path);
	free(path);
}

static void tensors_are_had_by_name_and_shape(void **state)
{
	(void)state;
	gguf_writer w = model_file(NULL, 0);
	char *path = write_model(&w);
	evn_model *m = NULL;
	evn_error err = {0};
	const evn_tensor *t = NULL;
	assert_int_equal(evn_model_open(&m, path, &err), EVN_OK);
	assert_int_equal(evn_model_need(m, "token_embd.weight", 64, 10, &t, &err), EVN_OK);
	assert_int_equal(evn_model_need(m, "output_norm.weight", 64, 0, &t, &err), EVN_OK);
	float row[64], expected[64];
	assert_int_equal(evn_tensor_rows(evn_model_find(m, "token_embd.weight"), 3, 1, row, &err), EVN_OK);
	for (int b = 0; b < 2; b++) /* put_data's bytes: row 3 begins at byte 3 * 68 */
		for (int i = 0; i < 32; i++) {
			int at = 204 + 34 * b;
			uint16_t scale = (uint16_t)((at & 255) | (at + 1) % 256 << 8);
			expected[32 * b + i] = (float)(int8_t)(at + 2 + i) * evn_half_to_float(scale);
		}
	assert_memory_equal(row, expected, sizeof row);
	assert_int_equal(evn_model_need(m, "token_embd.weight", 64, 11, &t, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "tensor \"token_embd.weight\" is [64, 10, 1, 1], expected [64, 11]"));
	assert_int_equal(evn_model_need(m, "token_embd.weight", 64, 0, &t, &err), EVN_ERR_FORMAT);
	assert_int_equal(evn_model_need(m, "blk.0.attn_q.weight", 64, 64, &t, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "tensor \"blk.0.attn_q.weight\" is missing"));
	evn_model_close(m);
	unlink(path);
	free(path);
}

/* Inspecting and tokenizing must work where running is not possible. */
static void a_model_that_cannot_run_still_opens(void **state)
{
	(void)state;
	gguf_writer files[2] = {model_file(&(setting){AS_TEXT("general.architecture", "mamba")}, 1), {0}};
	put_header(&files[1], 3, 0, 1);
	put_string(&files[1], "general.architecture", "llama");
	static const char *const reasons[] = {"\"mamba.block_count\" is missing", "holds a vocabulary and no weights"};
	for (int i = 0; i < 2; i++) {
		char *path = write_model(&files[i]);
		evn_model *m = NULL;
		evn_error err = {0};
		assert_int_equal(evn_model_open(&m, path, &err), EVN_OK);
		assert_null(evn_model_hparams(m));
		const evn_hparams *h;
		assert_int_not_equal(evn_model_require_hparams(m, &h, &err), EVN_OK);
		assert_non_null(strstr(err.text, reasons[i]));
		assert_int_equal(evn_model_get_info(m).dim, 0);
		err = (evn_error){0};
		assert_null(evn_model_tokenizer(m, &err)); /* these have no tokens at all */
		assert_int_not_equal(err.code, EVN_OK);
		evn_model_close(m);
		unlink(path);
		free(path);
	}
}

static void the_key_follows_header_and_weights(void **state)
{
	(void)state;
	uint64_t keys[3];
	for (int i = 0; i < 3; i++) {
		gguf_writer w = model_file(&(setting){AS_NUMBER("llama.context_length", i == 2 ? 513 : 512)}, 1);
		if (i == 1)
			w.data[w.size - 1] ^= 1; /* a weight */
		char *path = write_model(&w);
		evn_model *m = NULL;
		assert_int_equal(evn_model_open(&m, path, NULL), EVN_OK);
		assert_int_equal(evn_model_identity(m, &keys[i], NULL), EVN_OK);
		evn_model_close(m);
		unlink(path);
		free(path);
	}
	assert_true(keys[0] != keys[1]);
	assert_true(keys[0] != keys[2]);
}

static void what_is_no_model_file_is_refused(void **state)
{
	(void)state;
	char *path = evn_format("%s/odd", folder);
	evn_model *m = NULL;
	evn_error err = {0};
	assert_int_equal(evn_model_open(&m, path, &err), EVN_ERR_FILE); /* nothing there */
	assert_int_equal(evn_model_open(&m, folder, &err), EVN_ERR_FILE);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(evn_model_open(&m, path, &err), EVN_ERR_FILE); /* and it does not wait for a writer */
	unlink(path);
	assert_int_equal(evn_write_file(path, "", 0, &err), EVN_OK);
	assert_int_equal(evn_model_open(&m, path, &err), EVN_ERR_FILE);
	assert_int_equal(evn_write_file(path, "GG", 2, &err), EVN_OK);
	assert_int_equal(evn_model_open(&m, path, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, path));
	assert_null(m);
	unlink(path);
	free(path);
	evn_model_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_keys_take_their_defaults),
		cmocka_unit_test(given_keys_are_read),
		cmocka_unit_test(linear_scaling_has_two_spellings_and_none_wins),
		cmocka_unit_test(every_bad_hyperparameter_is_named),
		cmocka_unit_test(frequency_factors_are_read_and_checked),
		cmocka_unit_test(an_opened_model_tells_what_it_holds),
		cmocka_unit_test(tensors_are_had_by_name_and_shape),
		cmocka_unit_test(a_model_that_cannot_run_still_opens),
		cmocka_unit_test(the_key_follows_header_and_weights),
		cmocka_unit_test(what_is_no_model_file_is_refused),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
