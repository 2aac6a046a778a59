#include "proof/proof.h"

#include <stdio.h>
#include <string.h>

#include "nn/arch.h"
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

/* What is proved of one model on one device. */
typedef struct {
	evn_device *device;
	const evn_model *m;
	const evn_arch *arch;
	evn_attention_config heads; /* group 0: it has none */
	evn_selftest_options options;
} proof;

static evn_status begin(proof *p, evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	static const evn_hparams usual = {.n_layers = 1, .n_heads = 3, .n_kv_heads = 1, .head_dim = 64, .rope_dim = 64};
	const evn_hparams *h = m ? evn_model_hparams(m) : &usual;
	const uint32_t f32 = 1u << EVN_DOT_NONE;
	*p = (proof){.device = d, .m = m, .arch = &evn_arch_llama};
	if (m)
		EVN_TRY(evn_arch_find(m, &p->arch, err));
	if (h->n_layers)
		p->heads = evn_arch_heads(p->arch, h, EVN_KV_F32);
	if (!has_weights(m, false))
		dots = f32;
	else if (has_weights(m, true)) /* whose activations are f32, and those of what is stacked with them */
		dots |= f32;
	p->options = (evn_selftest_options){.dots = dots, .heads = &p->heads};
	return EVN_OK;
}

static evn_status prove(proof *p, const char *name, evn_error *err)
{
	p->options.only = name;
	return evn_selftest_run(p->device, &p->options, NULL, NULL, err);
}

/* Once for each format of the model. */
static evn_status prove_formats(proof *p, const char *kind, evn_error *err)
{
	char name[48];
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const evn_quant *q = evn_quant_at(i);
		snprintf(name, sizeof name, "%s %s ", kind, q->kernel);
		if (has_format(p->m, q))
			EVN_TRY(prove(p, name, err));
	}
	return EVN_OK;
}

/* The formats of the cache differ in how they are written and read alone: one kind of step does for the others. */
static evn_status prove_attention(proof *p, evn_error *err)
{
	EVN_TRY(prove(p, "attention of the model", err));
	for (evn_kv_cache kv_cache = EVN_KV_F16; kv_cache <= EVN_KV_Q8_0; kv_cache++) {
		p->heads.kv_cache = kv_cache;
		EVN_TRY(prove(p, "37 tokens on 33", err));
	}
	p->heads.kv_cache = EVN_KV_F32;
	return EVN_OK;
}

static evn_status prove_halves(proof *p, evn_error *err)
{
	if (!p->heads.group)
		return EVN_OK;
	EVN_TRY(prove_formats(p, "attention half", err));
	return p->arch->biased ? EVN_OK : prove_formats(p, "feed-forward half", err);
}

evn_status evn_prove_kernels(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, dots, err));
	EVN_TRY(prove_formats(&p, "matvec", err));
	if (p.heads.group)
		EVN_TRY(prove_attention(&p, err));
	p.options.tiny = true;
	for (const char *const *name = p.arch->proofs; *name; name++)
		EVN_TRY(prove(&p, *name, err));
	EVN_TRY(prove(&p, "add_partials", err));
	EVN_TRY(prove(&p, "add_norm", err));
	p.options.tiny = false;
	return prove_halves(&p, err);
}

evn_status evn_prove_part(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, dots, err));
	return prove_halves(&p, err);
}

evn_status evn_prove_gemm(evn_device *d, const evn_model *m, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, m, 0, err));
	return prove_formats(&p, "gemm", err);
}
