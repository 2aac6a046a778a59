/* fuzz_template.c - renders any bytes as a chat template. */
#include "fuzz.h"

#include "chat/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static json_t *variables;
	if (!variables)
		variables = json_loads(
			"{\"messages\": [{\"role\": \"user\", \"content\": \"a b\"}], \"x\": [1, 2.5, null, \"c\"]}", 0, NULL);
	evn_rendered out;
	const evn_template t = {.name = "fuzz", .text = (const char *)data, .n = size, .variables = variables};
	evn_status status = evn_template_render(&out, &t, NULL);
	if (status != EVN_OK && status != EVN_ERR_FORMAT && status != EVN_ERR_LIMIT && status != EVN_ERR_USAGE)
		abort();
	fuzz_valid += status == EVN_OK;
	evn_rendered_free(&out);
	return 0;
}
