/* adapter.h - a LoRA adapter of rank 2 for blk.0.attn_q of a Llama model of width `dim`, as a file. */
#ifndef EVN_TEST_ADAPTER_H
#define EVN_TEST_ADAPTER_H

#include "model/gguf_write.h"

static inline void write_adapter(const char *path, uint32_t dim)
{
	const evn_quant *f32 = evn_quant_by_name("F32");
	float *values = test_calloc(2 * dim, sizeof *values);
	evn_gguf_writer *w;
	uint8_t *file;
	size_t size;
	for (uint32_t i = 0; i < 2 * dim; i++)
		values[i] = 0.01f * (float)(i % 7);
	assert_int_equal(evn_gguf_writer_create(&w, NULL), EVN_OK);
	evn_gguf_put_string(w, "general.type", "adapter");
	evn_gguf_put_string(w, "adapter.type", "lora");
	evn_gguf_put_string(w, "general.architecture", "llama");
	evn_gguf_put_f32(w, "adapter.lora.alpha", 2);
	evn_gguf_put_tensor(w, "blk.0.attn_q.weight.lora_a", f32, 2, (uint64_t[]){dim, 2}, values);
	evn_gguf_put_tensor(w, "blk.0.attn_q.weight.lora_b", f32, 2, (uint64_t[]){2, dim}, values);
	assert_int_equal(evn_gguf_finish(w, &file, &size, NULL), EVN_OK);
	assert_int_equal(evn_write_file(path, file, size, NULL), EVN_OK);
	evn_gguf_writer_free(w);
	free(file);
	test_free(values);
}

#endif
