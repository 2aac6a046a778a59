/* fuzz_adapter.c - LoRA files of any bytes, for a small model. */
#include "fuzz.h"

#include "evener.h"
#include "evener/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = 64, .context = 32, .n_layers = 1, .n_heads = 2, .seed = 1};
	static evn_model *m;
	evn_error err = {0};
	if (!m)
		MUST(evn_model_create(&m, &spec, NULL) == EVN_OK);
	if (evn_model_apply_adapter(m, fuzz_file("adapter.gguf", data, size), 1, &err) == EVN_OK) {
		fuzz_valid++;
		evn_model_close(m);
		m = NULL;
	} else {
		MUST(err.text[0] && !strchr(err.text, '\n'));
	}
	return 0;
}
