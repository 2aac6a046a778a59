/* test_checkpoint.c - opens a small checkpoint folder, reads its reordered weights and its tokens, and survives every
 * flipped byte and every end of its files. tests/cli/checkpoint.sh compares all architectures with GGUF files. */
#include "evener/inspect.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/evn-checkpoint-XXXXXX";

static const char config[] =
	"{\"model_type\":\"llama\",\"hidden_size\":4,\"num_hidden_layers\":1,\"intermediate_size\":4,\"num_attention_"
	"heads\":1,"
	"\"num_key_value_heads\":1,\"max_position_embeddings\":8,\"rms_norm_eps\":1e-5,\"vocab_size\":5,\"rope_theta\":"
	"1e4,"
	"\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
	"\"original_max_position_embeddings\":4}}";

static const char tokenizer[] = "{\"added_tokens\":[{\"id\":3,\"content\":\"<|end|>\",\"special\":true}],\"pre_"
								"tokenizer\":{\"type\":\"Sequence\","
								"\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":"
								"\"ByteLevel\"}]},\"model\":{\"type\":"
								"\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[[\"a\",\"b\"]]}}";

typedef struct {
	char bytes[4096];
	size_t n;
} content;

static void put_le(content *c, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		c->bytes[c->n++] = (char)(v >> 8 * i);
}

/* An embedding of 5 rows, and the queries of one head, whose elements are 0, 1, 2, ... */
static content weights(void)
{
	static const char head[] =
		"{\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":[5,4],\"data_offsets\":[0,40]},"
		"\"model.layers.0.self_attn.q_proj.weight\":{\"dtype\":\"F16\",\"shape\":[4,4],\"data_offsets\":[40,72]},"
		"\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[72,88]}}";
	content c = {.n = 0};
	put_le(&c, sizeof head - 1, 8);
	memcpy(c.bytes + c.n, head, sizeof head - 1);
	c.n += sizeof head - 1;
	for (unsigned i = 0; i < 20; i++)
		put_le(&c, 0x3f80, 2);
	for (unsigned i = 0; i < 16; i++)
		put_le(&c, evn_float_to_half((float)i), 2);
	for (unsigned i = 0; i < 4; i++)
		put_le(&c, 0x40000000, 4);
	return c;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
	char path[96];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static void write_folder(void)
{
	const content w = weights();
	write_file("config.json", config, sizeof config - 1);
	write_file("tokenizer.json", tokenizer, sizeof tokenizer - 1);
	write_file("model.safetensors", w.bytes, w.n);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors"};
	char path[96];
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		unlink(path);
	}
	return rmdir(folder);
}

static void rows_of_queries_alternate(void **state)
{
	(void)state;
	evn_model *m;
	evn_error err;
	float rows[16];
	uint8_t scratch[6];
	const uint8_t *bytes;
	write_folder();
	assert_int_equal(evn_model_open(&m, folder, &err), EVN_OK);
	const evn_tensor *q = evn_model_find(m, "blk.0.attn_q.weight");
	assert_non_null(q);
	assert_int_equal(evn_tensor_rows(q, 0, 4, rows, &err), EVN_OK);
	static const float first[] = {0, 8, 4, 12}; /* of rows 0, 2, 1, 3 */
	for (int r = 0; r < 4; r++)
		assert_true(rows[4 * r] == first[r] && rows[4 * r + 3] == first[r] + 3);
	/* a part that begins and ends inside rows: elements 3 of the first and 0, 1 of the second */
	assert_int_equal(evn_tensor_bytes(q, 6, 6, scratch, &bytes, &err), EVN_OK);
	static const float part[] = {3, 8, 9};
	for (int i = 0; i < 3; i++)
		assert_true(evn_half_to_float((uint16_t)evn_load_le(bytes + 2 * i, 2)) == part[i]);
	evn_model_close(m);
}

static void text_becomes_tokens(void **state)
{
	(void)state;
	evn_model *m;
	evn_error err;
	int32_t *ids;
	size_t n;
	write_folder();
	assert_int_equal(evn_model_open(&m, folder, &err), EVN_OK);
	assert_int_equal(evn_tokenize(m, "aab<|end|>b", 11, false, true, &ids, &n, &err), EVN_OK);
	static const int32_t expected[] = {0, 2, 3, 1};
	assert_int_equal(n, 4);
	assert_memory_equal(ids, expected, sizeof expected);
	free(ids);
	evn_model_close(m);
}

#define WORDPIECE                                                                                                    \
	"{\"added_tokens\":[{\"id\":1,\"content\":\"[CLS]\",\"special\":true}],"                                         \
	"\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"                \
	"\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"##b\":4"

static void words_become_tokens(void **state)
{
	(void)state;
	static const char whole[] = WORDPIECE "}}}", odd[] = WORDPIECE "},\"max_input_chars_per_word\":50}}";
	evn_model *m;
	evn_error err;
	int32_t *ids;
	size_t n;
	write_folder();
	write_file("tokenizer.json", whole, sizeof whole - 1);
	assert_int_equal(evn_model_open(&m, folder, &err), EVN_OK);
	assert_int_equal(evn_tokenize(m, "Abb b", 5, true, false, &ids, &n, &err), EVN_OK);
	static const int32_t expected[] = {1, 3, 4, 4, 0, 2};
	assert_int_equal(n, 6);
	assert_memory_equal(ids, expected, sizeof expected);
	free(ids);
	evn_model_close(m);
	write_file("tokenizer.json", odd, sizeof odd - 1);
	assert_int_equal(evn_model_open(&m, folder, &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "words of at most 100 characters"));
}

/* Opens the folder and reads what it can. What matters is that the sanitizers find nothing. */
static void try_folder(void)
{
	evn_model *m;
	evn_error err = {0};
	if (evn_model_open(&m, folder, &err) != EVN_OK) {
		assert_true(err.text[0] && !strchr(err.text, '\n'));
		return;
	}
	uint64_t key;
	evn_model_identity(m, &key, &err);
	(void)evn_model_tokenizer(m, &err);
	evn_model_close(m);
}

static void every_change_is_survived(void **state)
{
	(void)state;
	const content w = weights();
	const struct {
		const char *name, *bytes;
		size_t n, all;
	} files[] = {{"config.json", config, sizeof config - 1, sizeof config - 1},
				 {"tokenizer.json", tokenizer, sizeof tokenizer - 1, sizeof tokenizer - 1},
				 {"model.safetensors", w.bytes, w.n - 88, w.n}};
	static const char flips[] = {1, 32, (char)128};
	for (size_t k = 0; k < 3; k++) {
		char copy[4096];
		write_folder();
		for (size_t i = 0; i < files[k].n; i++) {
			for (size_t f = 0; f < sizeof flips; f++) {
				memcpy(copy, files[k].bytes, files[k].all);
				copy[i] = (char)(copy[i] ^ flips[f]);
				write_file(files[k].name, copy, files[k].all);
				try_folder();
			}
			write_file(files[k].name, files[k].bytes, i);
			try_folder();
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_queries_alternate),
		cmocka_unit_test(text_becomes_tokens),
		cmocka_unit_test(words_become_tokens),
		cmocka_unit_test(every_change_is_survived),
	};
	evn_set_log(NULL, NULL);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
