/* main.c - evener-manual FOLDER: writes every manual page and completion file into the folder. */
#include "manual/manual.h"

#include <errno.h>
#include <string.h>

static bool write_file(const char *folder, const char *name, const command *c,
					   void (*write)(FILE *out, const command *c))
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	if (out)
		write(out, c);
	if (!out || ferror(out) || fclose(out) != 0) {
		fprintf(stderr, "evener-manual: %s: %s\n", path, strerror(errno));
		return false;
	}
	return true;
}

static void program(FILE *out, const command *c)
{
	(void)c;
	manual_page_program(out);
}

static void bash(FILE *out, const command *c)
{
	(void)c;
	completions_bash(out);
}

static void zsh(FILE *out, const command *c)
{
	(void)c;
	completions_zsh(out);
}

static void fish(FILE *out, const command *c)
{
	(void)c;
	completions_fish(out);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: evener-manual FOLDER\n", stderr);
		return 2;
	}
	bool ok = write_file(argv[1], "evener.1", NULL, program) && write_file(argv[1], "evener", NULL, bash) &&
			  write_file(argv[1], "_evener", NULL, zsh) && write_file(argv[1], "evener.fish", NULL, fish);
	for (const command *c = commands; ok && c->name; c++) {
		char name[64];
		snprintf(name, sizeof name, "evener-%s.1", c->name);
		ok = write_file(argv[1], name, c, manual_page_command);
	}
	return ok ? 0 : 1;
}
