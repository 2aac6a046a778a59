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

/* A model must not move the cursor: other control characters than tab and newline become question marks. Those from
 * U+0080 on have two bytes. */
static void put_on_terminal(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		bool second = *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
		bool control = (*c < ' ' && *c != '\n' && *c != '\t') || *c == 0x7f || second;
		putchar(control ? '?' : *c);
		c += second;
	}
}

static void put(const char *text)
{
	if (is_terminal())
		put_on_terminal(text);
	else
		fputs(text, stdout);
	console_printed(text);
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
		put(piece.reasoning);
		reasoned = true;
	}
	if (*piece.content) {
		dim(false);
		if (reasoned)
			fputs("\n\n", stdout);
		reasoned = false;
		put(piece.content);
	}
	return console_check_output(err);
}

void answer_print_end(void)
{
	dim(false);
	reasoned = false;
	console_print_end();
}
