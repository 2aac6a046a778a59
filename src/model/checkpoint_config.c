/* checkpoint_config.c - config.json as the keys of a GGUF file. What evener would not compute is put too, under the
 * key that says it, so that the check of the keys refuses it; what has no key is refused here. */
#include "model/checkpoint_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_BYTES ((size_t)16 << 20)
#define GEMMA3                                                                                                       \
	"{\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"rms_norm_eps\": 1e-6,"            \
	"\"max_position_embeddings\": 131072, \"rope_theta\": 1e6, \"rope_local_base_freq\": 1e4,"                       \
	"\"sliding_window_pattern\": 6, \"hidden_act\": \"gelu_pytorch_tanh\"}"
#define GEMMA2                                                                                                       \
	"{\"head_dim\": 256, \"attn_logit_softcapping\": 50, \"final_logit_softcapping\": 30,"                           \
	"\"hidden_act\": \"gelu_pytorch_tanh\"}"

#define T5                                                                                                           \
	"{\"d_model\": 512, \"d_kv\": 64, \"d_ff\": 2048, \"num_layers\": 6, \"num_heads\": 8, \"n_positions\": 512,"    \
	"\"relative_attention_num_buckets\": 32, \"layer_norm_epsilon\": 1e-6, \"decoder_start_token_id\": 0}"
#define VIT                                                                                                          \
	"{\"hidden_size\": 768, \"num_hidden_layers\": 12, \"num_attention_heads\": 12, \"intermediate_size\": 3072,"    \
	"\"layer_norm_eps\": 1e-12}"

static const evn_family families[] = {
	{"llama", "llama", "silu", true, false, false, "{}"},
	{"mistral", "llama", "silu", true, false, false, "{}"},
	{"mistral3", "mistral3", "silu", true, false, false, "{}"},
	{"ministral3", "mistral3", "silu", true, false, false, "{}"},
	{"qwen2", "qwen2", "silu", false, false, false, "{}"},
	{"qwen2_vl", "qwen2vl", "silu", false, false, false, "{}"},
	{"qwen2_5_vl", "qwen2vl", "silu", false, false, false, "{}"},
	{"qwen3", "qwen3", "silu", false, false, false, "{\"head_dim\": 128}"},
	{"qwen3_vl", "qwen3vl", "silu", false, false, false, "{\"head_dim\": 128}"},
	{"qwen3_moe", "qwen3moe", "silu", false, false, false, "{\"head_dim\": 128, \"norm_topk_prob\": false}"},
	{"mixtral", "llama", "silu", true, false, false, "{}"},
	{"phi3", "phi3", "silu", false, false, false, "{}"},
	{"smollm3", "smollm3", "silu", true, false, false, "{\"rope_theta\": 2e6}"},
	{"granite", "granite", "silu", true, false, false, "{}"},
	{"olmo2", "olmo2", "silu", false, false, true, "{\"rope_theta\": 5e5}"},
	{"olmo3", "olmo2", "silu", false, false, true, "{\"rope_theta\": 5e5}"},
	{"gemma2", "gemma2", "gelu_pytorch_tanh", false, true, true, GEMMA2},
	{"gemma3", "gemma3", "gelu_pytorch_tanh", false, true, true, GEMMA3},
	{"gemma3_text", "gemma3", "gelu_pytorch_tanh", false, true, true, GEMMA3},
	{"bert", "bert", "gelu", false, false, false, "{}"},
	{"t5", "t5", "relu", false, false, false, T5},
	{"vit", "vit", "gelu", false, false, false, VIT},
	{"gpt2", "gpt2", "gelu_new", false, false, false, "{\"activation_function\": \"gelu_new\"}"},
};

evn_arch_key evn_key_of(const evn_checkpoint *c, const char *suffix)
{
	evn_arch_key k;
	snprintf(k.text, sizeof k.text, "%s.%s", c->family->arch, suffix);
	return k;
}

