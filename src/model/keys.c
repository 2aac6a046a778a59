/* keys.c - keys of a model's architecture that evener does not read: keys that would change the arithmetic, keys that
 * do not matter, and unknown keys. There is no list of the keys that are read, because the metadata record what was
 * asked for. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "evener/inspect.h"
#include "model/model.h"

#define SHOWN_KEYS 4u

/* Keys that change the arithmetic unless they have this value. A window as long as the context changes nothing. */
static const struct {
	const char *suffix;
	double neutral;
	bool or_whole_context;
} changing[] = {
	{"attention.causal", 1, false},
	{"attention.scale", 0, false},
	{"attention.output_scale", 1, false},
	{"attention.clamp_kqv", 0, false},
	{"attention.max_alibi_bias", 0, false},
	{"attention.sliding_window", 0, true},
	{"attention.temperature_scale", 0, false},
	{"attention.temperature_length", 0, false},
	{"attention.shared_kv_layers", 0, false},
	{"attn_logit_softcapping", 0, false},
	{"final_logit_softcapping", 0, false},
	{"logit_scale", 1, false},
	{"embedding_scale", 1, false},
	{"residual_scale", 1, false},
	{"use_parallel_residual", 0, false},
	{"expert_count", 0, false},
	{"expert_used_count", 0, false},
	{"expert_shared_count", 0, false},
	{"expert_gating_func", 1, false}, /* a softmax */
	{"expert_weights_scale", 1, false},
	{"leading_dense_block_count", 0, false},
	{"nextn_predict_layers", 0, false},
	{"rope.dimension_sections", NAN, false}, /* no value is accepted */
	{"rope.scaling.alpha", 1, false},
	{"rope.scaling.yarn_log_multiplier", 0, false},
	{"rope.scaling.yarn_attn_factor", 1, false},
};

static const char *const harmless[] = {"vocab_size",
									   "tensor_data_layout",
									   "pooling_type",
									   "rope.scaling.finetuned",
									   "classifier.output_labels",
									   "classifier.multi_label"};

/* The part after "<architecture>." of the key of an entry that nothing has asked for; otherwise empty. */
static evn_str unasked(const evn_model *m, uint32_t i)
{
	const evn_hparams *h = evn_model_hparams(m);
	const evn_gguf *g = evn_model_gguf(m);
	const evn_str key = evn_gguf_value_at(g, i)->key;
	if (!h || evn_gguf_was_asked(g, i) || key.length < h->arch.length + 2 || key.text[h->arch.length] != '.' ||
		memcmp(key.text, h->arch.text, (size_t)h->arch.length) != 0)
		return (evn_str){"", 0};
	return (evn_str){key.text + h->arch.length + 1, key.length - h->arch.length - 1};
}

/* The row of `changing`, or -1. */
static int find_changing(evn_str suffix)
{
	for (size_t k = 0; k < sizeof changing / sizeof *changing; k++)
		if (evn_str_is(suffix, changing[k].suffix))
			return (int)k;
	return -1;
}

static bool is_neutral(const evn_model *m, const evn_gguf_value *v, int k)
{
	double x;
	if (!evn_gguf_number(v, &x))
		return false;
	return x == changing[k].neutral || (changing[k].or_whole_context && x >= evn_model_hparams(m)->n_ctx_train);
}

evn_status evn_model_check_keys(const evn_model *m, evn_error *err)
{
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++) {
		const evn_gguf_value *v = evn_gguf_value_at(g, i);
		const int k = find_changing(unasked(m, i));
		char value[96];
		if (k < 0 || is_neutral(m, v, k))
			continue;
		evn_gguf_describe(v, value, sizeof value);
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: \"%.*s\" is %s, which evener does not compute in a model of this architecture",
						evn_gguf_name(g), (int)(v->key.length < 100 ? v->key.length : 100), v->key.text, value);
	}
	return EVN_OK;
}

bool evn_model_key_is_unknown(const evn_model *m, uint32_t i)
{
	const evn_str suffix = unasked(m, i);
	bool known = !suffix.length || find_changing(suffix) >= 0;
	for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
		known |= evn_str_is(suffix, harmless[k]);
	return !known;
}

void evn_model_warn_unknown_keys(const evn_model *m)
{
	const evn_gguf *g = evn_model_gguf(m);
	char names[SHOWN_KEYS * 70] = "";
	uint32_t n = 0;
	size_t used = 0;
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++) {
		const evn_str key = evn_gguf_value_at(g, i)->key;
		if (evn_model_key_is_unknown(m, i) && n++ < SHOWN_KEYS)
			used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%.*s\"", used ? ", " : "",
									 (int)(key.length < 64 ? key.length : 64), key.text);
	}
	if (n)
		evn_log(EVN_LOG_WARN, "%s: %" PRIu32 " key%s of the architecture that evener does not know: %s%s",
				evn_gguf_name(g), n, n > 1 ? "s" : "", names, n > SHOWN_KEYS ? ", ..." : "");
}
