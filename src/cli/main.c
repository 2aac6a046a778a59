/* main.c - picks the command, gathers its settings (defaults, config file, flags), and turns its status into one line
 * on stderr and the exit code. */
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/commands/images.h"
#include "cli/config/config.h"
#include "cli/config/options.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/help.h"
#include "cli/show/text.h"
#include "evener/score.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, MAX_COMMANDS = 32 };

static const command *find_command(const char *name)
{
	for (const command *c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static evn_status unknown_command(const char *name, evn_error *err)
{
	const char *names[MAX_COMMANDS + 4] = {"help", "--help", "--version"};
	for (size_t i = 0; i < MAX_COMMANDS && commands[i].name; i++)
		names[i + 3] = commands[i].name;
	const char *nearest = text_nearest(name, names);
	return evn_fail(err, EVN_ERR_USAGE, "unknown %s '%.60s'; %s%s%s", *name == '-' ? "option" : "command", name,
					nearest ? "did you mean '" : "evener --help lists the commands", nearest ? nearest : "",
					nearest ? "'?" : "");
}

static evn_status check_settings(const command *c, const invocation *in, evn_error *err)
{
	bool made = in->settings.architecture && (c->bit & CMD_MODEL);
	bool has_model = in->settings.model_path || made || (c->bit == CMD_INSPECT && in->n_arguments > 0);
	if (!has_model && (c->bit & (CMD_MODEL | CMD_INSPECT | CMD_TOKENIZE)))
		return evn_fail(err, EVN_ERR_USAGE, "%s: no model; give %s", c->name, c->arguments);
	if (c->bit == CMD_TRAIN && !in->settings.data_path && !in->settings.train_ids)
		return evn_fail(err, EVN_ERR_USAGE, "train: no text to learn; give --data FILE");
	if (c->bit == CMD_TRAIN && !in->settings.output_path)
		return evn_fail(err, EVN_ERR_USAGE, "train: no file for the result; give -o FILE");
	if (c->bit == CMD_BATCH && !in->settings.output_path)
		return evn_fail(err, EVN_ERR_USAGE, "batch: no file for the answers; give -o OUT.jsonl or -o OUT.txt");
	if (c->bit == CMD_PLAN && in->settings.image && !in->settings.simulate)
		return evn_fail(err, EVN_ERR_USAGE, "plan: --image draws a simulation; give --simulate CLUSTER");
	if (made && in->settings.format && !in->settings.simulate)
		return evn_fail(err, EVN_ERR_USAGE,
						"%s: format: weights that are made are F32; only plan --simulate takes others", c->name);
	if (in->settings.split == EVN_SPLIT_SEQUENCE && (c->bit & CMD_ENGINE) &&
		!(c->bit & (CMD_SCORE | CMD_EMBED | CMD_CLASSIFY)))
		return evn_fail(err, EVN_ERR_USAGE, "%s: split: sequence works only with score, embed and classify", c->name);
	return EVN_OK;
}

/* What cannot be written at the end is said before the work begins. */
static evn_status check_outputs(const settings *s, evn_error *err)
{
	const char *const paths[] = {s->output_path, s->image_path, s->trace_path, s->picture};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		evn_status status = paths[i] ? text_check_writable(paths[i], err) : EVN_OK;
		if (status != EVN_OK)
			return status;
	}
	return EVN_OK;
}

/* Arguments are then further images. */
static bool takes_images(const command_line *line)
{
	for (size_t i = 0; i < line->n_flags; i++)
		if (line->flags[i].option->kind == OPTION_REPEATED && !strcmp(line->flags[i].option->name, "image"))
			return true;
	return false;
}

static evn_status run_with_settings(const command *c, const command_line *line, invocation *in, config *file,
									evn_error *err)
{
	in->arguments = line->arguments;
	in->n_arguments = line->n_arguments;
	const bool images = takes_images(line);
	if (in->n_arguments > c->max_arguments && !images)
		return evn_fail(err, EVN_ERR_USAGE, "%s: unexpected argument '%.60s'", c->name,
						in->arguments[c->max_arguments]);
	evn_status status = settings_init(&in->settings, err);
	if (status == EVN_OK && (c->bit & (CMD_MODEL | CMD_TUNE)) && line->n_arguments > 0 &&
		(!images || images_is_config(line->arguments[0])))
		status = config_load(file, line->arguments[0], &in->settings, err);
	if (status == EVN_OK)
		status = command_line_apply(line, &in->settings, err);
	if (status == EVN_OK)
		status = check_settings(c, in, err);
	if (status == EVN_OK)
		status = settings_resolve(&in->settings, err);
	if (status == EVN_OK)
		status = check_outputs(&in->settings, err);
	if (status != EVN_OK)
		return status;
	console_start(in->settings.quiet || in->settings.json);
	status = cluster_begin(c, err);
	if (status == EVN_OK)
		status = cluster_run(c, in, err);
	console_progress_end();
	return status;
}

static evn_status run_command(const command *c, int argc, char **argv, evn_error *err)
{
	command_line line;
	invocation in = {0};
	config file = {0};
	evn_status status = command_line_read(&line, argc, argv, c->bit, err);
	if (status == EVN_OK && line.help)
		help_command(c);
	else if (status == EVN_OK)
		status = run_with_settings(c, &line, &in, &file, err);
	settings_free(&in.settings);
	config_free(&file);
	return status;
}

static evn_status dispatch(int argc, char **argv, evn_error *err)
{
	const char *first = argc > 1 ? argv[1] : "";
	bool asks_help = strcmp(first, "help") == 0 || strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0;
	if (!*first)
		return evn_fail(err, EVN_ERR_USAGE, "no command; evener --help lists the commands");
	if (strcmp(first, "--version") == 0) {
		printf("evener %s\n", evn_version());
		return EVN_OK;
	}
	const command *c = find_command(asks_help && argc > 2 ? argv[2] : first);
	if (asks_help && (argc == 2 || strcmp(argv[2], "help") == 0))
		help_program();
	else if (!c)
		return unknown_command(asks_help ? argv[2] : first, err);
	else if (asks_help)
		help_command(c);
	else
		return run_command(c, argc - 1, argv + 1, err);
	return EVN_OK;
}

/* If one is closed, the next file that is opened would take its place: a model, say, that a result is printed to.
 * What takes it here fails as a closed stream does. */
static void open_standard_streams(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
			return;
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	interrupt_start();
	open_standard_streams();
	evn_status status = dispatch(argc, argv, &err);
	if (status == EVN_OK)
		status = console_check_output(&err);
	const int code = interrupted()             ? EXIT_INTERRUPTED
					 : status == EVN_OK        ? EXIT_SUCCESS
					 : status == EVN_ERR_USAGE ? EXIT_USAGE
											   : EXIT_FAILED;
	if (cluster_end(status, &err, code) && status != EVN_OK && code != EXIT_INTERRUPTED)
		console_error(err.text);
	return code;
}