/* ---- values -----------------------------------------------------------------------------------------------------
 */

static evn_status wrong(const evn_checkpoint *c, const char *key, const char *expected)
{
	return evn_fail(c->err, EVN_ERR_FORMAT, "%s/config.json: \"%s\": expected %s", c->folder, key, expected);
}

/* The value of the first of two names that is there and not null. */
static const json_t *value_of(const evn_checkpoint *c, const char *key, const char *other)
{
	const json_t *v = json_object_get(c->config, key);
	if ((!v || json_is_null(v)) && other)
		v = json_object_get(c->config, other);
	return v && !json_is_null(v) ? v : NULL;
}

static evn_status read_u32(const evn_checkpoint *c, const char *key, const char *other, uint32_t *value)
{
	const json_t *v = value_of(c, key, other);
	if (!v)
		return EVN_OK;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
		return wrong(c, key, "an integer from 0 to 2^32 - 1");
	*value = (uint32_t)json_integer_value(v);
	return EVN_OK;
}

evn_status evn_config_u32(const evn_checkpoint *c, const char *key, uint32_t *value)
{
	return read_u32(c, key, NULL, value);
}

static evn_status put_u32(const evn_checkpoint *c, const char *key, const char *other, const char *suffix)
{
	uint32_t value = 0;
	EVN_TRY(read_u32(c, key, other, &value));
	if (value_of(c, key, other))
		evn_gguf_put_u32(c->w, evn_key_of(c, suffix).text, value);
	return EVN_OK;
}

