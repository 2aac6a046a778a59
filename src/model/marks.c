/* marks.c - control tokens that are part of an answer's form: they mark calls of tools and channels. */
#include <string.h>

#include "model/tokenizer.h"

static const char *const marks[] = {"[TOOL_CALLS]", "[ARGS]",        "[CALL_ID]", "<|python_tag|>",
									"<tool_call>",  "</tool_call>",  "<|start|>", "<|channel|>",
									"<|message|>",  "<|constrain|>", "<|end|>"};

size_t evn_tokenizer_spell_mark(const evn_tokenizer *t, int32_t id, char *out)
{
	if (evn_tokenizer_spell(t, id, false, out))
		return 0;
	const size_t n = evn_tokenizer_spell(t, id, true, out);
	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
		if (n == strlen(marks[i]) && memcmp(out, marks[i], n) == 0)
			return n;
	return 0;
}
