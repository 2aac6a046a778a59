/* test_lora.c - an adapter that is applied is part of the model: the model's key changes, and the file without the
 * adapter is not written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter.h"
#include "evener/inspect.h"
#include "evener/train.h"
#include "model/model.h"

#define DIM 64u

static char folder[] = "/tmp/evener-lora-XXXXXX";
static char adapter[64], other[64], saved[64];

static evn_model *make(void)
{
	const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = DIM, .context = 32, .n_layers = 1, .n_heads = 2, .seed = 1};
	evn_model *m;
	assert_int_equal(evn_model_create(&m, &spec, NULL), EVN_OK);
	return m;
}

static uint64_t key_of(const evn_model *m)
{
	uint64_t key;
	assert_int_equal(evn_model_identity(m, &key, NULL), EVN_OK);
	return key;
}

static void an_adapter_changes_the_key(void **state)
{
	evn_model *plain = make(), *once = make(), *twice = make(), *half = make();
	(void)state;
	assert_int_equal(evn_model_apply_adapter(half, adapter, 0.5, NULL), EVN_OK);
	assert_int_equal(evn_model_apply_adapter(once, adapter, 1, NULL), EVN_OK);
	assert_int_equal(evn_model_apply_adapter(twice, adapter, 1, NULL), EVN_OK);
	assert_true(key_of(plain) != key_of(once));
	assert_true(key_of(once) == key_of(twice));
	assert_true(key_of(once) != key_of(half));
	assert_int_equal(evn_model_apply_adapter(twice, adapter, 1, NULL), EVN_OK);
	assert_true(key_of(once) != key_of(twice));
	const char *const *paths;
	assert_int_equal(evn_model_adapters(plain, &paths), 0);
	assert_int_equal(evn_model_adapters(twice, &paths), 2);
	assert_string_equal(paths[0], adapter);
	assert_string_equal(paths[1], adapter);
	evn_model_close(plain);
	evn_model_close(once);
	evn_model_close(twice);
	evn_model_close(half);
}

/* Adapters that were trained alike differ in nothing but their weights. */
static void its_weights_are_part_of_the_key(void **state)
{
	evn_model *m = make(), *changed = make();
	char *file;
	size_t size;
	(void)state;
	assert_int_equal(evn_read_file(&file, &size, adapter, 1u << 20, NULL), EVN_OK);
	file[size - 2] ^= 1;
	assert_int_equal(evn_write_file(saved, file, size, NULL), EVN_OK);
	free(file);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, NULL), EVN_OK);
	assert_int_equal(evn_model_apply_adapter(changed, saved, 1, NULL), EVN_OK);
	assert_true(key_of(m) != key_of(changed));
	evn_model_close(m);
	evn_model_close(changed);
	unlink(saved);
}

static void what_does_not_fit_changes_nothing(void **state)
{
	evn_model *m = make();
	const uint64_t before = key_of(m);
	const char *const *paths;
	evn_error err = {0};
	(void)state;
	assert_int_equal(evn_model_apply_adapter(m, other, 1, &err), EVN_ERR_FORMAT);
	assert_true(key_of(m) == before && evn_model_adapters(m, &paths) == 0);
	for (int i = 0; i < EVN_MAX_ADAPTERS; i++)
		assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
	const uint64_t full = key_of(m);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_ERR_LIMIT);
	assert_true(key_of(m) == full);
	evn_model_close(m);
}

static void a_model_with_an_adapter_is_not_saved_without(void **state)
{
	evn_model *m = make();
	evn_error err = {0};
	(void)state;
	assert_int_equal(evn_model_save(m, saved, &err), EVN_OK);
	assert_int_equal(unlink(saved), 0);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
	assert_int_equal(evn_model_save(m, saved, &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "adapter"));
	assert_int_not_equal(access(saved, F_OK), 0);
	evn_model_close(m);
}

/* A file of an adapter with these tensors, f32 matrices whose entry i is 0.01 (i mod 7), or vectors where rows are 0.
 */
typedef struct {
	const char *name;
	uint64_t columns, rows;
} half;

static void write_halves(const half *halves, size_t n)
{
	evn_gguf_writer *w;
	uint8_t *file;
	size_t size;
	assert_int_equal(evn_gguf_writer_create(&w, NULL), EVN_OK);
	evn_gguf_put_string(w, "general.type", "adapter");
	evn_gguf_put_string(w, "adapter.type", "lora");
	evn_gguf_put_string(w, "general.architecture", "llama");
	evn_gguf_put_f32(w, "adapter.lora.alpha", 6);
	for (size_t i = 0; i < n; i++) {
		const uint64_t length = halves[i].columns * (halves[i].rows ? halves[i].rows : 1);
		float *values = test_malloc(length * sizeof *values);
		for (uint64_t k = 0; k < length; k++)
			values[k] = 0.01f * (float)(k % 7);
		evn_gguf_put_tensor(w, halves[i].name, evn_quant_by_name("F32"), halves[i].rows ? 2 : 1,
							(uint64_t[]){halves[i].columns, halves[i].rows}, values);
		test_free(values);
	}
	assert_int_equal(evn_gguf_finish(w, &file, &size, NULL), EVN_OK);
	assert_int_equal(evn_write_file(saved, file, size, NULL), EVN_OK);
	evn_gguf_writer_free(w);
	free(file);
}