static evn_status put_f32(const evn_checkpoint *c, const json_t *v, const char *key, const char *suffix)
{
	if (!v || json_is_null(v))
		return EVN_OK;
	if (!json_is_number(v))
		return wrong(c, key, "a number");
	evn_gguf_put_f32(c->w, evn_key_of(c, suffix).text, (float)json_number_value(v));
	return EVN_OK;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------
 */

static const struct {
	const char *key, *other, *suffix;
} integers[] = {
	{"max_position_embeddings", "n_positions", "context_length"},
	{"hidden_size", "n_embd", "embedding_length"},
	{"num_hidden_layers", "n_layer", "block_count"},
	{"intermediate_size", "n_inner", "feed_forward_length"},
	{"num_attention_heads", "n_head", "attention.head_count"},
	{"num_key_value_heads", NULL, "attention.head_count_kv"},
	{"head_dim", NULL, "attention.key_length"},
	{"head_dim", NULL, "attention.value_length"},
	{"num_experts", "num_local_experts", "expert_count"},
	{"num_experts_per_tok", NULL, "expert_used_count"},
	{"moe_intermediate_size", NULL, "expert_feed_forward_length"},
	{"vocab_size", NULL, "vocab_size"},
};

static const struct {
	const char *key, *suffix;
} reals[] = {
	{"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, {"layer_norm_epsilon", "attention.layer_norm_epsilon"},
	{"layer_norm_eps", "attention.layer_norm_epsilon"},   {"rope_local_base_freq", "rope.freq_base_swa"},
	{"attn_logit_softcapping", "attn_logit_softcapping"}, {"final_logit_softcapping", "final_logit_softcapping"},
	{"embedding_multiplier", "embedding_scale"},          {"residual_multiplier", "residual_scale"},
	{"attention_multiplier", "attention.scale"},          {"logits_scaling", "logit_scale"},
};

static evn_status put_sizes(evn_checkpoint *c)
{
	uint32_t dim = 0;
	const bool t5 = !strcmp(c->family->arch, "t5"); /* whose sizes have other names (put_t5) */
	for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
		if (!t5 || !strcmp(integers[i].key, "vocab_size"))
			EVN_TRY(put_u32(c, integers[i].key, integers[i].other, integers[i].suffix));
	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
		EVN_TRY(put_f32(c, value_of(c, reals[i].key, NULL), reals[i].key, reals[i].suffix));
	EVN_TRY(read_u32(c, "n_embd", NULL, &dim));
	if (!strcmp(c->family->arch, "gpt2") && !value_of(c, "intermediate_size", "n_inner") && dim <= UINT32_MAX / 4)
		evn_gguf_put_u32(c->w, "gpt2.feed_forward_length", 4 * dim);
	return EVN_OK;
}

/* ---- windows ----------------------------------------------------------------------------------------------------
 */

/* layer_types says of each layer whether it has a window. */
static evn_status put_layer_types(const evn_checkpoint *c, const json_t *types)
{
	const size_t n = json_array_size(types);
	const evn_arch_key key = evn_key_of(c, "attention.sliding_window_pattern");
	uint8_t *windowed = malloc(n + 1);
	if (!windowed)
		return evn_fail_memory(c->err, c->folder, n);
	for (size_t i = 0; i < n; i++) {
		const char *type = json_string_value(json_array_get(types, i));
		windowed[i] = type && !strcmp(type, "sliding_attention");
		if (!windowed[i] && (!type || strcmp(type, "full_attention") != 0)) {
			free(windowed);
			return wrong(c, "layer_types", "sliding_attention or full_attention for each layer");
		}
	}
	evn_gguf_put_value(c->w, &(evn_gguf_value){.key = {key.text, strlen(key.text)},
											   .type = EVN_GGUF_ARRAY,
											   .element = EVN_GGUF_BOOL,
											   .count = n,
											   .data = windowed});
	free(windowed);
	return EVN_OK;
}

static bool any_windowed(const json_t *types)
{
	size_t i;
	json_t *type;
	json_array_foreach((json_t *)(uintptr_t)types, i, type)
	{
		const char *text = json_string_value(type);
		if (text && !strcmp(text, "sliding_attention"))
			return true;
	}
	return false;
}

static evn_status put_windows(const evn_checkpoint *c)
{
	const json_t *types = json_object_get(c->config, "layer_types");
	const json_t *used = json_object_get(c->config, "use_sliding_window");
	const char *arch = c->family->arch;
	const bool has_pattern = !strcmp(arch, "gemma3") || !strcmp(arch, "olmo2");
	if (json_is_false(used) || (json_is_array(types) && !any_windowed(types)))
		return EVN_OK;
	EVN_TRY(put_u32(c, "sliding_window", NULL, "attention.sliding_window"));
	if (has_pattern && json_is_array(types))
		return put_layer_types(c, types);
	return has_pattern
			   ? put_u32(c, "sliding_window_pattern", "_sliding_window_pattern", "attention.sliding_window_pattern")
			   : EVN_OK;
}

/* ---- rotation ---------------------------------------------------------------------------------------------------
 */

/* What is known of the rotation: its keys are in config.json itself, in rope_scaling, or in rope_parameters, which
 * may have a set of them for each kind of layer. */
typedef struct {
	const json_t *scaling; /* NULL: none */
	const char *type;
	const json_t *theta;
	uint32_t head_dim, dim, context, original;
} rotation;

static double real_of(const json_t *o, const char *key, double value)
{
	const json_t *v = json_object_get(o, key);
	return json_is_number(v) ? json_number_value(v) : value;
}

static evn_status read_rotation(const evn_checkpoint *c, rotation *r)
{
	uint32_t dim = 0, heads = 0;
	const json_t *p = value_of(c, "rope_parameters", "rope_scaling");
	const json_t *full = json_object_get(p, "full_attention");
	r->scaling = full ? full : p;
	r->theta = json_object_get(r->scaling, "rope_theta");
	if (!r->theta)
		r->theta = value_of(c, "rope_theta", NULL);
	if (full) {
		const json_t *local = json_object_get(json_object_get(p, "sliding_attention"), "rope_theta");
		if (local)
			json_object_set(c->config, "rope_local_base_freq", (json_t *)(uintptr_t)local);
	}
	const json_t *type = json_object_get(r->scaling, "rope_type");
	r->type = json_string_value(type ? type : json_object_get(r->scaling, "type"));
	if (!r->type)
		r->type = "default";
	EVN_TRY(read_u32(c, "hidden_size", NULL, &dim));
	EVN_TRY(read_u32(c, "num_attention_heads", NULL, &heads));
	r->head_dim = heads ? dim / heads : 0;
	EVN_TRY(read_u32(c, "head_dim", NULL, &r->head_dim));
	const double part = real_of(r->scaling, "partial_rotary_factor", real_of(c->config, "partial_rotary_factor", 1));
	if (!(part > 0 && part <= 1) || !r->head_dim || r->head_dim > 65536)
		return wrong(c, "head_dim", "heads of 1 to 65536 dimensions, of which a part above 0 rotates");
	r->dim = (uint32_t)(part * r->head_dim);
	EVN_TRY(read_u32(c, "max_position_embeddings", NULL, &r->context));
	r->original = r->context;
	EVN_TRY(read_u32(c, "original_max_position_embeddings", NULL, &r->original));
	r->original = (uint32_t)real_of(r->scaling, "original_max_position_embeddings", r->original);
	return EVN_OK;
}

/* Llama 3 stretches long wavelengths only. The divisors of the frequencies become a tensor. */
static evn_status put_llama3(evn_checkpoint *c, const rotation *r)
{
	const double factor = real_of(r->scaling, "factor", 8), low = real_of(r->scaling, "low_freq_factor", 1);
	const double high = real_of(r->scaling, "high_freq_factor", 4),
				 base = r->theta ? json_number_value(r->theta) : 1e4;
	const uint32_t n = r->dim / 2;
	evn_planned *t = evn_checkpoint_plan(c, "rope_freqs.weight");
	if (!(factor > 0 && low > 0 && high > low && base > 1))
		return wrong(c, "rope_scaling", "factors of llama3 above 0, high_freq_factor above low_freq_factor");
	if (!t || !(t->values = malloc((n + 1u) * sizeof *t->values)))
		return evn_fail_memory(c->err, c->folder, n);
	t->n_dims = 1;
	t->shape[0] = n;
	for (uint32_t i = 0; i < n; i++) {
		const double wave = 6.283185307179586 * pow(base, 2.0 * i / r->dim);
		const double smooth = (r->original / wave - low) / (high - low);
		t->values[i] = (float)(wave < r->original / high  ? 1
							   : wave > r->original / low ? factor
														  : 1 / ((1 - smooth) / factor + smooth));
	}
	return EVN_OK;
}

static evn_status put_factors(evn_checkpoint *c, const rotation *r, const char *key, const char *name)
{
	const json_t *list = json_object_get(r->scaling, key);
	const size_t n = json_array_size(list);
	if (!n || n != r->dim / 2)
		return wrong(c, key, "a number for each pair of rotated dimensions");
	evn_planned *t = evn_checkpoint_plan(c, name);
	if (!t || !(t->values = malloc(n * sizeof *t->values)))
		return evn_fail_memory(c->err, c->folder, n);
	t->n_dims = 1;
	t->shape[0] = n;
	for (size_t i = 0; i < n; i++)
		t->values[i] = (float)json_number_value(json_array_get(list, i));
	return EVN_OK;
}

/* Two tables of divisors, and a factor that follows from how far the context is stretched. */
static evn_status put_longrope(evn_checkpoint *c, const rotation *r)
{
	const double stretched = r->original ? (double)r->context / r->original : 1;
	const double by_size = stretched > 1 ? sqrt(1 + log(stretched) / log(r->original)) : 1;
	EVN_TRY(put_factors(c, r, "short_factor", "rope_factors_short.weight"));
	EVN_TRY(put_factors(c, r, "long_factor", "rope_factors_long.weight"));
	evn_gguf_put_u32(c->w, evn_key_of(c, "rope.scaling.original_context_length").text, r->original);
	evn_gguf_put_f32(c->w, evn_key_of(c, "rope.scaling.attn_factor").text,
					 (float)real_of(r->scaling, "attention_factor", by_size));
	return EVN_OK;
}

static evn_status put_yarn(evn_checkpoint *c, const rotation *r)
{
	static const char *const keys[][2] = {{"beta_fast", "rope.scaling.yarn_beta_fast"},
										  {"beta_slow", "rope.scaling.yarn_beta_slow"},
										  {"mscale_all_dim", "rope.scaling.yarn_log_multiplier"},
										  {"llama_4_scaling_beta", "attention.temperature_scale"}};
	const json_t *given = json_object_get(r->scaling, "attention_factor");
	if (given && !json_is_null(given))
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: \"attention_factor\" is given, which evener does not compute with yarn",
						c->folder);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		EVN_TRY(put_f32(c, json_object_get(r->scaling, keys[i][0]), keys[i][0], keys[i][1]));
	evn_gguf_put_u32(c->w, evn_key_of(c, "rope.scaling.original_context_length").text, r->original);
	return EVN_OK;
}

static evn_status put_rotation(evn_checkpoint *c)
{
	rotation r = {0};
	EVN_TRY(read_rotation(c, &r));
	evn_gguf_put_u32(c->w, evn_key_of(c, "rope.dimension_count").text, r.dim);
	EVN_TRY(put_f32(c, r.theta, "rope_theta", "rope.freq_base"));
	if (!strcmp(r.type, "default") || !strcmp(r.type, "mrope"))
		return EVN_OK;
	if (!strcmp(r.type, "llama3"))
		return put_llama3(c, &r);
	if (!strcmp(r.type, "longrope") || !strcmp(r.type, "su"))
		return put_longrope(c, &r);
	if (strcmp(r.type, "linear") != 0 && strcmp(r.type, "yarn") != 0)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: rope_type is \"%.40s\", expected default, linear, llama3, longrope or yarn",
						c->folder, r.type);
	evn_gguf_put_string(c->w, evn_key_of(c, "rope.scaling.type").text, r.type);
	EVN_TRY(put_f32(c, json_object_get(r.scaling, "factor"), "factor", "rope.scaling.factor"));
	return strcmp(r.type, "yarn") ? EVN_OK : put_yarn(c, &r);
}

