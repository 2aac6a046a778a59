/* hparams.c - reads the hyper-parameters of a decoder from "<arch>.*" metadata. Each is checked against its range,
 * the others and the embedding matrix, so that the layers above can multiply them safely. */
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_ARCH_BYTES 48u
#define MAX_SIZE (1u << 24) /* limit of each size: products of two fit 64 bits with room to spare */

typedef struct {
	const evn_gguf *g;
	evn_str arch;
	evn_status status; /* the first error stays */
	evn_error *err;
	char key[128]; /* the last key that was read */
} reader;

static const char *set_key(reader *r, const char *suffix)
{
	snprintf(r->key, sizeof r->key, "%.*s.%s", (int)r->arch.length, r->arch.text, suffix);
	return r->key;
}

static bool has(reader *r, const char *suffix) { return evn_gguf_find(r->g, set_key(r, suffix)) != NULL; }

static void fail(reader *r, evn_status code, const char *expected, uint32_t found)
{
	if (r->status == EVN_OK)
		r->status = evn_fail(r->err, code, "%s: \"%s\" is %" PRIu32 ", expected %s", evn_gguf_name(r->g), r->key,
							 found, expected);
}

/* The architectures whose layers may have KV heads and feed-forward units of different numbers. */
static bool layers_differ(const reader *r) { return evn_str_is(r->arch, "gemma4"); }

/* Reads a size of 1..MAX_SIZE, of one layer. *out keeps its default if the key is absent. With a default of 0 the key
 * is required. */
static void read_layer_size(reader *r, const char *suffix, uint32_t layer, uint32_t *out)
{
	if (r->status != EVN_OK)
		return;
	if (!has(r, suffix) && *out == 0) {
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: \"%s\" is missing", evn_gguf_name(r->g), r->key);
		return;
	}
	r->status = layers_differ(r) ? evn_gguf_layer_u32(r->g, r->key, layer, out, r->err)
								 : evn_gguf_uniform_u32(r->g, r->key, out, r->err);
	if (*out < 1 || *out > MAX_SIZE)
		fail(r, EVN_ERR_FORMAT, "1 to 2^24", *out);
}

static void read_size(reader *r, const char *suffix, uint32_t *out) { read_layer_size(r, suffix, 0, out); }

/* Reads a finite number >= min. *out keeps its default if the key is absent. */
static void read_f32(reader *r, const char *suffix, float min, float *out)
{
	if (r->status != EVN_OK)
		return;
	r->status = evn_gguf_f32(r->g, set_key(r, suffix), out, r->err);
	if (*out < min && r->status == EVN_OK)
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: \"%s\" is %g, expected at least %g", evn_gguf_name(r->g),
							 r->key, (double)*out, (double)min);
}

static void read_arch(reader *r)
{
	r->status = evn_gguf_string(r->g, "general.architecture", &r->arch, r->err);
	if (r->status == EVN_OK && (r->arch.length == 0 || r->arch.length > MAX_ARCH_BYTES))
		r->status =
			evn_fail(r->err, EVN_ERR_FORMAT, "%s: \"general.architecture\" is missing or not 1 to %u bytes long",
					 evn_gguf_name(r->g), MAX_ARCH_BYTES);
	if (r->status == EVN_OK && evn_gguf_n_tensors(r->g) == 0)
		r->status = evn_fail(r->err, EVN_ERR_UNSUPPORTED, "%s: the file holds a vocabulary and no weights",
							 evn_gguf_name(r->g));
}

/* The last layers of a file may be there to predict several tokens at once. A plain run leaves them out. */
static void read_prediction_layers(reader *r, evn_hparams *h)
{
	if (r->status != EVN_OK || !(evn_str_is(r->arch, "qwen35") || evn_str_is(r->arch, "qwen35moe")))
		return;
	r->status = evn_gguf_u32(r->g, set_key(r, "nextn_predict_layers"), &h->n_prediction_layers, r->err);
	if (r->status == EVN_OK && h->n_prediction_layers && h->n_prediction_layers >= h->n_layers)
		fail(r, EVN_ERR_FORMAT, "fewer than there are layers", h->n_prediction_layers);
	else
		h->n_layers -= h->n_prediction_layers;
}

/* Zero layers are valid: a model that has only an embedding and an output matrix. */
static void read_n_layers(reader *r, evn_hparams *h)
{
	if (r->status != EVN_OK)
		return;
	if (!has(r, "block_count"))
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: \"%s\" is missing", evn_gguf_name(r->g), r->key);
	else
		r->status = evn_gguf_u32(r->g, r->key, &h->n_layers, r->err);
	if (h->n_layers > evn_gguf_n_tensors(r->g))
		fail(r, EVN_ERR_FORMAT, "at most one layer per tensor of the file", h->n_layers);
	read_prediction_layers(r, h);
}

static void read_sizes(reader *r, evn_hparams *h)
{
	read_n_layers(r, h);
	read_size(r, "context_length", &h->n_ctx_train);
	read_size(r, "embedding_length", &h->dim);
}

