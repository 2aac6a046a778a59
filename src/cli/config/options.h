/* options.h - the table behind flags, config keys, help texts, defaults and the JSON Schema. An option is a field of
 * `settings`, its possible values, and the places where it can be given. */
#ifndef EVN_CLI_OPTIONS_H
#define EVN_CLI_OPTIONS_H

#include "cli/config/settings.h"

typedef enum {
	OPTION_FLAG, /* bool; no value on the command line, true or false in a config */
	OPTION_INT,
	OPTION_REAL,
	OPTION_TIME, /* double, in seconds */
	OPTION_CHOICE,
	OPTION_TEXT,
	OPTION_REPEATED, /* texts: the flag may be given several times; in a config a list */
	OPTION_SHARES,   /* in a config one share for each device */
	OPTION_MEMORY,   /* in a config one limit for each device */
} option_kind;

typedef struct {
	const char *name; /* --name */
	char letter;      /* -l, or 0 */
	option_kind kind;
	unsigned commands;   /* CMD_ bits of the commands that take the flag */
	const char *key;     /* "section.key" in a config, or NULL */
	size_t field;        /* offset in settings */
	const char *initial; /* the default as a user would write it, or NULL */
	double min, max;
	const char *const *choices;
	const char *value; /* the name of the value in the help */
	const char *help;
} option;

extern const option options[]; /* ended by a NULL name */

const option *option_by_key(const char *key);
/* Reads text as a value of the option and stores it in its field. The message does not name the option. */
evn_status option_set(const option *o, const char *text, settings *s, evn_error *err);

/* The command line after the command's name. The flags are kept and applied later, because the config file comes
 * first. */
typedef struct {
	struct {
		const option *option;
		const char *value;
	} flags[64];
	size_t n_flags;
	const char *const *arguments;
	size_t n_arguments;
	bool help;
} command_line;

/* argv[0] is the command's name and `bit` its CMD_ bit. argv is reordered. */
evn_status command_line_read(command_line *out, int argc, char **argv, unsigned bit, evn_error *err);
/* Applies the flags. The error of a wrong value names its flag. */
evn_status command_line_apply(const command_line *line, settings *s, evn_error *err);

#endif