/* ---- encoders ---------------------------------------------------------------------------------------------------
 */

/* A folder of sentence-transformers says which rows become the vector of a text. */
static evn_status put_pooling(const evn_checkpoint *c)
{
	static const char *const modes[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token",
										"pooling_mode_lasttoken"}; /* in the order of GGUF's types, from 1 on */
	json_t *pooling;
	EVN_TRY(evn_json_open(&pooling, c->folder, "1_Pooling/config.json", CONFIG_BYTES, c->err));
	uint32_t n = 0, type = 0;
	const char *key;
	json_t *value;
	json_object_foreach(pooling, key, value) n += !strncmp(key, "pooling_mode_", 13) && json_is_true(value);
	for (uint32_t i = 0; i < 3; i++)
		if (json_is_true(json_object_get(pooling, modes[i])))
			type = i + 1;
	const bool known = !pooling || (n == 1 && type > 0);
	json_decref(pooling);
	if (!known)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/1_Pooling/config.json: expected one pooling mode, of the mean, the cls or the last token",
						c->folder);
	evn_gguf_put_u32(c->w, evn_key_of(c, "pooling_type").text, type);
	return EVN_OK;
}

/* The names of the classes, which config.json numbers from 0 on; and whether a text may be of several. */
static evn_status put_classes(const evn_checkpoint *c)
{
	const json_t *names = value_of(c, "id2label", NULL);
	const size_t n = json_object_size(names);
	const char *problem = json_string_value(value_of(c, "problem_type", NULL));
	evn_str *list = calloc(n + 1, sizeof *list);
	if (!list)
		return evn_fail_memory(c->err, "classes", n * sizeof *list);
	size_t found = 0;
	for (; found < n; found++) {
		char number[24];
		snprintf(number, sizeof number, "%zu", found);
		const char *name = json_string_value(json_object_get(names, number));
		if (!name)
			break;
		list[found] = (evn_str){name, strlen(name)};
	}
	if (found && found == n)
		evn_gguf_put_strings(c->w, evn_key_of(c, "classifier.output_labels").text, list, n);
	if (problem && !strcmp(problem, "multi_label_classification"))
		evn_gguf_put_bool(c->w, evn_key_of(c, "classifier.multi_label").text, true);
	free(list);
	return found == n
			   ? EVN_OK
			   : evn_fail(c->err, EVN_ERR_FORMAT, "%s/config.json: \"id2label\" has no name for class %zu of %zu",
						  c->folder, found, n);
}

