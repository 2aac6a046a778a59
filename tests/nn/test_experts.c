/* test_experts.c - models with experts as the plan sees them, and files of such models that are wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "evener/inspect.h"
#include "evener/train.h"
#include "model/gguf_write.h"
#include "nn/shape.h"

#define DIM 64u
#define FF 96u
#define EXPERTS 5u

/* What is different from a model that runs. */
typedef struct {
	uint32_t used, experts_of_router, rows;
	const char *left_out;
	const char *says; /* NULL: it runs */
} fault;

/* Writes a matrix for each expert, or another tensor, of zeros. */
static void put(evn_gguf_writer *w, const fault *f, const char *name, uint64_t columns, uint64_t rows, uint64_t n)
{
	if (f->left_out && strstr(name, f->left_out))
		return;
	float *zeros = calloc(columns * rows * n, sizeof *zeros);
	assert_non_null(zeros);
	evn_gguf_put_tensor(w, name, evn_quant_by_name("F32"), n > 1 ? 3 : 2, (uint64_t[]){columns, rows, n}, zeros);
	free(zeros);
}

static void put_experts(evn_gguf_writer *w, const fault *f, uint32_t layer)
{
	char name[64];
	snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", layer);
	put(w, f, name, DIM, f->experts_of_router, 1);
	snprintf(name, sizeof name, "blk.%u.ffn_gate_exps.weight", layer);
	put(w, f, name, DIM, FF, EXPERTS);
	snprintf(name, sizeof name, "blk.%u.ffn_up_exps.weight", layer);
	put(w, f, name, DIM, f->rows, EXPERTS);
	snprintf(name, sizeof name, "blk.%u.ffn_down_exps.weight", layer);
	put(w, f, name, FF, DIM, EXPERTS);
}

/* A made llama model with experts in place of its feed-forward networks. */
static evn_model *make(const fault *f)
{
	const evn_model_spec spec = {.architecture = "llama",
								 .vocab = 260,
								 .dim = DIM,
								 .context = 64,
								 .n_layers = 2,
								 .n_heads = 2,
								 .n_kv_heads = 1,
								 .ff_dim = FF,
								 .seed = 1};
	evn_model *plain, *out;
	evn_gguf_writer *w;
	evn_error err = {0};
	uint8_t *file;
	size_t size;
	assert_int_equal(evn_model_create(&plain, &spec, &err), EVN_OK);
	assert_int_equal(evn_gguf_writer_create(&w, &err), EVN_OK);
	const evn_gguf *g = evn_model_gguf(plain);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		evn_gguf_put_value(w, evn_gguf_value_at(g, i));
	evn_gguf_put_u32(w, "llama.expert_count", EXPERTS);
	evn_gguf_put_u32(w, "llama.expert_used_count", f->used);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[80];
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		if (!strstr(name, "ffn_") || strstr(name, "ffn_norm"))
			evn_gguf_put_tensor(w, name, t->quant, t->n_dims, t->shape, t->data);
	}
	for (uint32_t layer = 0; layer < 2; layer++)
		put_experts(w, f, layer);
	assert_int_equal(evn_gguf_finish(w, &file, &size, &err), EVN_OK);
	evn_gguf_writer_free(w);
	evn_model_close(plain);
	if (evn_model_from_memory(&out, "test.gguf", file, size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return out;
}

static const fault none = {2, EXPERTS, FF, NULL, NULL};

static void wrong_files_are_refused(void **state)
{
	const fault cases[] = {
		none,
		{0, EXPERTS, FF, NULL, "0 of 5 experts are used, expected at least 1"},
		{6, EXPERTS, FF, NULL, "6 of 5 experts are used"},
		{2, EXPERTS + 1, FF, NULL, "\"blk.0.ffn_gate_inp.weight\" is [64, 6, 1, 1], expected [64, 5]"},
		{2, EXPERTS, FF - 32, NULL, "\"blk.0.ffn_up_exps.weight\" is [64, 64, 5, 1], expected [64, 96, 5]"},
		{2, EXPERTS, FF, "ffn_gate_inp", "\"blk.0.ffn_gate_inp.weight\" is missing"},
		{2, EXPERTS, FF, "ffn_down_exps", "\"blk.0.ffn_down_exps.weight\" is missing"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = make(&cases[i]);
		evn_error err = {0};
		const evn_status s = evn_model_check(m, &err);
		if (cases[i].says ? s == EVN_OK || !strstr(err.text, cases[i].says) : s != EVN_OK)
			fail_msg("\"%s\" expected in: %s", cases[i].says ? cases[i].says : "", err.text);
		evn_model_close(m);
	}
}

/* Memory counts all experts. A row reads two of five. */
static void the_plan_counts_what_is_held_and_what_is_read(void **state)
{
	evn_model *m = make(&none);
	evn_graph *g;
	evn_plan_shape s;
	evn_split split;
	evn_error err = {0};
	(void)state;
	assert_int_equal(evn_graph_make(&g, m, &err), EVN_OK);
	assert_int_equal(evn_graph_shape(g, (evn_limits){.n_ctx = 64, .n_batch = 8}, &s, &err), EVN_OK);
	const evn_plan_class *k = &s.classes[evn_plan_find(&s, EVN_CUT_UNITS)];
	assert_int_equal(k->n_blocks, 2);
	assert_int_equal(k->n, FF);
	assert_int_equal(k->unit_bytes, 3 * DIM * EXPERTS * sizeof(float));
	assert_true(k->read_fraction == 2.0 / EXPERTS);
	assert_true(k->unit_macs == 3.0 * DIM * EXPERTS);
	assert_true(k->by_phase);
	assert_int_equal(
		evn_split_make(&split, &s, 2, (double[]){2, 1}, NULL, (uint64_t[]){UINT64_MAX, UINT64_MAX}, &err), EVN_OK);
	const uint64_t held = evn_range_len(evn_split_part(&split, evn_plan_find(&s, EVN_CUT_UNITS), 0, 0)->held);
	assert_int_equal(held, FF * 2 / 3);
	const evn_work one = evn_split_work(&split, 0, (evn_plan_step){EVN_DECODE, 1, 0});
	const evn_work many = evn_split_work(&split, 0, (evn_plan_step){EVN_DECODE, 50, 0});
	const double of_units = 2.0 * (double)held * (double)k->unit_bytes;
	assert_true(fabs(many.bytes - one.bytes - of_units * 3 / 5) < 1e-3 * of_units);
	evn_split_free(&split);
	assert_int_equal(evn_plan_n_reduces(&s), 4);
	s.classes[evn_plan_find(&s, EVN_CUT_UNITS)].joins = true; /* as shared experts do */
	assert_int_equal(evn_plan_n_reduces(&s), 2);
	assert_int_equal(evn_plan_n_blocks(&s), 4);
	evn_graph_free(g);
	evn_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_files_are_refused),
		cmocka_unit_test(the_plan_counts_what_is_held_and_what_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
