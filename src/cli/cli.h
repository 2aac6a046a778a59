/* cli.h - what every command of the program sees: its invocation and its errors. A command gets the settings of
 * flags, config file and defaults, prints its result on stdout, and returns a status. main turns the status into one
 * line on stderr and the exit code. */
#ifndef EVN_CLI_H
#define EVN_CLI_H

#include "cli/config/settings.h"
#include "evener.h"

enum {
	CMD_DEVICES = 1 << 0,
	CMD_PLAN = 1 << 1,
	CMD_RUN = 1 << 2,
	CMD_LOGITS = 1 << 3,
	CMD_BENCH = 1 << 4,
	CMD_INSPECT = 1 << 5,
	CMD_TOKENIZE = 1 << 6,
	CMD_SELFTEST = 1 << 7,
	CMD_CONFIG = 1 << 8,
	CMD_TRAIN = 1 << 9,
	CMD_SCORE = 1 << 10,
	CMD_SERVE = 1 << 12,
	CMD_BATCH = 1 << 13,
	CMD_CHAT = 1 << 14,
	CMD_QUANTIZE = 1 << 15,
	CMD_EMBED = 1 << 16,
	CMD_CLASSIFY = 1 << 18,
	/* need a model and devices */
	CMD_ENGINE = CMD_PLAN | CMD_RUN | CMD_CHAT | CMD_BATCH | CMD_LOGITS | CMD_BENCH | CMD_SCORE | CMD_SERVE |
				 CMD_EMBED | CMD_CLASSIFY,
	CMD_MODEL = CMD_ENGINE | CMD_TRAIN,
	CMD_TUNE = 1 << 11,
	CMD_TIMELINE = 1 << 17,
	CMD_ALL = (1 << 19) - 1,
};

typedef struct {
	settings settings;
	const char *const *arguments; /* the arguments that are not flags, without the command's name */
	size_t n_arguments;
} invocation;

typedef struct {
	const char *name;
	unsigned bit;
	const char *arguments; /* as the usage line shows them */
	size_t max_arguments;
	const char *summary;
	const char *details; /* paragraphs after the options */
	evn_status (*run)(const invocation *in, evn_error *err);
} command;

extern const command commands[]; /* ended by a NULL name */

evn_status cmd_devices(const invocation *in, evn_error *err);
evn_status cmd_plan(const invocation *in, evn_error *err);
evn_status cmd_run(const invocation *in, evn_error *err);
evn_status cmd_batch(const invocation *in, evn_error *err);
evn_status cmd_chat(const invocation *in, evn_error *err);
evn_status cmd_logits(const invocation *in, evn_error *err);
evn_status cmd_serve(const invocation *in, evn_error *err);
evn_status cmd_score(const invocation *in, evn_error *err);
evn_status cmd_embed(const invocation *in, evn_error *err);
evn_status cmd_classify(const invocation *in, evn_error *err);
evn_status cmd_bench(const invocation *in, evn_error *err);
evn_status cmd_timeline(const invocation *in, evn_error *err);
evn_status cmd_inspect(const invocation *in, evn_error *err);
evn_status cmd_tokenize(const invocation *in, evn_error *err);
evn_status cmd_quantize(const invocation *in, evn_error *err);
evn_status cmd_selftest(const invocation *in, evn_error *err);
evn_status cmd_train(const invocation *in, evn_error *err);
evn_status cmd_tune(const invocation *in, evn_error *err);
evn_status cmd_config(const invocation *in, evn_error *err);

#endif
