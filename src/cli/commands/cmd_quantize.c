/* cmd_quantize.c - evener quantize: a model file with its weights in another format. Needs no device. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/text.h"
#include "evener/quantize.h"

#include <stdio.h>

static evn_status print_result(const settings *s, const char *path, uint64_t before, evn_error *err)
{
	evn_model *m;
	char from[32], to[32];
	evn_status status = evn_model_open(&m, path, err);
	if (status != EVN_OK)
		return status;
	const uint64_t after = evn_model_get_info(m).tensor_bytes;
	evn_model_close(m);
	if (s->json)
		return json_print(json_pack("{s:o, s:I, s:I}", "output", json_text(path), "tensor_bytes_before",
									(json_int_t)before, "tensor_bytes", (json_int_t)after),
						  err);
	printf("%s: %s of weights, %s before\n", path, text_bytes(after, to, sizeof to),
		   text_bytes(before, from, sizeof from));
	return EVN_OK;
}

evn_status cmd_quantize(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	evn_model *m = NULL;
	uint64_t before = 0;
	if (in->n_arguments < 3)
		return evn_fail(err, EVN_ERR_USAGE, "quantize: %s missing; give MODEL OUT TYPE",
						in->n_arguments == 2   ? "the type is"
						: in->n_arguments == 1 ? "the output and the type are"
											   : "the model, the output and the type are");
	const char *path = in->arguments[1];
	const evn_quantize_options o = {
		.type = in->arguments[2], .pure = s->pure, .threads = (uint32_t)s->threads, .progress = console_progress};
	evn_status status = text_check_writable(path, err);
	if (status == EVN_OK)
		status = evn_model_open(&m, in->arguments[0], err);
	if (status == EVN_OK) {
		before = evn_model_get_info(m).tensor_bytes;
		interrupt_saves();
		status = evn_quantize_model(m, path, &o, err);
		console_progress_end();
	}
	evn_model_close(m);
	return status == EVN_OK ? print_result(s, path, before, err) : status;
}
