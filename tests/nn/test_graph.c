/* test_graph.c - tensors and keys of a file that the graph does not read: they are refused by name, unless they are
 * known to be harmless. Rows that a file has in one tensor. The rotary angles. */
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
#include "nn/rope.h"
#include "nn/weights.h"

#define DIM 32u

/* A tensor or a key beyond those of a made model. */
typedef struct {
	const char *tensor; /* a vector of DIM ones */
	const char *key, *text;
	double number;
	bool is_bool, is_count;
} addition;

static void put_addition(evn_gguf_writer *w, const addition *a)
{
	float ones[DIM];
	for (uint32_t i = 0; i < DIM; i++)
		ones[i] = 1;
	if (a->tensor)
		evn_gguf_put_tensor(w, a->tensor, evn_quant_by_name("F32"), 1, (uint64_t[]){DIM}, ones);
	else if (a->text)
		evn_gguf_put_string(w, a->key, a->text);
	else if (a->is_count)
		evn_gguf_put_u32(w, a->key, (uint32_t)a->number);
	else if (a->is_bool)
		evn_gguf_put_bool(w, a->key, a->number != 0);
	else
		evn_gguf_put_f32(w, a->key, (float)a->number);
}

/* A copy of m's file with additions. */
static evn_model *rewrite(const evn_model *m, const addition *a, size_t n)
{
	const evn_gguf *g = evn_model_gguf(m);
	evn_gguf_writer *w;
	evn_model *out = NULL;
	evn_error err = {0};
	uint8_t *file;
	size_t size;
	assert_int_equal(evn_gguf_writer_create(&w, &err), EVN_OK);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		evn_gguf_put_value(w, evn_gguf_value_at(g, i));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[80];
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		evn_gguf_put_tensor(w, name, t->quant, t->n_dims, t->shape, t->data);
	}
	for (size_t i = 0; i < n; i++)
		put_addition(w, &a[i]);
	assert_int_equal(evn_gguf_finish(w, &file, &size, &err), EVN_OK);
	evn_gguf_writer_free(w);
	if (evn_model_from_memory(&out, "test.gguf", file, size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return out;
}

static evn_model *make(const char *architecture)
{
	const bool has_layers = architecture[0] != 's';
	const evn_model_spec spec = {.architecture = architecture,
								 .vocab = 260,
								 .dim = DIM,
								 .context = 64,
								 .n_layers = has_layers ? 2 : 0,
								 .n_heads = 2,
								 .n_kv_heads = architecture[0] == 'l',
								 .ff_dim = 48,
								 .seed = 1};
	evn_model *m;
	evn_error err = {0};
	if (evn_model_create(&m, &spec, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return m;
}

/* A made llama model that says to be of another architecture, with the norms after blocks that Gemma has, and n
 * additions. */
static evn_model *renamed(const char *architecture, const addition *a, size_t n)
{
	static const addition norms[] = {{.tensor = "blk.0.post_attention_norm.weight"},
									 {.tensor = "blk.0.post_ffw_norm.weight"},
									 {.tensor = "blk.1.post_attention_norm.weight"},
									 {.tensor = "blk.1.post_ffw_norm.weight"}};
	addition all[16];
	char keys[64][80];
	evn_model *plain = make("llama"), *m = rewrite(plain, NULL, 0), *out;
	const evn_gguf *g = evn_model_gguf(m);
	size_t n_keys = 0, n_all = 0;
	for (uint32_t i = 0; i < evn_gguf_n_values(g) && n_keys < 64; i++) {
		evn_gguf_value *v = (evn_gguf_value *)(uintptr_t)evn_gguf_value_at(g, i);
		if (evn_str_is(v->key, "general.architecture"))
			*(evn_str *)(uintptr_t)v->strings = (evn_str){architecture, strlen(architecture)};
		if (v->key.length < 6 || memcmp(v->key.text, "llama.", 6) != 0)
			continue;
		snprintf(keys[n_keys], sizeof keys[0], "%s%.*s", architecture, (int)v->key.length - 5, v->key.text + 5);
		v->key = (evn_str){keys[n_keys], strlen(keys[n_keys])};
		n_keys++;
	}
	for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
		all[n_all++] = norms[i];
	for (size_t i = 0; i < n; i++)
		all[n_all++] = a[i];
	out = rewrite(m, all, n_all);
	evn_model_close(m);
	evn_model_close(plain);
	return out;
}

/* A made llama model with one addition. */
static evn_model *with(const addition *a)
{
	evn_model *plain = make("llama"), *m = rewrite(plain, a, 1);
	evn_model_close(plain);
	return m;
}

static void assert_refused(const evn_model *m, const char *name, const char *also)
{
	evn_error err = {0};
	if (evn_model_check(m, &err) != EVN_ERR_UNSUPPORTED || !strstr(err.text, name) || !strstr(err.text, also) ||
		strncmp(err.text, "test.gguf: ", 11) != 0)
		fail_msg("\"%s\" and \"%s\" expected in: %s", name, also, err.text);
}

static void assert_runs(const evn_model *m)
{
	evn_error err = {0};
	if (evn_model_check(m, &err) != EVN_OK)
		fail_msg("%s", err.text);
}

static void made_models_are_read_whole(void **state)
{
	static const char *const names[] = {"llama", "gpt2", "simple-lm"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		evn_model *m = make(names[i]);
		assert_runs(m);
		evn_model_close(m);
	}
}

static void tensors_that_are_not_read_are_refused(void **state)
{
	static const char *const names[] = {
		"blk.0.attn_q.scale",
		"blk.1.attn_q_norm.weight",
		"blk.0.post_attention_norm.weight",
		"blk.1.post_ffw_norm.weight",
		"blk.0.attn_sub_norm.weight",
		"blk.1.attn_sinks.weight",
		"blk.2.attn_norm.weight",
		"blk.0.attn_norm.bias",
		"blk.0.attn_k.bias",
		"output_norm.bias",
		"mm.0.weight",
		"cls.norm.weight",
		"rope_factors_long.weight",
		"token_embd_norm.weight",
	};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		evn_model *m = with(&(addition){.tensor = names[i]});
		assert_refused(m, names[i], "1 tensor that evener does not know");
		evn_model_close(m);
	}
	const addition many[] = {{.tensor = "a"}, {.tensor = "b"}, {.tensor = "c"}, {.tensor = "d"}};
	evn_model *plain = make("llama"), *m = rewrite(plain, many, 4);
	assert_refused(m, "4 tensors that", "\"a\", \"b\", \"c\", ...");
	evn_model_close(m);
	evn_model_close(plain);
}

static void what_is_read_now_and_then_is_no_stranger(void **state)
{
	static const char *const names[] = {
		"train.loss", "adam_m.output_norm.weight",
		"blk.0.attn_q.bias", /* of DIM rows; then k and v must have one too */
	};
	evn_error err = {0};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		evn_model *m = with(&(addition){.tensor = names[i]});
		assert_runs(m);
		evn_model_close(m);
	}
	evn_model *m = with(&(addition){.tensor = names[2]});
	assert_int_equal(evn_model_check(m, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "\"blk.0.attn_k.bias\" is missing"));
	evn_model_close(m);
}

static void keys_that_change_the_result_are_refused(void **state)
{
	static const struct {
		addition a;
		bool runs;
		const char *says;
	} cases[] = {
		{{.key = "llama.attention.causal", .is_bool = true, .number = 0}, false, "is false"},
		{{.key = "llama.attention.causal", .is_bool = true, .number = 1}, true, NULL},
		{{.key = "llama.attention.scale", .number = 0.5}, false, "is 0.5"},
		{{.key = "llama.attention.clamp_kqv", .number = 8}, false, "is 8"},
		{{.key = "llama.attention.sliding_window", .number = 63}, false, "is 63"},
		{{.key = "llama.attention.sliding_window", .number = 64}, true, NULL}, /* the context */
		{{.key = "llama.attention.sliding_window", .number = 0}, true, NULL},
		{{.key = "llama.attn_logit_softcapping", .number = 50}, false, "is 50"},
		{{.key = "llama.final_logit_softcapping", .number = 30}, false, "is 30"},
		{{.key = "llama.logit_scale", .number = 0.5}, false, "is 0.5"},
		{{.key = "llama.logit_scale", .number = 1}, true, NULL},
		{{.key = "llama.embedding_scale", .number = 3}, false, "is 3"},
		{{.key = "llama.residual_scale", .number = 0.5}, false, "is 0.5"},
		{{.key = "llama.expert_shared_count", .number = 8}, false, "is 8"},
		{{.key = "llama.rope.scaling.alpha", .number = 2}, false, "is 2"},
		{{.key = "llama.rope.scaling.yarn_log_multiplier", .number = 1}, false, "is 1"},
		{{.key = "llama.rope.scaling.yarn_attn_factor", .number = 1.5}, false, "is 1.5"},
		{{.key = "llama.use_parallel_residual", .is_bool = true, .number = 1}, false, "is true"},
		{{.key = "llama.attention.causal", .text = "no"}, false, "is \"no\""},
		{{.key = "llama.rope.scaling.finetuned", .is_bool = true, .number = 1}, true, NULL},
		{{.key = "gemma.attention.scale", .number = 0.5}, true, NULL}, /* of another architecture */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = with(&cases[i].a);
		if (cases[i].runs)
			assert_runs(m);
		else
			assert_refused(m, cases[i].a.key, cases[i].says);
		evn_model_close(m);
	}
}

/* What a Gemma file says of windows. */
static void windows_are_checked(void **state)
{
	static const struct {
		addition a;
		const char *says; /* NULL: it runs */
	} cases[] = {
		{{.key = "gemma2.attention.sliding_window_pattern", .text = "two"}, "is of type string, expected u32"},
		{{.key = "gemma2.attn_logit_softcapping", .number = -1}, "is -1, expected a number above 0"},
		{{.key = "gemma2.attn_logit_softcapping", .number = 0}, NULL},
		{{.tensor = "blk.0.attn_q_norm.weight"}, "1 tensor that evener does not know"},
		{{.key = "gemma2.attention.temperature_scale", .number = 2}, "is 2, which evener does not compute"},
	};
	evn_error err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = renamed("gemma2", &cases[i].a, 1);
		const evn_status s = evn_model_check(m, &err);
		if (cases[i].says ? s == EVN_OK || !strstr(err.text, cases[i].says) : s != EVN_OK)
			fail_msg("\"%s\" expected in: %s", cases[i].says ? cases[i].says : "", err.text);
		evn_model_close(m);
	}
	evn_model *m = renamed("gemma3", NULL, 0);
	assert_int_equal(evn_model_check(m, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "\"blk.0.attn_q_norm.weight\" is missing"));
	evn_model_close(m);
}