/* As llama.cpp keeps it: a row of A for each token, a row of B for each column. The output matrix, which is the
 * embedding too, stays as it was. */
static void an_adapter_for_the_embedding_is_looked_up(void **state)
{
	enum { RANK = 3, VOCAB = 260 };
	static const half embedding[] = {{"token_embd.weight.lora_a", RANK, VOCAB},
									 {"token_embd.weight.lora_b", RANK, DIM}};
	evn_model *m = make(), *plain = make();
	float row[DIM], before[DIM], head[DIM];
	evn_error err = {0};
	(void)state;
	write_halves(embedding, 2);
	if (evn_model_apply_adapter(m, saved, 0.5, &err) != EVN_OK)
		fail_msg("%s", err.text);
	for (uint32_t v = 0; v < VOCAB; v += 37) {
		assert_int_equal(evn_tensor_rows(evn_model_find(plain, "token_embd.weight"), v, 1, before, &err), EVN_OK);
		assert_int_equal(evn_tensor_rows(evn_model_find(m, "token_embd.weight"), v, 1, row, &err), EVN_OK);
		assert_int_equal(evn_tensor_rows(evn_model_head(m), v, 1, head, &err), EVN_OK);
		assert_memory_equal(head, before, sizeof head);
		for (uint32_t c = 0; c < DIM; c++) {
			double want = (double)before[c];
			for (uint32_t k = 0; k < RANK; k++)
				want += 0.5 * 6 / RANK * 0.01 * ((v * RANK + k) % 7) * 0.01 * ((c * RANK + k) % 7);
			assert_true(fabs((double)row[c] - want) < 1e-6);
		}
	}
	assert_ptr_equal(evn_model_head(plain), evn_model_find(plain, "token_embd.weight"));
	evn_model_close(m);
	evn_model_close(plain);
	unlink(saved);
}

static void what_no_matrix_takes_is_refused_by_what_it_is(void **state)
{
	static const struct {
		half halves[2];
		size_t n;
		const char *says;
	} cases[] = {
		{{{"blk.0.attn_norm.weight.lora_a", DIM, 1}, {"blk.0.attn_norm.weight.lora_b", 1, 1}},
		 2,
		 "belongs to a norm"},
		{{{"blk.0.attn_norm.weight", DIM, 0}}, 1, "would replace a tensor of the model"},
		{{{"blk.0.attn_norm.magnitude", DIM, 0}}, 1, "is no half of a low-rank addition"},
		{{{"output.weight.lora_a", DIM, 1}, {"output.weight.lora_b", 1, 260}},
		 2,
		 "belongs to no tensor of the model"},
		{{{"token_embd.weight.lora_a", 2, 260}}, 1, "lacks its other half"},
		/* as the other matrices have it */
		{{{"token_embd.weight.lora_a", DIM, 2}, {"token_embd.weight.lora_b", 2, 260}}, 2, "does not have the shape"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = make();
		evn_error err = {0};
		write_halves(cases[i].halves, cases[i].n);
		if (evn_model_apply_adapter(m, saved, 1, &err) != EVN_ERR_FORMAT || !strstr(err.text, cases[i].says) ||
			!strstr(err.text, cases[i].halves[0].name))
			fail_msg("\"%s\" expected in: %s", cases[i].says, err.text);
		evn_model_close(m);
	}
	unlink(saved);
}

static int make_files(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(adapter, sizeof adapter, "%s/adapter.gguf", folder);
	snprintf(other, sizeof other, "%s/other.gguf", folder);
	snprintf(saved, sizeof saved, "%s/saved.gguf", folder);
	write_adapter(adapter, DIM);
	write_adapter(other, DIM / 2);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	unlink(adapter);
	unlink(other);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_adapter_changes_the_key),
									   cmocka_unit_test(its_weights_are_part_of_the_key),
									   cmocka_unit_test(what_does_not_fit_changes_nothing),
									   cmocka_unit_test(an_adapter_for_the_embedding_is_looked_up),
									   cmocka_unit_test(what_no_matrix_takes_is_refused_by_what_it_is),
									   cmocka_unit_test(a_model_with_an_adapter_is_not_saved_without)};
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
