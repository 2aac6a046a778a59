/* prompt.c - see prompt.h. */
#include "cli/commands/prompt.h"
#include "cli/show/text.h"

#include <string.h>
#include <unistd.h>

#define PROMPT_MAX_BYTES (64u << 20)

evn_status prompt_read(const settings *s, bool strip_newline, char **text, size_t *n, evn_error *err)
{
	if (s->prompt) {
		*text = evn_format("%s", s->prompt);
		*n = strlen(s->prompt);
		return *text ? EVN_OK : evn_fail_memory(err, "the prompt", 0);
	}
	if (!s->prompt_file && isatty(STDIN_FILENO))
		return evn_fail(err, EVN_ERR_USAGE, "no prompt: give -p TEXT, -f FILE or pipe one in");
	evn_status status = text_read(text, n, s->prompt_file, PROMPT_MAX_BYTES, err);
	if (status == EVN_OK && strip_newline && *n > 0 && (*text)[*n - 1] == '\n')
		(*text)[--*n] = 0;
	return status;
}