/* The variants of Gemma 4 that are refused, each in one line. */
static void variants_of_gemma4_are_told_apart(void **state)
{
	static const struct {
		addition a;
		const char *says;
	} cases[] = {
		{{.key = "gemma4.expert_count", .is_count = true, .number = 8}, "0 of 8 experts are used"},
		{{.key = "gemma4.embedding_length_per_layer_input", .is_count = true, .number = 1u << 20},
		 "and 1048576 inputs of each layer"},
		{{.key = "gemma4.embedding_length_per_layer_input", .is_count = true, .number = 24},
		 "\"per_layer_token_embd.weight\" is missing"},
		{{.key = "gemma4.attention.shared_kv_layers", .is_count = true, .number = 1000},
		 "layers share keys and values"},
		{{.key = "gemma4.attention.key_length_swa", .is_count = true, .number = 1024},
		 "heads of layers with a window have 1024"},
		{{.key = "gemma4.attention.value_length_swa", .is_count = true, .number = 2}, "of values 2"},
		{{.key = "gemma4.rope.dimension_count_swa", .is_count = true, .number = 3}, "of which 3 rotate"},
		{{.key = "gemma4.expert_count", .is_count = true, .number = 0}, "\"blk.0.attn_q_norm.weight\" is missing"},
	};
	evn_error err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = renamed("gemma4", &cases[i].a, 1);
		if (evn_model_check(m, &err) == EVN_OK || !strstr(err.text, cases[i].says))
			fail_msg("\"%s\" expected in: %s", cases[i].says, err.text);
		evn_model_close(m);
	}
}

