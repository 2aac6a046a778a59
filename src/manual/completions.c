/* completions.c - what bash, zsh and fish offer after "evener". */
#include "manual/manual.h"

#include <string.h>

static bool takes_file(const option *o) { return o->value && strncmp(o->value, "FILE", 4) == 0; }

/* The beginning of a help text, up to its first detail. */
static int short_length(const char *help) { return (int)strcspn(help, ";:,"); }

/* Text inside '...' of a shell. `escaped`: characters that get a backslash. */
static void put_quoted(FILE *out, const char *text, int n, const char *escaped)
{
	for (int i = 0; i < n; i++) {
		if (text[i] == '\'')
			fputs("'\\'", out); /* ends the quotes, a quote, begins them again */
		else if (strchr(escaped, text[i]))
			fputc('\\', out);
		fputc(text[i], out);
	}
}

static void put_choices(FILE *out, const option *o)
{
	for (const char *const *choice = o->choices; *choice; choice++)
		fprintf(out, "%s%s", choice == o->choices ? "" : " ", *choice);
}

/* ---- bash ---------------------------------------------------------------------------------------------------- */

static void bash_command(FILE *out, const command *c)
{
	fprintf(out, "\t%s)\n\t\tflags='", c->name);
	for (const option *o = options; o->name; o++)
		if (o->commands & c->bit)
			fprintf(out, "--%s ", o->name);
	fputs("--help'\n\t\tcase $previous in\n", out);
	for (const option *o = options; o->name; o++) {
		if (!(o->commands & c->bit) || o->kind == OPTION_FLAG)
			continue;
		fputs("\t\t", out);
		if (o->letter)
			fprintf(out, "-%c | ", o->letter);
		fprintf(out, "--%s) ", o->name);
		if (o->choices) {
			fputs("words='", out);
			put_choices(out, o);
			fputs("' ;;\n", out);
		} else {
			fputs(takes_file(o) ? "files=1 ;;\n" : "return ;;\n", out);
		}
	}
	fputs("\t\tesac\n", out);
	if (strncmp(c->arguments, "CONFIG", 6) == 0 || strncmp(c->arguments, "[CONFIG", 7) == 0 ||
		strcmp(c->arguments, "MODEL") == 0)
		fputs("\t\targuments=1\n", out);
	if (c->bit == CMD_CONFIG)
		fputs("\t\t((COMP_CWORD == 2)) && words='check init schema'\n\t\t[[ $previous == check ]] && files=1\n", out);
	fputs("\t\t;;\n", out);
}

void completions_bash(FILE *out)
{
	fputs(
		"# bash completion for evener; made from its tables of commands and options\n"
		"_evener() {\n"
		"\tlocal current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
		"\tlocal flags='' words='' files='' arguments=''\n"
		"\tCOMPREPLY=()\n"
		"\tif ((COMP_CWORD == 1)) || { ((COMP_CWORD == 2)) && [[ ${COMP_WORDS[1]} =~ ^(help|--help|-h)$ ]]; }; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W '",
		out);
	for (const command *c = commands; c->name; c++)
		fprintf(out, "%s ", c->name);
	fputs("help --help --version' -- \"$current\")\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n", out);
	for (const command *c = commands; c->name; c++)
		bash_command(out, c);
	fputs("\tesac\n"
		  "\tif [[ $words && $current != -* ]]; then\n"
		  "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
		  "\telif [[ ! $files && $current == -* ]]; then\n"
		  "\t\tmapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$current\")\n"
		  "\telif [[ $files || $arguments ]]; then\n"
		  "\t\tcompopt -o filenames 2>/dev/null\n"
		  "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
		  "\tfi\n"
		  "}\n"
		  "complete -F _evener evener\n",
		  out);
}

/* ---- zsh ----------------------------------------------------------------------------------------------------- */

