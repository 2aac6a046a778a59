/* fuzz_request.c - bodies of completions and chats, in the shapes of all endpoints. A body that is refused is told
 * which field is wrong, in one line.
 */
#include "fuzz.h"

#include "serve/messages.h"
#include "serve/params.h"
#include "serve/responses.h"

static void read_as(params_use use, json_t *root)
{
	const evn_sample_options defaults = evn_sample_defaults();
	params p = {0};
	problem wrong = {0};
	if (params_read(&p, use, root, &defaults, &wrong)) {
		fuzz_valid++;
		MUST(p.n >= 1 && p.n <= MAX_CHOICES);
		MUST(p.n_stops <= MAX_STOPS && p.n_bias <= MAX_BIASES);
		params_sampling(&p, p.n - 1);
		params_has_tools(&p);
	} else {
		MUST(wrong.status >= 400 && wrong.status < 600 && wrong.message[0] && !strchr(wrong.message, '\n'));
	}
	params_free(&p);
}

static void read_in_shape(const answer_shape *shape, json_t *root)
{
	problem wrong = {0};
	json_t *chat = shape_as_chat(shape, root, &wrong);
	if (chat)
		read_as(PARAMS_CHAT, chat);
	else
		MUST(wrong.status >= 400 && wrong.status < 600 && wrong.message[0] && !strchr(wrong.message, '\n'));
	json_decref(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *root = NULL;
	problem wrong = {0};
	if (fields_parse(&root, (const char *)data, size, &wrong)) {
		read_as(PARAMS_COMPLETION, root);
		read_as(PARAMS_CHAT, root);
		read_in_shape(&messages_shape, root);
		read_in_shape(&responses_shape, root);
		json_decref(root);
	} else {
		MUST(wrong.status == 400 && wrong.message[0]);
	}
	return 0;
}