/* A file that calls itself deepseek2, with some of the keys that its heads need. */
static void latent_heads_are_checked(void **state)
{
	static const struct {
		addition a;
		const char *says;
	} cases[] = {
		{{.key = "deepseek2.attention.kv_lora_rank", .is_count = true, .number = 24},
		 "deepseek2.attention.value_length\" is 0, expected 1 to 2^24"},
		{{.key = "deepseek2.attention.kv_lora_rank", .is_count = true, .number = 0}, "is 0, expected 1 to 2^24"},
	};
	evn_error err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = renamed("deepseek2", &cases[i].a, 1);
		if (evn_model_check(m, &err) == EVN_OK || !strstr(err.text, cases[i].says))
			fail_msg("\"%s\" expected in: %s", cases[i].says, err.text);
		evn_model_close(m);
	}
}

static bool is_unknown(const evn_model *m, const char *wanted)
{
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		if (evn_str_is(evn_gguf_value_at(g, i)->key, wanted))
			return evn_model_key_is_unknown(m, i);
	fail_msg("no key %s", wanted);
	return false;
}

static void catch_line(void *user, evn_log_level level, const char *line)
{
	if (level == EVN_LOG_WARN)
		snprintf(user, 512, "%s", line);
}

static void unknown_keys_are_named(void **state)
{
	const addition added[] = {{.key = "llama.attention.wobble", .number = 2},
							  {.key = "llama.vocab_size", .number = 260},
							  {.key = "llamas.attention.wobble", .number = 2}};
	evn_model *plain = make("llama"), *m = rewrite(plain, added, 3);
	char line[512] = "";
	(void)state;
	assert_runs(m);
	assert_true(is_unknown(m, "llama.attention.wobble"));
	assert_false(is_unknown(m, "llama.vocab_size"));
	assert_false(is_unknown(m, "llamas.attention.wobble"));
	assert_false(is_unknown(m, "llama.attention.head_count"));
	assert_false(is_unknown(m, "general.architecture"));
	evn_set_log(catch_line, line);
	evn_model_warn_unknown_keys(plain);
	assert_string_equal(line, "");
	evn_model_warn_unknown_keys(m);
	evn_set_log(NULL, NULL);
	assert_string_equal(line,
						"test.gguf: 1 key of the architecture that evener does not know: \"llama.attention.wobble\"");
	evn_model_close(m);
	evn_model_close(plain);
}