static void read_layer_sizes(reader *r, evn_hparams *h)
{
	/* a file in which every network is one of experts may give their length alone */
	const bool of_experts = !has(r, "feed_forward_length") && has(r, "expert_feed_forward_length");
	const uint32_t n_layers = layers_differ(r) ? h->n_layers : 1;
	read_size(r, "attention.head_count", &h->n_heads);
	for (uint32_t layer = 0; layer < n_layers; layer++) {
		uint32_t ff_dim = 0, n_kv_heads = h->n_heads;
		read_layer_size(r, of_experts ? "expert_feed_forward_length" : "feed_forward_length", layer, &ff_dim);
		read_layer_size(r, "attention.head_count_kv", layer, &n_kv_heads);
		if (r->status == EVN_OK && h->n_heads % n_kv_heads)
			fail(r, EVN_ERR_FORMAT, "a divisor of attention.head_count", n_kv_heads);
		h->ff_dim = ff_dim > h->ff_dim ? ff_dim : h->ff_dim;
		h->n_kv_heads = n_kv_heads > h->n_kv_heads ? n_kv_heads : h->n_kv_heads;
	}
}

static void read_head_dim(reader *r, evn_hparams *h)
{
	if (r->status != EVN_OK)
		return;
	uint32_t by_default = h->dim % h->n_heads ? 0 : h->dim / h->n_heads, value_length = by_default;
	h->head_dim = by_default;
	read_size(r, "attention.key_length", &h->head_dim);
	read_size(r, "attention.value_length", &value_length);
	/* in the cache of a latent vector keys have more entries than values */
	if (value_length != h->head_dim && !evn_str_is(r->arch, "deepseek2"))
		fail(r, EVN_ERR_UNSUPPORTED, "the same as attention.key_length", value_length);
	if ((uint64_t)h->head_dim * h->n_heads > MAX_SIZE)
		fail(r, EVN_ERR_FORMAT, "at most 2^24 for all heads together", h->head_dim);
}

/* Files that are older than the key rope.scaling.type have only a factor, which means linear scaling. A factor of 0
 * means none. */
static void read_rope_type(reader *r, evn_hparams *h)
{
	static const char *const names[] = {
		[EVN_ROPE_SCALING_NONE] = "none",
		[EVN_ROPE_SCALING_LINEAR] = "linear",
		[EVN_ROPE_SCALING_YARN] = "yarn",
		[EVN_ROPE_SCALING_LONGROPE] = "longrope",
	};
	evn_str type = {"linear", 6};
	h->rope.factor = 1;
	read_f32(r, "rope.scale_linear", 0, &h->rope.factor);
	read_f32(r, "rope.scaling.factor", 0, &h->rope.factor);
	if (h->rope.factor <= 0)
		h->rope.factor = 1;
	if (r->status == EVN_OK)
		r->status = evn_gguf_string(r->g, set_key(r, "rope.scaling.type"), &type, r->err);
	uint32_t i = 0;
	while (i < sizeof names / sizeof *names && !evn_str_is(type, names[i]))
		i++;
	if (i == sizeof names / sizeof *names && r->status == EVN_OK)
		r->status =
			evn_fail(r->err, EVN_ERR_UNSUPPORTED, "%s: \"%s\" is \"%.*s\", expected none, linear, yarn or longrope",
					 evn_gguf_name(r->g), r->key, (int)(type.length < 40 ? type.length : 40), type.text);
	h->rope.scaling = (evn_rope_scaling)i;
	if (h->rope.scaling == EVN_ROPE_SCALING_NONE)
		h->rope.factor = 1;
	if (h->rope.scaling == EVN_ROPE_SCALING_LINEAR && h->rope.factor == 1)
		h->rope.scaling = EVN_ROPE_SCALING_NONE;
}

static void read_rope_scaling(reader *r, evn_hparams *h)
{
	read_rope_type(r, h);
	h->rope.n_ctx_orig = h->n_ctx_train;
	read_size(r, "rope.scaling.original_context_length", &h->rope.n_ctx_orig);
	h->rope.attn_factor = 1;
	read_f32(r, "rope.scaling.attn_factor", 0, &h->rope.attn_factor);
	h->rope.beta_fast = 32;
	h->rope.beta_slow = 1;
	read_f32(r, "rope.scaling.yarn_beta_slow", 0, &h->rope.beta_slow);
	read_f32(r, "rope.scaling.yarn_beta_fast", h->rope.beta_slow, &h->rope.beta_fast);
	h->rope.ext_factor = 1;
	read_f32(r, "rope.scaling.yarn_ext_factor", 0, &h->rope.ext_factor);
}

