/* pages.c - manual pages in the man macros of roff. */
#include "manual/manual.h"

#include <string.h>

typedef struct {
	const char *name, *meaning;
} entry;

static const entry variables[] = {
	{"EVENER_DEVICES", "a device list, as after -d; used if neither a flag nor the config has one"},
	{"EVENER_CACHE_DIR",
	 "the cache folder, for profiles of devices, compiled kernels, tuned parameters and unfinished "
	 "scores; without it $XDG_CACHE_HOME/evener, or ~/.cache/evener"},
	{"EVENER_LOG",
	 "how much is written to standard error: error, warn (the default), info (the time of each step of a "
	 "start), debug"},
	{"EVENER_DEBUG", "sync: wait after each kernel launch and name the kernel that failed"},
	{"EVENER_KERNEL_DIR", "read the kernels from this folder instead of those that are built in"},
	{"OCL_ICD_VENDORS", "the OpenCL drivers that are used: a folder of .icd files, or one of them"},
	{"XDG_STATE_HOME", "evener/chat_history in this folder has the lines that were typed into a chat; without it in "
					   "~/.local/state"},
	{"NO_COLOR", "no colours in progress bars and answers"},
	{NULL, NULL},
};

static const entry statuses[] = {
	{"0", "done"},
	{"1", "failed; one line on standard error says what"},
	{"2", "wrong use: an option or a config is wrong"},
	{"130", "interrupted"},
	{NULL, NULL},
};

/* Text that roff prints as it is: hyphens that can be copied, no requests. */
static void put(FILE *out, const char *text)
{
	bool line_begins = true;
	for (const char *c = text; *c; c++) {
		if (line_begins && (*c == '.' || *c == '\''))
			fputs("\\&", out);
		if (*c == '\\')
			fputs("\\e", out);
		else if (*c == '-')
			fputs("\\-", out);
		else
			fputc(*c, out);
		line_begins = *c == '\n';
	}
}

static void heading(FILE *out, const char *name, const char *summary)
{
	fputs(".\\\" made from the tables of commands and options\n", out);
	fprintf(out, ".TH \"%s\" 1 \"\" \"evener %s\" \"User Commands\"\n.ad l\n.nh\n.SH NAME\n", name, evn_version());
	put(out, name);
	fputs(" \\- ", out);
	put(out, summary);
	fputs("\n.SH SYNOPSIS\n", out);
}

static void section(FILE *out, const char *title, const char *text)
{
	fprintf(out, "\n.SH %s\n", title);
	put(out, text);
	fputc('\n', out);
}

static void entries(FILE *out, const char *title, const entry *list)
{
	fprintf(out, ".SH %s\n", title);
	for (; list->name; list++) {
		fputs(".TP\n.B ", out);
		put(out, list->name);
		fputc('\n', out);
		put(out, list->meaning);
		fputc('\n', out);
	}
}

static void put_option(FILE *out, const option *o)
{
	fputs(".TP\n", out);
	if (o->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
	fputs("\\fB\\-\\-", out);
	put(out, o->name);
	fputs("\\fR", out);
	if (o->value) {
		fputs(" \\fI", out);
		put(out, o->value);
		fputs("\\fR", out);
	}
	fputc('\n', out);
	put(out, o->help);
	if (o->initial) {
		fputs(" (default ", out);
		put(out, o->initial);
		fputc(')', out);
	}
	fputs(".\n", out);
	if (o->key) {
		fputs("Config: \\fI", out);
		put(out, o->key);
		fputs("\\fR.\n", out);
	}
}

void manual_page_program(FILE *out)
{
	heading(out, "evener", "one transformer over every OpenCL device of a machine");
	fputs(".B evener\n.I COMMAND\n.RI [ argument\\~... ]\n.br\n.B evener \\-\\-help\n.RI [ COMMAND ]\n.br\n"
		  ".B evener \\-\\-version",
		  out);
	section(
		out, "DESCRIPTION",
		"evener runs one language model (GGUF) on all OpenCL devices of this machine at the same time. Every weight "
		"matrix is cut into shares of unequal size, one for each device; the size follows the speed that the device "
		"was measured to have. A device that would slow the others down is left out.\n"
		"CONFIG is a YAML file; evener config init prints one. -m MODEL alone takes the defaults. Every key of the "
		"config is also a flag. A flag wins over the file, and the file over the default.");
	fputs(".SH COMMANDS\n", out);
	for (const command *c = commands; c->name; c++) {
		fprintf(out, ".TP\n.BR evener\\-%s (1)\n", c->name);
		put(out, c->summary);
		fputc('\n', out);
	}
	entries(out, "EXIT STATUS", statuses);
	entries(out, "ENVIRONMENT", variables);
	fputs(".SH SEE ALSO\n", out);
	for (const command *c = commands; c->name; c++)
		fprintf(out, ".BR evener\\-%s (1)%s\n", c->name, c[1].name ? "," : "");
}

void manual_page_command(FILE *out, const command *c)
{
	char name[64];
	snprintf(name, sizeof name, "evener-%s", c->name);
	heading(out, name, c->summary);
	fprintf(out, ".B evener %s\n", c->name);
	if (*c->arguments) {
		put(out, c->arguments);
		fputc('\n', out);
	}
	fputs(".RI [ OPTION\\~... ]", out);
	if (c->details)
		section(out, "DESCRIPTION", c->details);
	else
		fputc('\n', out);
	fputs(".SH OPTIONS\n", out);
	for (const option *o = options; o->name; o++)
		if (o->commands & c->bit)
			put_option(out, o);
	fputs(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nprint the options.\n", out);
	fputs(".SH SEE ALSO\n.BR evener (1)\n", out);
}
