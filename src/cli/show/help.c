/* help.c - see help.h. */
#include "cli/show/help.h"
#include "cli/config/options.h"

#include <stdio.h>
#include <string.h>

#define LINE_WIDTH 100
#define TEXT_COLUMN 28

void help_program(void)
{
	printf("evener %s: one transformer over every OpenCL device of this machine\n\nusage: evener COMMAND ...\n\n",
		   evn_version());
	for (const command *c = commands; c->name; c++)
		printf("  %-9s %-27s %s\n", c->name, c->arguments, c->summary);
	printf("\nCONFIG is a YAML file (evener config init prints one). -m MODEL alone takes the defaults.\n"
		   "evener COMMAND --help shows the options of a command, evener --version the version.\n"
		   "Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted.\n");
}

/* Prints the words of text from TEXT_COLUMN on, with line breaks before LINE_WIDTH. */
static void wrap_text(const char *text)
{
	int column = TEXT_COLUMN;
	for (const char *word = text; *word;) {
		int n = (int)strcspn(word, " ");
		if (column > TEXT_COLUMN && column + 1 + n > LINE_WIDTH) {
			printf("\n%*s", TEXT_COLUMN, "");
			column = TEXT_COLUMN;
		} else if (column > TEXT_COLUMN) {
			putchar(' ');
			column++;
		}
		printf("%.*s", n, word);
		column += n;
		word += n + (word[n] == ' ');
	}
	putchar('\n');
}

static void help_option(const option *o)
{
	char flag[128], text[512];
	char letter[] = {'-', o->letter, ',', ' ', 0};
	int n = snprintf(flag, sizeof flag, "  %s--%s%s%s", o->letter ? letter : "    ", o->name, o->value ? " " : "",
					 o->value ? o->value : "");
	printf("%-*s", TEXT_COLUMN, flag);
	if (n >= TEXT_COLUMN)
		printf("\n%*s", TEXT_COLUMN, "");
	snprintf(text, sizeof text, "%s%s%s%s%s%s%s", o->help, o->initial ? " (default " : "",
			 o->initial ? o->initial : "", o->initial ? ")" : "", o->key ? " [config: " : "", o->key ? o->key : "",
			 o->key ? "]" : "");
	wrap_text(text);
}

void help_command(const command *c)
{
	printf("usage: evener %s%s%s [OPTION ...]\n\n%s\n\n", c->name, *c->arguments ? " " : "", c->arguments,
		   c->summary);
	for (const option *o = options; o->name; o++)
		if (o->commands & c->bit)
			help_option(o);
	printf("%-*sthis text\n", TEXT_COLUMN, "  -h, --help");
	if (c->details)
		printf("\n%s\n", c->details);
}