/* An argument of _arguments: '(-m --model)'{-m,--model}'[help]:FILE:_files' */
static void zsh_option(FILE *out, const option *o)
{
	fputs(" \\\n\t\t\t", out);
	if (o->letter)
		fprintf(out, "'(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
	else
		fprintf(out, "'--%s[", o->name);
	put_quoted(out, o->help, short_length(o->help), "[]:\\");
	fputc(']', out);
	if (o->kind != OPTION_FLAG) {
		fputc(':', out);
		put_quoted(out, o->value, (int)strlen(o->value), "[]:\\");
		fputc(':', out);
		if (o->choices) {
			fputc('(', out);
			put_choices(out, o);
			fputc(')', out);
		} else if (takes_file(o)) {
			fputs("_files", out);
		} else {
			fputc(' ', out);
		}
	}
	fputc('\'', out);
}

static void zsh_command(FILE *out, const command *c)
{
	fprintf(out, "\t\t%s)\n\t\t_arguments -s -S", c->name);
	for (const option *o = options; o->name; o++)
		if (o->commands & c->bit)
			zsh_option(out, o);
	fputs(" \\\n\t\t\t'(-h --help)'{-h,--help}'[print the options]'", out);
	if (strncmp(c->arguments, "CONFIG", 6) == 0 || strncmp(c->arguments, "[CONFIG", 7) == 0)
		fputs(" \\\n\t\t\t'1:config:_files -g \"*.y(|a)ml\"'", out);
	else if (strcmp(c->arguments, "MODEL") == 0)
		fputs(" \\\n\t\t\t'1:model:_files -g \"*.gguf\"'", out);
	else if (c->bit == CMD_CONFIG)
		fputs(" \\\n\t\t\t'1:what:(check init schema)' '2:config:_files -g \"*.y(|a)ml\"'", out);
	fputs("\n\t\t;;\n", out);
}

void completions_zsh(FILE *out)
{
	fputs("#compdef evener\n# made from evener's tables of commands and options\n"
		  "_evener() {\n"
		  "\tlocal context curcontext=$curcontext state line\n"
		  "\tlocal -a commands=(\n",
		  out);
	for (const command *c = commands; c->name; c++) {
		fprintf(out, "\t\t'%s:", c->name);
		put_quoted(out, c->summary, (int)strlen(c->summary), ":\\");
		fputs("'\n", out);
	}
	fputs("\t\t'help:show the options of a command'\n"
		  "\t)\n"
		  "\t_arguments -C '(-)--help[list the commands]' '(-)--version[print the version]' \\\n"
		  "\t\t'1:command:->command' '*::argument:->argument'\n"
		  "\tcase $state in\n"
		  "\tcommand) _describe -t commands command commands ;;\n"
		  "\targument)\n"
		  "\t\tcase $words[1] in\n"
		  "\t\thelp) _describe -t commands command commands ;;\n",
		  out);
	for (const command *c = commands; c->name; c++)
		zsh_command(out, c);
	fputs("\t\tesac\n\t\t;;\n\tesac\n}\n_evener \"$@\"\n", out);
}

/* ---- fish ---------------------------------------------------------------------------------------------------- */

static void fish_text(FILE *out, const char *text, int n)
{
	for (int i = 0; i < n; i++)
		fprintf(out, text[i] == '\'' || text[i] == '\\' ? "\\%c" : "%c", text[i]);
}

static void fish_option(FILE *out, const command *c, const option *o)
{
	fprintf(out, "complete -c evener -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
	if (o->letter)
		fprintf(out, " -s %c", o->letter);
	if (o->choices) {
		fputs(" -x -a '", out);
		put_choices(out, o);
		fputc('\'', out);
	} else if (o->kind != OPTION_FLAG) {
		fputs(takes_file(o) ? " -r -F" : " -x", out);
	}
	fputs(" -d '", out);
	fish_text(out, o->help, short_length(o->help));
	fputs("'\n", out);
}

void completions_fish(FILE *out)
{
	fputs("# fish completions for evener; made from its tables of commands and options\n"
		  "complete -c evener -l help -s h -d 'print the commands or the options'\n"
		  "complete -c evener -n __fish_use_subcommand -f -l version -d 'print the version'\n"
		  "complete -c evener -n __fish_use_subcommand -f -a help -d 'show the options of a command'\n",
		  out);
	for (const command *c = commands; c->name; c++) {
		fprintf(out, "complete -c evener -n __fish_use_subcommand -f -a %s -d '", c->name);
		fish_text(out, c->summary, (int)strlen(c->summary));
		fputs("'\n", out);
		fprintf(out, "complete -c evener -n '__fish_seen_subcommand_from help' -f -a %s\n", c->name);
		for (const option *o = options; o->name; o++)
			if (o->commands & c->bit)
				fish_option(out, c, o);
		if (!*c->arguments)
			fprintf(out, "complete -c evener -n '__fish_seen_subcommand_from %s' -f\n", c->name);
	}
	fputs("complete -c evener -n '__fish_seen_subcommand_from config' -f -a 'check init schema'\n", out);
}
