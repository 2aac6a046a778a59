/* fuzz_tokenizer.c - sends any bytes through a tokenizer and back. The first byte selects a vocabulary of the folder
 * EVENER_VOCAB_DIR, and whether special tokens are meant. */
#include "fuzz.h"

#include <dirent.h>

#include "model/model.h"

enum { MOST = 32, SKIPPED = 77 };

static evn_model *models[MOST];
static size_t n_models;

static void open_models(void)
{
	const char *folder = getenv("EVENER_VOCAB_DIR");
	struct dirent **files;
	const int n = folder ? scandir(folder, &files, NULL, alphasort) : 0;
	for (int i = 0; i < n; i++) {
		char path[512];
		snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
		if (strstr(path, ".gguf") && n_models < MOST && evn_model_open(&models[n_models], path, NULL) == EVN_OK)
			n_models++;
		free(files[i]);
	}
	if (n > 0)
		free(files);
	if (!n_models) {
		printf("skipped: no vocabulary in EVENER_VOCAB_DIR\n");
		exit(SKIPPED);
	}
}

/* libFuzzer calls it before it takes the time of inputs. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	open_models();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!n_models)
		open_models();
	if (size == 0)
		return 0;
	const evn_model *model = models[data[0] / 2 % n_models];
	const bool special = data[0] & 1;
	int32_t *ids;
	size_t n_ids, n_text;
	char *text;
	evn_text_stream *stream;
	MUST(evn_tokenize(model, (const char *)data + 1, size - 1, special, special, &ids, &n_ids, NULL) == EVN_OK);
	MUST(evn_detokenize(model, ids, n_ids, special, &text, &n_text, NULL) == EVN_OK);
	MUST(evn_text_stream_create(&stream, model, NULL) == EVN_OK);
	for (size_t i = 0; i < n_ids; i++)
		evn_text_stream_push(stream, ids[i]);
	evn_text_stream_flush(stream);
	evn_text_stream_free(stream);
	fuzz_valid++;
	free(text);
	free(ids);
	return 0;
}
