/* main.c - picks the command, gathers its settings (defaults, config file, flags), and turns its status into one line
 * on stderr and the exit code. */
#include "cli/cli.h"
#include "cli/config/config.h"
#include "cli/config/options.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/help.h"
#include "cli/show/text.h"
#include "evener/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const command commands[] = {
	{"devices", CMD_DEVICES, "", 0,
	 "list every OpenCL device: identity, features, measured rates, and why it is not usable", NULL, cmd_devices},
	{"plan", CMD_PLAN, "CONFIG | -m MODEL", 1, "show the ranks, their shares and the predicted speed", NULL,
	 cmd_plan},
	{"run", CMD_RUN, "CONFIG | -m MODEL", 1, "generate text: tokens to standard output as they come",
	 "BOS is added where the model asks for it, and special tokens in the prompt are recognised.\n"
	 "A prompt from a file or from standard input loses one newline at its end.",
	 cmd_run},
	{"logits", CMD_LOGITS, "CONFIG | -m MODEL", 1, "print raw logits, one line for each token; draw them",
	 "The picture has a row for each token (at most the last 128) and a column for each vocabulary entry,\n"
	 "or for the 40 entries that are likeliest after any of the tokens.",
	 cmd_logits},
	{"score", CMD_SCORE, "CONFIG | -m MODEL", 1, "perplexity of a text, and the log-probability of each token",
	 "A text is scored in pieces of the context's length (-c). Each is computed without the text before\n"
	 "it. With --ctx N the text is scored in windows of N tokens, and only their second halves count, as\n"
	 "in llama-perplexity. Special tokens in the text are plain text. With several devices either the\n"
	 "matrices are split, or each device holds the whole model and takes pieces, whichever is predicted to\n"
	 "be faster (--split).",
	 cmd_score},
	{"train", CMD_TRAIN, "CONFIG | -m MODEL", 1, "train a model on a text, or fine-tune one with LoRA",
	 "With an architecture and sizes (model.architecture, ...) a new model with random weights learns the\n"
	 "text byte by byte. With a model, that model learns the text. With --lora-rank the model stays as it\n"
	 "is and gets low-rank additions, which are written as an adapter. The state is saved to\n"
	 "OUTPUT.checkpoint every few steps and when interrupted; --resume continues from there, on any split.",
	 cmd_train},
	{"bench", CMD_BENCH, "CONFIG | -m MODEL", 1, "measure prefill and decode, each device alone and all together",
	 "efficiency = together / sum of each device alone; bandwidth = weight bytes decoded per second / sum of the\n"
	 "devices' measured GB/s.",
	 cmd_bench},
	{"tune", CMD_TUNE, "[CONFIG | -m MODEL]", 1, "search the fastest GEMM parameters for each device",
	 "CLBlast computes large products of prompts. Its kernels have parameters that suit one device and\n"
	 "not another. Each set of parameters is tried on the model's matrices in a process of its own. Sets\n"
	 "that crash or hang a driver are skipped. The best set is kept in the cache. The rates of the devices\n"
	 "are then measured again when they are next needed.",
	 cmd_tune},
	{"inspect", CMD_INSPECT, "MODEL", 1, "show what a model file holds", NULL, cmd_inspect},
	{"tokenize", CMD_TOKENIZE, "-m MODEL", 0, "turn text into token ids; with --ids back into text",
	 "Special tokens are added and recognised only with --special.", cmd_tokenize},
	{"selftest", CMD_SELFTEST, "", 0, "check every kernel on every device against known answers", NULL, cmd_selftest},
	{"config", CMD_CONFIG, "check FILE | init | schema", 2,
	 "check a config, print a commented one to start from, or the JSON Schema", NULL, cmd_config},
	{0},
};

static const command *find_command(const char *name)
{
	for (const command *c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static evn_status unknown_command(const char *name, evn_error *err)
{
	const char *names[sizeof commands / sizeof *commands + 1] = {"help"};
	for (size_t i = 0; commands[i].name; i++)
		names[i + 1] = commands[i].name;
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
	if (in->settings.split == EVN_SPLIT_SEQUENCE && (c->bit & CMD_ENGINE) && c->bit != CMD_SCORE)
		return evn_fail(err, EVN_ERR_USAGE, "%s: split: sequence works only with score", c->name);
	return EVN_OK;
}

static evn_status run_with_settings(const command *c, const command_line *line, invocation *in, config *file,
									evn_error *err)
{
	in->arguments = line->arguments;
	in->n_arguments = line->n_arguments;
	if (in->n_arguments > c->max_arguments)
		return evn_fail(err, EVN_ERR_USAGE, "%s: unexpected argument '%.60s'", c->name,
						in->arguments[c->max_arguments]);
	evn_status status = settings_init(&in->settings, err);
	if (status == EVN_OK && (c->bit & (CMD_MODEL | CMD_TUNE)) && line->n_arguments > 0)
		status = config_load(file, line->arguments[0], &in->settings, err);
	if (status == EVN_OK)
		status = command_line_apply(line, &in->settings, err);
	if (status == EVN_OK)
		status = check_settings(c, in, err);
	if (status == EVN_OK)
		status = settings_resolve(&in->settings, err);
	if (status != EVN_OK)
		return status;
	console_start(in->settings.quiet || in->settings.json);
	status = c->run(in, err);
	console_progress_end();
	if (status == EVN_OK && (fflush(stdout) != 0 || ferror(stdout)))
		status = evn_fail(err, EVN_ERR_FILE, "standard output: cannot be written");
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
	if (asks_help && argc == 2)
		help_program(commands);
	else if (!c)
		return unknown_command(asks_help ? argv[2] : first, err);
	else if (asks_help)
		help_command(c);
	else
		return run_command(c, argc - 1, argv + 1, err);
	return EVN_OK;
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	interrupt_start();
	evn_status status = dispatch(argc, argv, &err);
	if (interrupted())
		return EXIT_INTERRUPTED;
	if (status == EVN_OK)
		return EXIT_SUCCESS;
	console_error(err.text);
	return status == EVN_ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}
