/* fuzz_tokenizer.c - sends any bytes through the tokenizer and back, for libFuzzer. EVENER_FUZZ_VOCAB names the
 * vocabulary file. The preset "fuzz" builds it; build/fuzz/fuzz_tokenizer -max_total_time=120 runs it. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>

static evn_model *model;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	const char *path = getenv("EVENER_FUZZ_VOCAB");
	evn_error err = {0};
	if (!path || evn_model_open(&model, path, &err) != EVN_OK) {
		fprintf(stderr, "EVENER_FUZZ_VOCAB: %s\n", path ? err.text : "not set");
		exit(2);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	int32_t *ids;
	size_t n_ids, n_text;
	char *text;
	bool special = data[0] & 1;
	if (evn_tokenize(model, (const char *)data + 1, size - 1, special, special, &ids, &n_ids, NULL) != EVN_OK)
		abort();
	if (evn_detokenize(model, ids, n_ids, special, &text, &n_text, NULL) != EVN_OK)
		abort();
	evn_text_stream *stream;
	if (evn_text_stream_create(&stream, model, NULL) != EVN_OK)
		abort();
	for (size_t i = 0; i < n_ids; i++)
		evn_text_stream_push(stream, ids[i]);
	evn_text_stream_flush(stream);
	evn_text_stream_free(stream);
	free(text);
	free(ids);
	return 0;
}
