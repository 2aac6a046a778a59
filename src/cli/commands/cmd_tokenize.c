/* cmd_tokenize.c - evener tokenize: text to ids, and with --ids back. Needs no device and no weights. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/prompt.h"
#include "cli/show/json.h"

#include <stdio.h>
#include <stdlib.h>

/* Prints one line for each id: the id and its text, quoted as in JSON. */
static evn_status print_pieces(const evn_model *m, const int32_t *ids, size_t n, evn_error *err)
{
	for (size_t i = 0; i < n; i++) {
		char *piece = NULL, *quoted = NULL;
		size_t bytes = 0;
		evn_status status = evn_detokenize(m, &ids[i], 1, true, &piece, &bytes, err);
		if (status == EVN_OK) {
			json_t *text = json_bytes(piece, bytes);
			quoted = json_dumps(text, JSON_ENCODE_ANY);
			json_decref(text);
			if (quoted)
				printf("%8d  %s\n", ids[i], quoted);
			else
				status = evn_fail_memory(err, "a token's text", 0);
		}
		free(quoted);
		free(piece);
		if (status != EVN_OK)
			return status;
	}
	return EVN_OK;
}

evn_status cmd_tokenize(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	evn_model *model = NULL;
	char *text = NULL;
	int32_t *ids = NULL;
	size_t bytes = 0, n = 0;
	evn_status status = evn_model_open(&model, s->model_path, err);
	if (status == EVN_OK && s->ids) {
		status = parse_ids(s->ids, &ids, &n, err);
		if (status == EVN_OK)
			status = evn_detokenize(model, ids, n, s->special, &text, &bytes, err);
		if (status == EVN_OK && !s->json)
			fwrite(text, 1, bytes, stdout);
	} else if (status == EVN_OK) {
		status = prompt_read(s, false, &text, &bytes, err);
		if (status == EVN_OK)
			status = evn_tokenize(model, text, bytes, s->special, s->special, &ids, &n, err);
		if (status == EVN_OK && !s->json)
			status = print_pieces(model, ids, n, err);
	}
	if (status == EVN_OK && s->json)
		status = json_print(json_pack("{s:o, s:o}", "ids", json_ids(ids, n), "text", json_bytes(text, bytes)), err);
	free(ids);
	free(text);
	evn_model_close(model);
	return status;
}
