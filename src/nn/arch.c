#include "nn/arch.h"

#include <stdio.h>

static const evn_arch *const archs[] = {&evn_arch_llama, &evn_arch_qwen2, &evn_arch_qwen3, &evn_arch_gpt2,
										&evn_arch_simple_lm};
#define N_ARCHS (sizeof archs / sizeof *archs)

static evn_status unknown(const evn_model *m, const evn_hparams *h, evn_error *err)
{
	char names[128] = "";
	for (size_t i = 0, n = 0; i < N_ARCHS && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", archs[i]->name);
	return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: architecture \"%.*s\" is not one evener runs (%s)",
					evn_gguf_name(evn_model_gguf(m)), (int)h->arch.length, h->arch.text, names);
}

evn_status evn_arch_find(const evn_model *m, const evn_arch **out, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	const evn_arch *found = NULL;
	for (size_t i = 0; i < N_ARCHS; i++)
		if (evn_str_is(h->arch, archs[i]->name))
			found = archs[i];
	if (!found)
		return unknown(m, h, err);
	if ((h->n_layers > 0) != (found->stacks[EVN_STACK_QKV][0] != NULL))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: a %s model of %u layers", evn_gguf_name(evn_model_gguf(m)),
						found->name, h->n_layers);
	*out = found;
	return EVN_OK;
}

evn_status evn_arch_matrix(const evn_model *m, uint32_t layer, const char *stem, const evn_tensor **out,
						   evn_error *err)
{
	char part[64];
	snprintf(part, sizeof part, "%s.weight", stem);
	return evn_model_get_in_layer(m, layer, part, out, err);
}

evn_attention_config evn_arch_heads(const evn_arch *arch, const evn_hparams *h, evn_kv_cache kv_cache)
{
	return (evn_attention_config){.head_dim = h->head_dim,
								  .rope_dim = h->rope_dim,
								  .group = h->n_heads / h->n_kv_heads,
								  .kv_cache = kv_cache,
								  .rope_neox = arch->rope_neox,
								  .qk_norm = arch->qk_norm};
}
