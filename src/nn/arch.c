#include "nn/arch.h"

static const evn_arch archs[] = {
	{.name = "llama"}, /* Llama, Mistral, SmolLM */
	{.name = "qwen2", .rope_neox = true},
	{.name = "qwen3", .rope_neox = true, .qk_norm = true},
};

evn_status evn_arch_find(const evn_model *m, const evn_arch **out, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
		if (evn_str_is(h->arch, archs[i].name)) {
			*out = &archs[i];
			if (h->n_layers > 0)
				return EVN_OK;
			return evn_fail(err, EVN_ERR_FORMAT, "%s: a %s model of 0 layers", evn_gguf_name(evn_model_gguf(m)),
							archs[i].name);
		}
	return evn_fail(err, EVN_ERR_UNSUPPORTED,
					"%s: architecture \"%.*s\" is not one evener runs (llama, qwen2, qwen3)",
					evn_gguf_name(evn_model_gguf(m)), (int)h->arch.length, h->arch.text);
}
