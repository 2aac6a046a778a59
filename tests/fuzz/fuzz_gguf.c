/* fuzz_gguf.c - the model file reader: parse, hyper-parameters, then a read of all that was handed out. */
#include "fuzz.h"

#include "model/model.h"

static void read_values(const evn_gguf *g)
{
	char text[300];
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++) {
		const evn_gguf_value *v = evn_gguf_value_at(g, i);
		evn_gguf_describe(v, text, v->key.length % sizeof text);
		if (evn_gguf_position(g, v) > evn_gguf_header_bytes(g))
			abort();
	}
}

static void read_tensors(const evn_gguf *g, size_t size)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		float *row = malloc(t->shape[0] * sizeof *row);
		evn_tensor_rows(t, 0, 1, row, NULL);
		evn_tensor_rows(t, t->shape[1] * t->shape[2] * t->shape[3] - 1, 1, row, NULL);
		free(row);
		bytes += t->size_bytes;
	}
	if (bytes > size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	evn_error err = {0};
	evn_gguf *g = NULL;
	if (evn_gguf_parse(&g, "fuzz", data, size, &err) != EVN_OK)
		return 0;
	evn_hparams h;
	if (evn_hparams_read(&h, g, &err) == EVN_OK) {
		MUST(h.dim && h.n_heads % h.n_kv_heads == 0 && h.vocab);
		fuzz_valid++;
	}
	evn_hparams_clear(&h);
	read_values(g);
	read_tensors(g, size);
	evn_gguf_free(g);
	return 0;
}
