/* fuzz_checkpoint.c - folders of transformers' models. The input is config.json, tokenizer.json, the directory of
 * model.safetensors and its data, with a byte 0x1e between them. The length before the directory is always right,
 * so that changed directories are read. */
#include "fuzz.h"

#include "evener.h"
#include "model/model.h"

enum { PARTS = 4, LENGTH = 8 };

typedef struct {
	const uint8_t *at;
	size_t n;
} part;

static void cut(part *parts, const uint8_t *data, size_t size)
{
	for (int i = 0; i < PARTS; i++) {
		const uint8_t *end = i + 1 < PARTS && size ? memchr(data, 0x1e, size) : NULL;
		const size_t n = end ? (size_t)(end - data) : size, whole = end ? n + 1 : n;
		parts[i] = (part){data, n};
		data += whole;
		size -= whole;
	}
}

static void write_weights(const part *directory, const part *data)
{
	uint8_t *file = malloc(LENGTH + directory->n + data->n + 1);
	MUST(file != NULL);
	for (int i = 0; i < LENGTH; i++)
		file[i] = (uint8_t)((uint64_t)directory->n >> 8 * i);
	memcpy(file + LENGTH, directory->at, directory->n);
	memcpy(file + LENGTH + directory->n, data->at, data->n);
	fuzz_file("model.safetensors", file, LENGTH + directory->n + data->n);
	free(file);
}

static void use(const evn_model *m)
{
	int32_t *ids = NULL;
	size_t n, n_text;
	char *text;
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		float *row = t->shape[0] < 1 << 20 ? malloc((t->shape[0] + 1) * sizeof *row) : NULL;
		if (row)
			evn_tensor_rows(t, 0, 1, row, NULL);
		free(row);
	}
	if (evn_tokenize(m, "a b 1 <x>", 9, true, true, &ids, &n, NULL) == EVN_OK) {
		if (evn_detokenize(m, ids, n, true, &text, &n_text, NULL) == EVN_OK)
			free(text);
		free(ids);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	part parts[PARTS];
	evn_model *m;
	evn_error err = {0};
	cut(parts, data, size);
	fuzz_file("config.json", parts[0].at, parts[0].n);
	fuzz_file("tokenizer.json", parts[1].at, parts[1].n);
	write_weights(&parts[2], &parts[3]);
	if (evn_model_open(&m, fuzz_folder(), &err) == EVN_OK) {
		fuzz_valid++;
		use(m);
		evn_model_close(m);
	} else {
		MUST(err.text[0] && !strchr(err.text, '\n'));
	}
	return 0;
}
