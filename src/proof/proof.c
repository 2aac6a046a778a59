#include "proof/proof.h"

#include <string.h>

#include "nn/workspace.h"
#include "proof/selftest.h"

#define HAS_INSTRUCTION(dots) ((dots) >> EVN_DOT_AVX2 != 0)

uint32_t evn_dots_possible(evn_activation_type activations, const evn_device *d)
{
	const evn_dot best = evn_dot_best(d);
	const uint32_t f32 = 1u << EVN_DOT_NONE, bytes = 1u << best;
	if (activations == EVN_ACTIVATIONS_F32 || (activations == EVN_ACTIVATIONS_AUTO && best == EVN_DOT_PLAIN))
		return f32;
	return activations == EVN_ACTIVATIONS_Q8 || HAS_INSTRUCTION(bytes) ? bytes : f32 | bytes;
}

static bool has_format(const evn_model *m, const evn_quant *q)
{
	if (!m)
		return !strcmp(q->name, "F32") || !strcmp(q->name, "Q4_0");
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++)
		if (evn_gguf_tensor_at(g, i)->quant == q && evn_gguf_tensor_at(g, i)->n_dims == 2)
			return true;
	return false;
}

static bool has_weights(const evn_model *m, bool floats)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if ((evn_quant_at(i)->block_len == 1) == floats && has_format(m, evn_quant_at(i)))
			return true;
	return false;
}

bool evn_dots_suffice(const evn_model *m, uint32_t dots)
{
	return m && HAS_INSTRUCTION(dots) && !has_weights(m, true);
}

/* The proof of one model on one device. */
typedef struct {
	evn_device *device;
	const evn_model *m;
	bool norms[EVN_NORM_KINDS], gated, ungated;          /* what the model has */
	bool fuses;                                          /* its feed-forward blocks may be fused */
	uint32_t n_kinds;                                    /* the number of different heads */
	evn_attention_config kinds[EVN_PLAN_CLASSES], heads; /* heads: those of the current proof */
	evn_selftest_options options;
} proof;

static bool same_heads(const evn_attention_config *a, const evn_attention_config *b)
{
	return a->head_dim == b->head_dim && a->group == b->group && a->rope_neox == b->rope_neox &&
		   a->qk_norm == b->qk_norm;
}

static void add_heads(proof *p, evn_attention_config config)
{
	for (uint32_t i = 0; i < p->n_kinds; i++)
		if (same_heads(&p->kinds[i], &config))
			return;
	if (p->n_kinds < EVN_PLAN_CLASSES)
		p->kinds[p->n_kinds++] = config;
}

static evn_status read_graph(proof *p, evn_error *err)
{
	evn_graph *g;
	EVN_TRY(evn_graph_make(&g, p->m, err));
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		p->norms[b->norm.kind] = true;
		if (b->kind == EVN_BLOCK_ATTENTION)
			add_heads(p, evn_attention_config_of(g, b, EVN_KV_F32));
		else
			*(b->feed_forward.gated ? &p->gated : &p->ungated) = true;
	}
	p->fuses = p->gated && !g->biased;
	evn_graph_free(g);
	return EVN_OK;
}

static evn_status begin(proof *p, evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	static const evn_attention_config usual = {.head_dim = 64, .rope_dim = 64, .group = 3};
	const uint32_t f32 = 1u << EVN_DOT_NONE;
	*p = (proof){.device = d, .m = m};
	if (m) {
		EVN_TRY(read_graph(p, err));
	} else {
		add_heads(p, usual);
		p->norms[EVN_NORM_RMS] = p->gated = p->fuses = true;
	}
	if (!has_weights(m, false))
		dots = f32;
	else if (has_weights(m, true)) /* float matrices and all that are stacked with them need f32 activations */
		dots |= f32;
	p->options = (evn_selftest_options){.dots = dots, .heads = &p->heads};
	return EVN_OK;
}

static evn_status prove(proof *p, const char *subject, const evn_quant *quant, evn_error *err)
{
	p->options.subject = subject;
	p->options.quant = quant;
	return evn_selftest_run(p->device, &p->options, NULL, NULL, err);
}

/* Proves the subject for each weight format of the model. */
static evn_status prove_formats(proof *p, const char *subject, evn_error *err)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (has_format(p->m, evn_quant_at(i)))
			EVN_TRY(prove(p, subject, evn_quant_at(i), err));
	return EVN_OK;
}

/* The formats of the cache differ only in writing and reading, so the other formats are proved with one kind of
 * step. */
static evn_status prove_attention(proof *p, evn_error *err)
{
	EVN_TRY(prove(p, EVN_ATTENTION_TOKEN, NULL, err));
	EVN_TRY(prove(p, EVN_ATTENTION_PROMPT, NULL, err));
	EVN_TRY(prove(p, EVN_ATTENTION_SPLITS, NULL, err));
	for (evn_kv_cache kv_cache = EVN_KV_F16; kv_cache <= EVN_KV_Q8_0; kv_cache++) {
		p->heads.kv_cache = kv_cache;
		EVN_TRY(prove(p, EVN_ATTENTION_PROMPT, NULL, err));
	}
	p->heads.kv_cache = EVN_KV_F32;
	return EVN_OK;
}

/* Proves only formats that the device has fused kernels for. */
static evn_status prove_fused(proof *p, evn_error *err)
{
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const evn_quant *q = evn_quant_at(i);
		if (!has_format(p->m, q) || !evn_selftest_has_fused(p->device, q, p->options.dots))
			continue;
		for (uint32_t k = 0; k < p->n_kinds; k++) {
			p->heads = p->kinds[k];
			EVN_TRY(prove(p, "attention block", q, err));
		}
		if (p->n_kinds && p->fuses)
			EVN_TRY(prove(p, "feed-forward block", q, err));
	}
	return EVN_OK;
}

static evn_status prove_rows(proof *p, evn_error *err)
{
	static const char *const norms[EVN_NORM_KINDS] = {[EVN_NORM_RMS] = "rmsnorm", [EVN_NORM_LAYER] = "layernorm"};
	for (evn_norm_kind kind = 0; kind < EVN_NORM_KINDS; kind++)
		if (p->norms[kind] && norms[kind])
			EVN_TRY(prove(p, norms[kind], NULL, err));
	if (p->gated)
		EVN_TRY(prove(p, "swiglu", NULL, err));
	return p->ungated ? prove(p, "gelu", NULL, err) : EVN_OK;
}

evn_status evn_prove_kernels(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, dots, err));
	EVN_TRY(prove_formats(&p, "matvec", err));
	for (uint32_t i = 0; i < p.n_kinds; i++) {
		p.heads = p.kinds[i];
		EVN_TRY(prove_attention(&p, err));
	}
	p.options.tiny = true;
	EVN_TRY(prove_rows(&p, err));
	EVN_TRY(prove(&p, "add_partials", NULL, err));
	EVN_TRY(prove(&p, "add_norm", NULL, err));
	p.options.tiny = false;
	return prove_fused(&p, err);
}

evn_status evn_prove_part(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, dots, err));
	return prove_fused(&p, err);
}

evn_status evn_prove_gemm(evn_device *d, const evn_model *m, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, 0, err));
	return prove_formats(&p, "gemm", err);
}
