/* slash.c - see slash.h. */
#include "cli/chat/slash.h"
#include "base/base.h"
#include "cli/show/console.h"
#include "cli/show/ranks.h"
#include "cli/show/text.h"

#include <stdio.h>
#include <string.h>

typedef struct {
	const char *name, *argument, *help;
	evn_status (*run)(slash_state *s, const char *argument, evn_error *err);
	bool needs_argument;
} slash_command;

enum { N_COMMANDS = 8 };
static const slash_command commands[N_COMMANDS + 1];

static evn_status run_help(slash_state *s, const char *argument, evn_error *err)
{
	(void)s;
	(void)argument;
	(void)err;
	for (const slash_command *c = commands; c->name; c++)
		fprintf(stderr, "/%-6s %-6s  %s\n", c->name, c->argument, c->help);
	fprintf(
		stderr,
		"A backslash at the end of a line, or a block between lines of \"\"\", makes a message of several lines.\n"
		"//TEXT sends a message that begins with a slash. Ctrl-C stops an answer; twice at the prompt, or\n"
		"Ctrl-D, ends the chat.\n");
	return EVN_OK;
}

static evn_status run_system(slash_state *s, const char *argument, evn_error *err)
{
	if (!*argument) {
		const char *text = conversation_system(s->conversation);
		fprintf(stderr, "%s\n",
				text ? text : "there is no system message; /system TEXT sets one, /system - removes it");
		return EVN_OK;
	}
	return conversation_set_system(s->conversation, strcmp(argument, "-") == 0 ? "" : argument, err);
}

static evn_status run_reset(slash_state *s, const char *argument, evn_error *err)
{
	(void)argument;
	(void)err;
	conversation_reset(s->conversation);
	return EVN_OK;
}

static evn_status run_save(slash_state *s, const char *argument, evn_error *err)
{
	return conversation_save(s->conversation, argument, err);
}

static evn_status run_load(slash_state *s, const char *argument, evn_error *err)
{
	bool same_model = true;
	evn_status status = conversation_load(s->conversation, argument, &same_model, err);
	if (status == EVN_OK && !same_model)
		console_note("%s: the conversation was with another model", argument);
	return status;
}

static evn_status run_stats(slash_state *s, const char *argument, evn_error *err)
{
	(void)argument;
	(void)err;
	const conversation *c = s->conversation;
	const generated *g = s->last;
	fprintf(stderr, "context: %zu of %u tokens, %zu messages\n", c->n_ids, evn_engine_context(c->loaded->engine),
			json_array_size(c->messages));
	if (!g->finish)
		return EVN_OK;
	fprintf(stderr, "prompt: %u tokens, %u of them computed before, %.1f tokens/s\n", g->result.n_prompt,
			g->result.n_cached, generated_prompt_rate(g));
	fprintf(stderr, "answer: %zu tokens (%s), first after %.2f s", g->n_ids, g->finish, generated_first_s(g));
	if (g->n_ids > 1)
		fprintf(stderr, ", then %.1f tokens/s", generated_decode_rate(g));
	fputc('\n', stderr);
	ranks_print(stderr, evn_engine_plan(c->loaded->engine), evn_scheduler_get_stats(c->loaded->scheduler).ranks);
	return EVN_OK;
}

static evn_status run_regen(slash_state *s, const char *argument, evn_error *err)
{
	(void)argument;
	generated_free(s->last);
	evn_status status = conversation_again(s->conversation, s->last, err);
	s->answered = status == EVN_OK;
	return status;
}

static evn_status run_exit(slash_state *s, const char *argument, evn_error *err)
{
	(void)argument;
	(void)err;
	s->exit = true;
	return EVN_OK;
}

static const slash_command commands[N_COMMANDS + 1] = {
	{"help", "", "this list", run_help, false},
	{"system", "[TEXT]", "show, set or (-) remove the system message", run_system, false},
	{"reset", "", "begin a new conversation; the system message stays", run_reset, false},
	{"save", "FILE", "save the conversation", run_save, true},
	{"load", "FILE", "go on with a conversation that was saved", run_load, true},
	{"stats", "", "tokens, speeds and ranks", run_stats, false},
	{"regen", "", "answer the last message anew", run_regen, false},
	{"exit", "", "end the chat", run_exit, false},
	{0},
};

static evn_status unknown(const char *name, evn_error *err)
{
	const char *names[N_COMMANDS + 1] = {0};
	for (size_t i = 0; commands[i].name; i++)
		names[i] = commands[i].name;
	const char *nearest = text_nearest(name, names);
	return evn_fail(err, EVN_ERR_USAGE, "unknown command /%s; %s%s%s", name,
					nearest ? "did you mean /" : "/help lists them", nearest ? nearest : "", nearest ? "?" : "");
}

evn_status slash_run(slash_state *s, const char *line, evn_error *err)
{
	char name[32];
	size_t n = strcspn(line + 1, " ");
	snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name), line + 1);
	const char *argument = line + 1 + n;
	argument += strspn(argument, " ");
	for (const slash_command *c = commands; c->name; c++) {
		if (strcmp(c->name, name) != 0)
			continue;
		if (c->needs_argument && !*argument)
			return evn_fail(err, EVN_ERR_USAGE, "/%s needs a %s", c->name, c->argument);
		if (!*c->argument && *argument)
			return evn_fail(err, EVN_ERR_USAGE, "/%s takes no argument", c->name);
		return c->run(s, argument, err);
	}
	return unknown(name, err);
}