static evn_status put_encoder(const evn_checkpoint *c)
{
	const char *positions = json_string_value(value_of(c, "position_embedding_type", NULL));
	if (positions && strcmp(positions, "absolute") != 0)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: \"position_embedding_type\" is \"%.40s\", expected \"absolute\"", c->folder,
						positions);
	uint32_t n_types = 2; /* transformers' default */
	EVN_TRY(read_u32(c, "type_vocab_size", NULL, &n_types));
	evn_gguf_put_u32(c->w, "tokenizer.ggml.token_type_count", n_types); /* llama.cpp needs it */
	evn_gguf_put_bool(c->w, evn_key_of(c, "attention.causal").text, json_is_true(value_of(c, "is_decoder", NULL)));
	EVN_TRY(put_classes(c));
	return put_pooling(c);
}

static evn_status put_images(const evn_checkpoint *c)
{
	EVN_TRY(put_classes(c));
	return evn_checkpoint_image_config(c);
}

/* ---- encoder and decoder ----------------------------------------------------------------------------------------
 */

static evn_status put_t5(const evn_checkpoint *c)
{
	static const char *const sizes[][2] = {{"d_model", "embedding_length"},
										   {"n_positions", "context_length"},
										   {"num_layers", "block_count"},
										   {"d_ff", "feed_forward_length"},
										   {"num_heads", "attention.head_count"},
										   {"num_heads", "attention.head_count_kv"},
										   {"d_kv", "attention.key_length"},
										   {"d_kv", "attention.value_length"},
										   {"relative_attention_num_buckets", "attention.relative_buckets_count"},
										   {"decoder_start_token_id", "decoder_start_token_id"}};
	const char *network = json_string_value(value_of(c, "feed_forward_proj", NULL));
	uint32_t farthest = 128;
	EVN_TRY(read_u32(c, "relative_attention_max_distance", NULL, &farthest));
	if (farthest != 128)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: \"relative_attention_max_distance\" is %u, evener computes 128", c->folder,
						farthest);
	if (network && strcmp(network, "relu") != 0 && strcmp(network, "gated-gelu") != 0)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: \"feed_forward_proj\" is \"%.40s\", expected relu or gated-gelu", c->folder,
						network);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		EVN_TRY(put_u32(c, sizes[i][0], NULL, sizes[i][1]));
	EVN_TRY(put_u32(c, "num_decoder_layers", "num_layers", "decoder_block_count"));
	return put_f32(c, value_of(c, "layer_norm_epsilon", NULL), "layer_norm_epsilon",
				   "attention.layer_norm_rms_epsilon");
}