/* rope_dim / 2 divisors; NULL if the file has no such tensor. */
static const float *read_divisors(reader *r, const evn_hparams *h, const char *name)
{
	const evn_tensor *t = r->status == EVN_OK ? evn_gguf_find_tensor(r->g, name) : NULL;
	const uint32_t n = h->rope.dim / 2;
	if (!t)
		return NULL;
	if (t->n_dims != 1 || t->shape[0] != n) {
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" has %" PRIu64 " elements, expected %" PRIu32,
							 evn_gguf_name(r->g), name, t->shape[0], n);
		return NULL;
	}
	float *divisors = malloc(n * sizeof *divisors);
	if (!divisors) {
		r->status = evn_fail_memory(r->err, name, n * sizeof *divisors);
		return NULL;
	}
	r->status = evn_tensor_rows(t, 0, 1, divisors, r->err);
	for (uint32_t i = 0; i < n && r->status == EVN_OK; i++)
		if (!isfinite(divisors[i]) || divisors[i] <= 0)
			r->status =
				evn_fail(r->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" holds %g at %" PRIu32 ", expected divisors > 0",
						 evn_gguf_name(r->g), name, (double)divisors[i], i);
	return divisors;
}

/* Files with longrope have two tables, unless they have the table of llama3. Files of Phi say it by the tables alone.
 */
static void read_freq_factors(reader *r, evn_hparams *h)
{
	if (h->rope.scaling == EVN_ROPE_SCALING_NONE && !has(r, "rope.scaling.type") &&
		evn_gguf_find_tensor(r->g, EVN_ROPE_FACTORS_SHORT))
		h->rope.scaling = EVN_ROPE_SCALING_LONGROPE;
	h->rope.freq_factors = read_divisors(r, h, EVN_ROPE_FACTORS);
	if (h->rope.freq_factors || h->rope.scaling != EVN_ROPE_SCALING_LONGROPE)
		return;
	h->rope.freq_factors = read_divisors(r, h, EVN_ROPE_FACTORS_SHORT);
	h->rope.long_factors = read_divisors(r, h, EVN_ROPE_FACTORS_LONG);
	if (r->status == EVN_OK && (!h->rope.freq_factors || !h->rope.long_factors))
		r->status =
			evn_fail(r->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" is missing, which longrope needs",
					 evn_gguf_name(r->g), h->rope.freq_factors ? EVN_ROPE_FACTORS_LONG : EVN_ROPE_FACTORS_SHORT);
}

static void read_rope(reader *r, evn_hparams *h)
{
	if (evn_gguf_find_tensor(r->g, "position_embd.weight") || evn_gguf_find_tensor(r->g, EVN_PLACES) ||
		evn_str_is(r->arch, "t5"))
		return; /* positions are learned, or scores have biases by distance, so nothing rotates */
	h->rope.dim = h->head_dim;
	read_size(r, "rope.dimension_count", &h->rope.dim);
	if (h->rope.dim % 2 || h->rope.dim > h->head_dim)
		fail(r, EVN_ERR_FORMAT, "even and at most the size of a head", h->rope.dim);
	h->rope.base = 10000;
	read_f32(r, "rope.freq_base", 1, &h->rope.base);
	read_rope_scaling(r, h);
	read_freq_factors(r, h);
}

/* RMS norms and LayerNorms have different keys for it. */
static void read_norm(reader *r, evn_hparams *h)
{
	const char *key = "attention.layer_norm_rms_epsilon";
	if (!has(r, key) && has(r, "attention.layer_norm_epsilon"))
		key = "attention.layer_norm_epsilon";
	if (r->status == EVN_OK && !has(r, key))
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: \"%s\" is missing", evn_gguf_name(r->g), r->key);
	read_f32(r, key, 0, &h->norm_eps);
}

static void read_vocab(reader *r, evn_hparams *h)
{
	if (r->status != EVN_OK)
		return;
	const char *name = evn_str_is(r->arch, "vit") ? EVN_PLACES : "token_embd.weight";
	const evn_tensor *t = evn_gguf_find_tensor(r->g, name);
	if (!t)
		r->status = evn_fail(r->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" is missing", evn_gguf_name(r->g), name);
	else if (t->n_dims != 2 || t->shape[0] != h->dim || t->shape[1] > MAX_SIZE)
		r->status = evn_fail(r->err, EVN_ERR_FORMAT,
							 "%s: tensor \"%s\" is [%" PRIu64 ", %" PRIu64 "], expected [%" PRIu32 ", 1 to 2^24]",
							 evn_gguf_name(r->g), name, t->shape[0], t->shape[1], h->dim);
	else
		h->vocab = (uint32_t)t->shape[1];
}

evn_status evn_hparams_read(evn_hparams *out, const evn_gguf *g, evn_error *err)
{
	evn_hparams h = {0};
	reader r = {.g = g, .err = err};
	read_arch(&r);
	h.arch = r.arch;
	read_sizes(&r, &h);
	if (h.n_layers > 0) {
		read_layer_sizes(&r, &h);
		read_head_dim(&r, &h);
		read_norm(&r, &h);
		read_rope(&r, &h);
	}
	read_vocab(&r, &h);
	if (r.status != EVN_OK) {
		evn_hparams_clear(&h);
		h = (evn_hparams){0};
	}
	*out = h;
	return r.status;
}

void evn_hparams_clear(evn_hparams *h)
{
	free((void *)(uintptr_t)h->rope.freq_factors);
	free((void *)(uintptr_t)h->rope.long_factors);
	h->rope.freq_factors = h->rope.long_factors = NULL;
}
