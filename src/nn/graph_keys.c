/* graph_keys.c - what the files of architectures read of a model's metadata. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/graph.h"

#define MOST_EXPERTS 4096u
#define MOST_UNITS (1u << 24)

typedef struct {
	char text[128];
} key;

static key key_of(const evn_graph *g, const char *suffix)
{
	key k;
	snprintf(k.text, sizeof k.text, "%.*s.%s", (int)g->h->arch.length, g->h->arch.text, suffix);
	return k;
}

static evn_status read(const evn_graph *g, const char *suffix, bool or_zero, float *value, evn_error *err)
{
	const key k = key_of(g, suffix);
	const evn_gguf *file = evn_model_gguf(g->model);
	EVN_TRY(evn_gguf_f32(file, k.text, value, err));
	if (isfinite(*value) && (*value > 0 || (or_zero && *value == 0)))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %g, expected a number above 0", evn_gguf_name(file), k.text,
					(double)*value);
}

evn_status evn_graph_f32(const evn_graph *g, const char *suffix, float *value, evn_error *err)
{
	return read(g, suffix, false, value, err);
}

evn_status evn_graph_cap(const evn_graph *g, const char *suffix, float *value, evn_error *err)
{
	return read(g, suffix, true, value, err);
}

evn_status evn_graph_bool(const evn_graph *g, const char *suffix, bool *value, evn_error *err)
{
	return evn_gguf_bool(evn_model_gguf(g->model), key_of(g, suffix).text, value, err);
}

evn_status evn_graph_f32s(const evn_graph *g, const char *suffix, uint32_t n, float least, float *values,
						  evn_error *err)
{
	const key k = key_of(g, suffix);
	const evn_gguf *file = evn_model_gguf(g->model);
	const evn_gguf_value *v;
	EVN_TRY(evn_gguf_array(file, k.text, EVN_GGUF_F32, &v, err));
	if (v && v->count != n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" has %llu numbers, expected %u", evn_gguf_name(file), k.text,
						(unsigned long long)v->count, n);
	for (uint32_t i = 0; i < n && v; i++) {
		memcpy(&values[i], v->data + i * sizeof *values, sizeof *values);
		if (!isfinite(values[i]) || values[i] <= least)
			return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" has %g, expected numbers above %g", evn_gguf_name(file),
							k.text, (double)values[i], (double)least);
	}
	return EVN_OK;
}

evn_status evn_graph_string(const evn_graph *g, const char *suffix, evn_str *value, evn_error *err)
{
	return evn_gguf_string(evn_model_gguf(g->model), key_of(g, suffix).text, value, err);
}

evn_status evn_graph_u32(const evn_graph *g, const char *suffix, uint32_t *value, evn_error *err)
{
	const key k = key_of(g, suffix);
	const evn_gguf *file = evn_model_gguf(g->model);
	EVN_TRY(evn_gguf_u32(file, k.text, value, err));
	if (*value && *value <= MOST_UNITS)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %u, expected 1 to 2^24", evn_gguf_name(file), k.text, *value);
}

evn_status evn_graph_flags(const evn_graph *g, const char *suffix, const uint8_t **out, evn_error *err)
{
	const key k = key_of(g, suffix);
	const evn_gguf *file = evn_model_gguf(g->model);
	const evn_gguf_value *v = evn_gguf_find(file, k.text);
	*out = NULL;
	if (!v)
		return EVN_OK;
	if (v->type != EVN_GGUF_ARRAY || v->element != EVN_GGUF_BOOL || v->count < g->h->n_layers)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %s with %llu elements, expected bools for %u layers",
						evn_gguf_name(file), k.text, evn_gguf_value_type(v), (unsigned long long)v->count,
						g->h->n_layers);
	*out = v->data;
	return EVN_OK;
}

evn_status evn_graph_layer_u32(const evn_graph *g, const char *suffix, uint32_t layer, uint32_t *value,
							   evn_error *err)
{
	const key k = key_of(g, suffix);
	const evn_gguf *file = evn_model_gguf(g->model);
	EVN_TRY(evn_gguf_layer_u32(file, k.text, layer, value, err));
	if (*value && *value <= MOST_UNITS)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %u in layer %u, expected 1 to %u", evn_gguf_name(file),
					k.text, *value, layer, MOST_UNITS);
}

void evn_graph_ignore(const evn_graph *g, const char *suffix)
{
	(void)evn_gguf_find(evn_model_gguf(g->model), key_of(g, suffix).text);
}

evn_status evn_graph_count(const evn_graph *g, const char *suffix, uint32_t *n, evn_error *err)
{
	return evn_gguf_u32(evn_model_gguf(g->model), key_of(g, suffix).text, n, err);
}

evn_status evn_graph_experts(const evn_graph *g, uint32_t *n, evn_error *err)
{
	*n = 0;
	return evn_graph_count(g, "expert_count", n, err);
}

/* Files without a length for experts give it as that of the network. */
evn_status evn_experts_block(const evn_graph *g, uint32_t layer, evn_block *out, evn_error *err)
{
	const evn_gguf *file = evn_model_gguf(g->model);
	evn_experts_spec experts = {.router = "ffn_gate_inp", .normed = true, .factor = 1};
	uint32_t width = g->h->ff_dim;
	EVN_TRY(evn_graph_experts(g, &experts.n, err));
	EVN_TRY(evn_gguf_u32(file, key_of(g, "expert_used_count").text, &experts.k, err));
	EVN_TRY(evn_gguf_u32(file, key_of(g, "expert_feed_forward_length").text, &width, err));
	if (!experts.n || experts.n > MOST_EXPERTS || !experts.k || experts.k > experts.n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: %u of %u experts are used, expected at least 1, of at most %u",
						evn_gguf_name(file), experts.k, experts.n, MOST_EXPERTS);
	if (!width || width > MOST_UNITS)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: experts of %u units, expected 1 to %u", evn_gguf_name(file), width,
						MOST_UNITS);
	*out = evn_feed_forward_block(g, layer);
	out->kind = EVN_BLOCK_EXPERTS;
	out->n_units = width;
	out->in = (evn_stack){{"ffn_gate_exps", "ffn_up_exps"}, 2};
	out->out = "ffn_down_exps";
	out->feed_forward.experts = experts;
	return EVN_OK;
}