/* ---- rows in one tensor ------------------------------------------------------------------------------------------
 */

/* The rows of the matrices `parts` in a new tensor. */
static void put_fused(evn_gguf_writer *w, const evn_model *m, const char *name, const char *const *parts, size_t n)
{
	uint8_t blocks[96 * DIM * sizeof(float)];
	size_t used = 0;
	uint64_t rows = 0;
	for (size_t i = 0; i < n; i++) {
		const evn_tensor *t = evn_model_find(m, parts[i]);
		memcpy(blocks + used, t->data, t->size_bytes);
		used += t->size_bytes;
		rows += t->shape[1];
	}
	assert_true(used <= sizeof blocks);
	evn_gguf_put_tensor(w, name, evn_quant_by_name("F32"), 2, (uint64_t[]){DIM, rows}, blocks);
}

static evn_model *make_fused(const evn_model *m)
{
	static const char *const left_out[] = {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"};
	const evn_gguf *g = evn_model_gguf(m);
	evn_gguf_writer *w;
	evn_model *out;
	uint8_t *file;
	size_t size;
	assert_int_equal(evn_gguf_writer_create(&w, NULL), EVN_OK);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		evn_gguf_put_value(w, evn_gguf_value_at(g, i));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[80];
		bool leave = false;
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		for (size_t k = 0; k < sizeof left_out / sizeof *left_out; k++)
			leave |= strstr(name, left_out[k]) != NULL;
		if (!leave)
			evn_gguf_put_tensor(w, name, t->quant, t->n_dims, t->shape, t->data);
	}
	put_fused(w, m, "blk.0.attn_qkv.weight",
			  (const char *const[]){"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}, 3);
	put_fused(w, m, "blk.1.attn_qkv.weight",
			  (const char *const[]){"blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.1.attn_v.weight"}, 3);
	put_fused(w, m, "blk.0.ffn_up.weight", (const char *const[]){"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"}, 2);
	put_fused(w, m, "blk.1.ffn_up.weight", (const char *const[]){"blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"}, 2);
	assert_int_equal(evn_gguf_finish(w, &file, &size, NULL), EVN_OK);
	evn_gguf_writer_free(w);
	assert_int_equal(evn_model_from_memory(&out, "test.gguf", file, size, NULL), EVN_OK);
	return out;
}

/* Every stacked row has the values that it has in a file with one tensor for each matrix. */
static void rows_of_a_fused_tensor_are_those_of_its_matrices(void **state)
{
	evn_model *m = make("llama"), *f = make_fused(m);
	evn_graph *plain, *fused;
	evn_error err = {0};
	(void)state;
	assert_runs(f);
	assert_int_equal(evn_graph_make(&plain, m, &err), EVN_OK);
	assert_int_equal(evn_graph_make(&fused, f, &err), EVN_OK);
	for (uint32_t b = 0; b < plain->n_blocks; b++) {
		evn_block_weights x, y;
		assert_int_equal(evn_block_weights_find(&x, plain, &plain->blocks[b], &err), EVN_OK);
		assert_int_equal(evn_block_weights_find(&y, fused, &fused->blocks[b], &err), EVN_OK);
		assert_int_equal(x.n_in, y.n_in);
		for (uint32_t i = 0; i < x.n_in; i++) {
			const evn_range units = {0, plain->blocks[b].n_units};
			const evn_range from = evn_rows_of(&x.rows[i], &plain->blocks[b], units),
							to = evn_rows_of(&y.rows[i], &fused->blocks[b], units);
			const size_t row = DIM * sizeof(float);
			assert_int_equal(evn_range_len(from), evn_range_len(to));
			assert_memory_equal(x.in[i].weight->data + from.begin * row, y.in[i].weight->data + to.begin * row,
								evn_range_len(from) * row);
		}
		assert_ptr_equal(y.in[0].weight, y.in[1].weight);
	}
	evn_graph_free(plain);
	evn_graph_free(fused);
	evn_model_close(m);
	evn_model_close(f);
}

/* ---- angles -------------------------------------------------------------------------------------------------------
 */

/* Frequency of a pair, and the magnitude, from a table of two positions. */
static void assert_angle(const evn_rope *r, uint32_t n_ctx, uint32_t pair, double frequency, double magnitude)
{
	float *table = calloc((size_t)n_ctx * r->dim, sizeof *table);
	assert_non_null(table);
	evn_rope_table(r, n_ctx, table);
	const double c = (double)table[r->dim + pair], s = (double)table[r->dim + r->dim / 2 + pair];
	free(table);
	if (fabs(atan2(s, c) - frequency) > 1e-6 || fabs(sqrt(c * c + s * s) - magnitude) > 1e-6)
		fail_msg("pair %u: angle %.7g, magnitude %.7g, expected %.7g, %.7g", pair, atan2(s, c), sqrt(c * c + s * s),
				 frequency, magnitude);
}

/* By hand: frequencies of base 16 and 8 dimensions are 1, 1/2, 1/4, 1/8. */
static void angles_follow_the_way_of_stretching(void **state)
{
	static const float shorter[4] = {1, 1, 2, 2}, longer[4] = {1, 2, 4, 8};
	evn_rope r = {.base = 16, .dim = 8, .factor = 1, .attn_factor = 1.5f, .ext_factor = 1, .n_ctx_orig = 16};
	(void)state;
	assert_angle(&r, 32, 1, 0.5, 1.5); /* the factor applies with every method */
	r.scaling = EVN_ROPE_SCALING_LINEAR;
	r.factor = 0.5f;
	assert_angle(&r, 32, 1, 1, 1.5);
	r.scaling = EVN_ROPE_SCALING_LONGROPE;
	r.factor = 2;
	r.freq_factors = shorter;
	r.long_factors = longer;
	assert_angle(&r, 16, 2, 1.0 / 4 / 2 / 2, 1.5);
	assert_angle(&r, 17, 2, 1.0 / 4 / 2 / 4, 1.5);
	r.freq_factors = r.long_factors = NULL;
	/* yarn: of 64 positions the pairs turn 10.2, 5.1, 2.5 and 1.3 times. The ramp goes from 4 turns, the pair 1.35,
	 * to 2 turns, the pair 2.35: rounded outwards, from 1 to 3. */
	r.scaling = EVN_ROPE_SCALING_YARN;
	r.n_ctx_orig = 64;
	r.factor = 4;
	r.beta_fast = 4;
	r.beta_slow = 2;
	const double sharper = 1.5 * (1 + 0.1 * log(4));
	assert_angle(&r, 32, 1, 0.5, sharper);
	assert_angle(&r, 32, 2, 0.25 * (0.5 + 0.5 / 4), sharper);
	assert_angle(&r, 32, 3, 0.125 / 4, sharper);
	r.ext_factor = 0.5f; /* half of what would be kept */
	assert_angle(&r, 32, 1, 0.5 * (0.5 + 0.5 / 4), sharper);
	r.ext_factor = 0;
	assert_angle(&r, 32, 1, 0.5 / 4, 1.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_models_are_read_whole),
		cmocka_unit_test(tensors_that_are_not_read_are_refused),
		cmocka_unit_test(what_is_read_now_and_then_is_no_stranger),
		cmocka_unit_test(keys_that_change_the_result_are_refused),
		cmocka_unit_test(windows_are_checked),
		cmocka_unit_test(variants_of_gemma4_are_told_apart),
		cmocka_unit_test(latent_heads_are_checked),
		cmocka_unit_test(unknown_keys_are_named),
		cmocka_unit_test(rows_of_a_fused_tensor_are_those_of_its_matrices),
		cmocka_unit_test(angles_follow_the_way_of_stretching),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
