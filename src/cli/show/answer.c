/* answer.c - see answer.h. */
#include "cli/show/answer.h"
#include "cli/show/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool dimmed, reasoned; /* the terminal prints dimly now; reasoning was printed and no content since */

static bool is_terminal(void) { return isatty(STDOUT_FILENO); }

static bool has_colors(void)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	return term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
}

static void dim(bool on)
{
	if (on != dimmed && has_colors())
		fputs(on ? "\033[2m" : "\033[0m", stdout);
	dimmed = on;
}

evn_status answer_print(evn_answer_piece piece, evn_error *err)
{
	if (*piece.reasoning && is_terminal()) {
		dim(true);
		fputs(piece.reasoning, stdout);
		console_printed(piece.reasoning);
		reasoned = true;
	}
	if (*piece.content) {
		dim(false);
		if (reasoned)
			fputs("\n\n", stdout);
		reasoned = false;
		fputs(piece.content, stdout);
		console_printed(piece.content);
	}
	return console_check_output(err);
}

void answer_print_end(void)
{
	dim(false);
	reasoned = false;
	console_print_end();
}