evn_status evn_shared_expert_block(const evn_graph *g, uint32_t layer, evn_block *out, evn_error *err)
{
	const evn_gguf *file = evn_model_gguf(g->model);
	uint32_t width = g->h->ff_dim;
	EVN_TRY(evn_gguf_u32(file, key_of(g, "expert_shared_feed_forward_length").text, &width, err));
	if (!width || width > MOST_UNITS)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: a shared expert of %u units, expected 1 to %u", evn_gguf_name(file),
						width, MOST_UNITS);
	*out = evn_feed_forward_block(g, layer);
	out->joins = true;
	out->n_units = width;
	out->in = (evn_stack){{"ffn_gate_shexp", "ffn_up_shexp"}, 2};
	out->out = "ffn_down_shexp";
	out->feed_forward.share = "ffn_gate_inp_shexp";
	return EVN_OK;
}

/* The period or the array of "attention.sliding_window_pattern". */
static evn_status read_pattern(const evn_graph *g, evn_windows *w, evn_error *err)
{
	const key k = key_of(g, "attention.sliding_window_pattern");
	const evn_gguf *file = evn_model_gguf(g->model);
	const evn_gguf_value *v = evn_gguf_find(file, k.text);
	if (!v)
		return EVN_OK;
	return v->type == EVN_GGUF_ARRAY ? evn_graph_flags(g, "attention.sliding_window_pattern", &w->of_layers, err)
									 : evn_gguf_u32(file, k.text, &w->period, err);
}

evn_status evn_graph_windows(const evn_graph *g, uint32_t period, evn_windows *out, evn_error *err)
{
	*out = (evn_windows){.period = period};
	EVN_TRY(evn_gguf_u32(evn_model_gguf(g->model), key_of(g, "attention.sliding_window").text, &out->window, err));
	EVN_TRY(read_pattern(g, out, err));
	if (out->window >= g->h->n_ctx_train)
		out->window = 0; /* it changes nothing */
	return EVN_OK;
}

bool evn_windowed(const evn_windows *w, uint32_t layer)
{
	if (w->of_layers)
		return w->of_layers[layer] != 0;
	return !w->period || (layer + 1) % w->period != 0;
}