/* ---- the file ---------------------------------------------------------------------------------------------------
 */

/* The families' own files do not say by what scores are divided; evener knows it by the sizes. */
static evn_status check_score_scale(const evn_checkpoint *c)
{
	uint32_t given = 0, width = 0, layers = 0, heads = 1, dim = 0;
	EVN_TRY(read_u32(c, "head_dim", NULL, &width));
	EVN_TRY(read_u32(c, "num_hidden_layers", NULL, &layers));
	EVN_TRY(read_u32(c, "num_attention_heads", NULL, &heads));
	EVN_TRY(read_u32(c, "hidden_size", NULL, &dim));
	if (heads && layers == (!strcmp(c->family->arch, "gemma2") ? 46u : 62u))
		width = dim / heads;
	given = width;
	EVN_TRY(read_u32(c, "query_pre_attn_scalar", NULL, &given));
	if (given == width)
		return EVN_OK;
	return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
					"%s/config.json: \"query_pre_attn_scalar\" is %u, evener computes %u", c->folder, given, width);
}

static evn_status check_rest(const evn_checkpoint *c)
{
	const char *act = json_string_value(value_of(c, "hidden_activation", "hidden_act"));
	if (!act)
		act = json_string_value(value_of(c, "activation_function", NULL));
	if (act && strcmp(act, c->family->act) != 0)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED, "%s/config.json: \"hidden_act\" is \"%.40s\", expected \"%s\"",
						c->folder, act, c->family->act);
	if (json_is_object(json_object_get(c->own, "quantization_config")))
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: \"quantization_config\": evener reads weights in F32, F16 and BF16",
						c->folder);
	if (json_is_false(json_object_get(c->config, "norm_topk_prob")))
		return evn_fail(
			c->err, EVN_ERR_UNSUPPORTED,
			"%s/config.json: \"norm_topk_prob\" is false, evener computes weights of experts that add up to 1",
			c->folder);
	return c->family->plus_one ? check_score_scale(c) : EVN_OK;
}

