/* cmd_chat.c - evener chat: a conversation on a terminal or through a pipe. In a pipe each line (or block) is a
 * message, answers go to stdout, and the first error ends the chat. */
#include "cli/chat/editor.h"
#include "cli/chat/slash.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROMPT "> "
#define MORE_PROMPT ". "
#define FENCE "\"\"\""

typedef struct {
	const settings *settings;
	bool terminal;
	editor *editor;
	loaded loaded;
	conversation conversation;
	generated last;
} chat;

/* A message that is read. */
typedef struct {
	char *text;
	size_t n;
	FILE *out; /* a stream into text */
} message;

/* Reads lines up to the end of the block. */
static line_result read_block(chat *c, FILE *out)
{
	const char *line;
	size_t n;
	line_result got;
	for (bool first = true; (got = editor_read(c->editor, MORE_PROMPT, &line, &n)) == LINE_READ; first = false) {
		if (strcmp(line, FENCE) == 0)
			return LINE_READ;
		if (!first)
			fputc('\n', out);
		fwrite(line, 1, n, out);
	}
	return got;
}

static line_result read_lines(chat *c, FILE *out)
{
	const char *line;
	size_t n;
	line_result got;
	bool first = true;
	while ((got = editor_read(c->editor, first ? PROMPT : MORE_PROMPT, &line, &n)) == LINE_READ) {
		if (first && strcmp(line, FENCE) == 0)
			return read_block(c, out);
		bool goes_on = n > 0 && line[n - 1] == '\\';
		fwrite(line, 1, n - goes_on, out);
		if (!goes_on)
			break;
		fputc('\n', out);
		first = false;
	}
	return got;
}

static line_result read_message(chat *c, message *m, evn_error *err)
{
	*m = (message){0};
	m->out = open_memstream(&m->text, &m->n);
	line_result got = m->out ? read_lines(c, m->out) : LINE_END;
	if (!m->out || fclose(m->out) != 0) {
		evn_fail_memory(err, "the message", 0);
		return LINE_END;
	}
	return got;
}

static evn_status print_json(const generated *g, evn_error *err)
{
	const evn_request_result *r = &g->result;
	return json_print(json_pack("{s:o, s:o, s:s, s:{s:i, s:i, s:i, s:o, s:o, s:o}}", "text",
								json_bytes(g->content, g->n_content), "reasoning",
								json_bytes(g->reasoning, g->n_reasoning), "finish", g->finish, "stats",
								"prompt_tokens", (int)r->n_prompt, "cached_tokens", (int)r->n_cached, "tokens",
								(int)g->n_ids, "prompt_s", json_number(r->prompt_s), "first_token_s",
								json_number(generated_first_s(g)), "decode_s", json_number(r->decode_s)),
					  err);
}

/* What follows an answer: on a terminal a line between it and the next prompt, in a pipe the end of its line. */
static evn_status finish_answer(const chat *c, evn_error *err)
{
	if (c->settings->json)
		return print_json(&c->last, err);
	putchar('\n');
	if (c->terminal && strcmp(c->last.finish, "stop") != 0)
		console_note("the answer ends here: %s", c->last.finish);
	return console_check_output(err);
}

static evn_status handle(chat *c, message *m, bool *ends, evn_error *err)
{
	slash_state s = {.conversation = &c->conversation, .last = &c->last};
	if (m->n == 0)
		return EVN_OK;
	if (!strchr(m->text, '\n'))
		editor_remember(c->editor, m->text);
	if (*m->text == '/' && m->text[1] != '/') {
		evn_status status = slash_run(&s, m->text, err);
		*ends = s.exit;
		return status == EVN_OK && s.answered ? finish_answer(c, err) : status;
	}
	size_t skipped = *m->text == '/';
	generated_free(&c->last);
	evn_status status = conversation_ask(&c->conversation, m->text + skipped, m->n - skipped, &c->last, err);
	return status == EVN_OK ? finish_answer(c, err) : status;
}

/* An error, or a signal that was for an answer, does not end a chat on a terminal. */
static evn_status recover(const chat *c, evn_status status, evn_error *err)
{
	if (!c->terminal || interrupted_for_good())
		return status;
	if (status == EVN_ERR_CANCELLED && interrupted())
		console_note("interrupted; the message is forgotten");
	else if (status != EVN_OK)
		console_error(err->text);
	interrupt_done();
	return EVN_OK;
}

static evn_status talk_with_user(chat *c, evn_error *err)
{
	evn_status status = EVN_OK;
	bool ends = false, asked = false; /* asked: whether to end */
	while (status == EVN_OK && !ends) {
		message m;
		*err = (evn_error){0};
		line_result got = read_message(c, &m, err);
		if (got == LINE_READ || (got == LINE_END && m.n > 0 && !c->terminal)) {
			status = recover(c, handle(c, &m, &ends, err), err);
			asked = false;
		} else if (got == LINE_INTERRUPTED && c->terminal && !interrupted_for_good() && !asked) {
			fputs("\n(Ctrl-C again, Ctrl-D or /exit ends the chat)\n", stderr);
			interrupt_done();
			asked = true;
		} else {
			if (c->terminal && !interrupted_for_good())
				interrupt_done();
			if (c->terminal)
				fputc('\n', stderr);
			ends = true;
			status = err->code;
		}
		free(m.text);
	}
	return status;
}

static evn_status start(chat *c, evn_error *err)
{
	evn_status status = loaded_open(&c->loaded, c->settings, err);
	if (status == EVN_OK)
		status = conversation_open(&c->conversation, &c->loaded, c->settings, err);
	if (status == EVN_OK)
		status = editor_open(&c->editor, c->terminal, err);
	if (status != EVN_OK)
		return status;
	if (c->terminal) {
		interrupt_answers();
		if (!c->settings->quiet)
			fprintf(stderr, "%s, context %u tokens; /help lists the commands\n",
					c->loaded.info.name ? c->loaded.info.name : "a model without a name",
					evn_engine_context(c->loaded.engine));
	} else {
		interrupt_saves();
	}
	return EVN_OK;
}

evn_status cmd_chat(const invocation *in, evn_error *err)
{
	chat c = {.settings = &in->settings,
			  .terminal = !in->settings.json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
	evn_status status = start(&c, err);
	if (status == EVN_OK)
		status = talk_with_user(&c, err);
	generated_free(&c.last);
	editor_close(c.editor);
	conversation_close(&c.conversation);
	return loaded_close(&c.loaded, status, err);
}