static evn_status find_family(evn_checkpoint *c)
{
	const char *type = json_string_value(json_object_get(c->own, "model_type"));
	char names[360] = "";
	json_t *text = json_object_get(c->own, "text_config");
	for (size_t i = 0, n = 0; i < sizeof families / sizeof *families && n < sizeof names; i++) {
		if (type && !strcmp(type, families[i].model_type))
			c->family = &families[i];
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", families[i].model_type);
	}
	if (!c->family)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s/config.json: model_type \"%.40s\" is not one evener runs (%s)", c->folder,
						type ? type : "", names);
	c->config = json_is_object(text) ? text : c->own;
	json_t *defaults = json_loads(c->family->defaults, 0, NULL);
	const bool ok = defaults && json_object_update_missing(c->config, defaults) == 0;
	json_decref(defaults);
	return ok ? EVN_OK : evn_fail_memory(c->err, c->folder, 0);
}

evn_status evn_checkpoint_config(evn_checkpoint *c)
{
	EVN_TRY(evn_json_open(&c->own, c->folder, "config.json", CONFIG_BYTES, c->err));
	if (!c->own)
		return evn_fail(c->err, EVN_ERR_FILE, "%s: the folder has no config.json, so it is no model", c->folder);
	EVN_TRY(find_family(c));
	EVN_TRY(check_rest(c));
	const size_t n = strlen(c->folder);
	size_t end = n;
	while (end > 1 && c->folder[end - 1] == '/')
		end--;
	size_t begin = end;
	while (begin > 0 && c->folder[begin - 1] != '/')
		begin--;
	char name[256];
	snprintf(name, sizeof name, "%.*s", (int)(end - begin), c->folder + begin);
	evn_gguf_put_string(c->w, "general.architecture", c->family->arch);
	evn_gguf_put_string(c->w, "general.name", name);
	if (!strcmp(c->family->arch, "bert"))
		EVN_TRY(put_encoder(c));
	else if (!strcmp(c->family->arch, "t5"))
		EVN_TRY(put_t5(c));
	else if (evn_reads_images(c))
		EVN_TRY(put_images(c));
	else if (strcmp(c->family->arch, "gpt2") != 0)
		EVN_TRY(put_rotation(c));
	EVN_TRY(put_sizes(c));
	return put_windows(c);
}
