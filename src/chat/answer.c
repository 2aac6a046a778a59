/* answer.c - the text of an answer in two stages. The first finds stop strings, the second tells reasoning from
 * content. Each keeps text at its end until it is known what that text is. What comes out does not depend on how the
 * answer was cut into tokens. */
#include "evener/chat.h"
#include "base/base.h"
#include "base/utf8.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STOPS 16
#define MAX_STOP_BYTES 4096
#define MAX_SPACE 64 /* white space around a tag that is held back */
#define OPENING "<think>"
#define CLOSING "</think>"
#define TAG_BYTES 8
#define HEADER_MOST 512 /* bytes of a channel's header */

/* With a fixed size: a token has a longest text, and so has what is held back. */
typedef struct {
	char *data; /* NUL-terminated */
	size_t n;
} buffer;

typedef enum {
	AT_BEGIN,
	BEFORE_REASONING,
	IN_REASONING,
	BEFORE_CONTENT,
	IN_CONTENT,
	IN_FIRST_HEADER, /* of channels */
	IN_HEADER,
	IN_MESSAGE
} place;
typedef enum { TO_CONTENT, TO_REASONING, TO_CALL } target;

struct evn_answer {
	evn_text_stream *stream;
	int32_t opening, closing; /* ids of the tags; -1: no tokens */
	char *stops[MAX_STOPS];
	size_t n_stops;
	buffer unstopped, untagged;
	buffer content, reasoning;
	place place;
	target target; /* of a message */
	const evn_tokenizer *tokenizer;
	char *mark; /* room for the text of a control token; NULL: they have none */
	bool stopped;
};

static evn_status check_stop(const char *stop, evn_error *err)
{
	size_t n = strlen(stop), whole;
	if (n == 0 || n > MAX_STOP_BYTES)
		return evn_fail(err, EVN_ERR_USAGE, "a stop string has %zu bytes, expected 1 to %d", n, MAX_STOP_BYTES);
	for (size_t at = 0, length; at < n; at += length) {
		length = evn_utf8_prefix(stop + at, n - at, &whole);
		if (length == 0 || length < whole)
			return evn_fail(err, EVN_ERR_USAGE, "a stop string is not UTF-8: byte 0x%02x at offset %zu",
							(unsigned char)stop[at], at);
	}
	return EVN_OK;
}

static evn_status copy_stops(evn_answer *a, const evn_answer_options *o, size_t *longest, evn_error *err)
{
	if (o->n_stops > MAX_STOPS)
		return evn_fail(err, EVN_ERR_USAGE, "%zu stop strings, expected at most %d", o->n_stops, MAX_STOPS);
	for (size_t i = 0; i < o->n_stops; i++) {
		EVN_TRY(check_stop(o->stops[i], err));
		size_t n = strlen(o->stops[i]);
		*longest = n > *longest ? n : *longest;
		if (!(a->stops[a->n_stops++] = evn_strdup(o->stops[i])))
			return evn_fail_memory(err, "stop string", n);
	}
	return EVN_OK;
}

static bool has_channels(const evn_tokenizer *t)
{
	return evn_tokenizer_find(t, "<|channel|>") >= 0 && evn_tokenizer_find(t, "<|message|>") >= 0 &&
		   evn_tokenizer_find(t, "<|start|>") >= 0;
}

static evn_status prepare(evn_answer *a, const evn_model *m, const evn_answer_options *o, evn_error *err)
{
	size_t longest = 0;
	EVN_TRY(evn_text_stream_create(&a->stream, m, err));
	EVN_TRY(copy_stops(a, o, &longest, err));
	const evn_tokenizer *t = evn_model_tokenizer(m, err);
	a->opening = o->reasoning_apart ? evn_tokenizer_find(t, OPENING) : -1;
	a->closing = o->reasoning_apart ? evn_tokenizer_find(t, CLOSING) : -1;
	if (!o->reasoning_apart)
		a->place = IN_CONTENT;
	else if (o->starts_reasoning)
		a->place = BEFORE_REASONING;
	if (o->channels || ((o->reasoning_apart || o->marks) && has_channels(t)))
		a->place = IN_FIRST_HEADER;
	a->tokenizer = t;
	if ((o->marks || a->place == IN_FIRST_HEADER) && !(a->mark = malloc(evn_tokenizer_max_bytes(t) + 1)))
		return evn_fail_memory(err, "answer", 0);
	/* A token with the rest of a character before it; each broken byte becomes a U+FFFD of 3 bytes. */
	size_t room = 3 * (evn_tokenizer_max_bytes(t) + 3) + longest + MAX_SPACE + 2 * TAG_BYTES + 2 * HEADER_MOST;
	buffer *const buffers[] = {&a->unstopped, &a->untagged, &a->content, &a->reasoning};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		if (!(buffers[i]->data = calloc(1, room)))
			return evn_fail_memory(err, "answer", room);
	return EVN_OK;
}

evn_status evn_answer_create(evn_answer **out, const evn_model *m, const evn_answer_options *o, evn_error *err)
{
	static const evn_answer_options none = {0};
	evn_answer *a = calloc(1, sizeof *a);
	*out = NULL;
	if (!a)
		return evn_fail_memory(err, "answer", sizeof *a);
	evn_status status = prepare(a, m, o ? o : &none, err);
	if (status == EVN_OK)
		*out = a;
	else
		evn_answer_free(a);
	return status;
}

void evn_answer_free(evn_answer *a)
{
	if (!a)
		return;
	evn_text_stream_free(a->stream);
	for (size_t i = 0; i < a->n_stops; i++)
		free(a->stops[i]);
	free(a->mark);
	free(a->unstopped.data);
	free(a->untagged.data);
	free(a->content.data);
	free(a->reasoning.data);
	free(a);
}

static void append(buffer *b, const char *text, size_t n)
{
	memcpy(b->data + b->n, text, n);
	b->n += n;
	b->data[b->n] = '\0';
}

static void drop(buffer *b, size_t n)
{
	b->n -= n;
	memmove(b->data, b->data + n, b->n + 1);
}

static void move(buffer *to, buffer *from, size_t n)
{
	append(to, from->data, n);
	drop(from, n);
}

/* The longest end of b with which `text` begins, but not all of `text`. */
static size_t begun(const buffer *b, const char *text)
{
	size_t n = strlen(text) - 1;
	if (n > b->n)
		n = b->n;
	while (n > 0 && memcmp(b->data + b->n - n, text, n) != 0)
		n--;
	return n;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static size_t spaces_at_begin(const buffer *b)
{
	size_t n = 0;
	while (n < b->n && is_space(b->data[n]))
		n++;
	return n;
}

/* The white space before data[end]. */
static size_t spaces_before(const buffer *b, size_t end)
{
	size_t n = 0;
	while (n < end && n < MAX_SPACE && is_space(b->data[end - n - 1]))
		n++;
	return n;
}

/* Whether the answer begins with reasoning. False: that cannot be said yet. */
static bool decide_begin(evn_answer *a, bool all)
{
	buffer *b = &a->untagged;
	size_t space = spaces_at_begin(b), rest = b->n - space;
	bool may_come = rest < strlen(OPENING) && memcmp(b->data + space, OPENING, rest) == 0;
	if (may_come && !all && space <= MAX_SPACE)
		return false;
	if (strncmp(b->data + space, OPENING, strlen(OPENING)) == 0) {
		drop(b, space + strlen(OPENING));
		a->place = BEFORE_REASONING;
	} else {
		a->place = IN_CONTENT;
	}
	return true;
}

/* Moves reasoning, up to the closing tag and without the white space before it. False: there is no tag yet. */
static bool take_reasoning(evn_answer *a, bool all)
{
	buffer *b = &a->untagged;
	const char *tag = strstr(b->data, CLOSING);
	size_t end = tag ? (size_t)(tag - b->data) : b->n - (all ? 0 : begun(b, CLOSING));
	size_t space = tag || !all ? spaces_before(b, end) : 0;
	move(&a->reasoning, b, end - space);
	if (!tag)
		return false;
	drop(b, space + strlen(CLOSING));
	a->place = BEFORE_CONTENT;
	return true;
}

/* ---- channels --------------------------------------------------------------------------------------------------
 * A message is <|channel|>NAME<|message|>TEXT<|end|>, and the next one begins with <|start|>assistant. A call has
 * to=functions.NAME in its header, before or behind the channel. */

static const char *const message_ends[] = {"<|end|>", "<|start|>", "<|channel|>"};

/* Whether the answer may begin with a header. */
static bool may_be_header(const buffer *b)
{
	static const char *const begins[] = {"<|channel|>", "<|start|>", " to="};
	bool may = false;
	for (size_t i = 0; i < 3; i++) {
		const size_t n = strlen(begins[i]) < b->n ? strlen(begins[i]) : b->n;
		may |= memcmp(b->data, begins[i], n) == 0;
	}
	return may;
}

/* The name of the function in a header of n bytes, with its length. NULL: it is no call. */
static const char *called(const char *header, size_t n, size_t *length)
{
	static const char to[] = "to=functions.";
	const char *name = memmem(header, n, to, strlen(to));
	if (!name)
		return NULL;
	name += strlen(to);
	*length = 0;
	while (name + *length < header + n && !strchr(" <\"\\\n\r\t", name[*length]))
		++*length;
	return name;
}

static bool take_header(evn_answer *a)
{
	static const char tag[] = "<|message|>", begin[] = "<tool_call>{\"name\": \"", middle[] = "\", \"arguments\": ";
	buffer *b = &a->untagged;
	const char *found = strstr(b->data, tag);
	size_t length;
	if (!found && (b->n > HEADER_MOST || (a->place == IN_FIRST_HEADER && !may_be_header(b)))) {
		a->place = IN_CONTENT;
		return true;
	}
	if (!found)
		return false;
	const size_t n = (size_t)(found - b->data);
	const char *name = called(b->data, n, &length);
	a->target = name ? TO_CALL : memmem(b->data, n, "analysis", 8) ? TO_REASONING : TO_CONTENT;
	if (name) {
		append(&a->content, begin, strlen(begin));
		append(&a->content, name, length);
		append(&a->content, middle, strlen(middle));
	}
	drop(b, n + strlen(tag));
	a->place = IN_MESSAGE;
	return true;
}

static const char closing_call[] = "}</tool_call>";

/* False: the message goes on. */
static bool take_message(evn_answer *a, bool all)
{
	buffer *b = &a->untagged;
	const char *end = NULL;
	size_t held = 0;
	for (size_t i = 0; i < sizeof message_ends / sizeof *message_ends; i++) {
		const char *at = strstr(b->data, message_ends[i]);
		const size_t n = begun(b, message_ends[i]);
		end = at && (!end || at < end) ? at : end;
		held = n > held ? n : held;
	}
	move(a->target == TO_REASONING ? &a->reasoning : &a->content, b,
		 end    ? (size_t)(end - b->data)
		 : !all ? b->n - held
				: b->n);
	if (!end)
		return false;
	if (a->target == TO_CALL)
		append(&a->content, closing_call, strlen(closing_call));
	if (strncmp(b->data, message_ends[0], strlen(message_ends[0])) == 0)
		drop(b, strlen(message_ends[0]));
	a->place = IN_HEADER;
	return true;
}

/* The token that ends a call ends the answer, too. */
static void end_channels(evn_answer *a)
{
	if (a->place == IN_MESSAGE && a->target == TO_CALL)
		append(&a->content, closing_call, strlen(closing_call));
	if (a->place == IN_FIRST_HEADER && a->untagged.data[0] != '<')
		move(&a->content, &a->untagged, a->untagged.n);
	drop(&a->untagged, a->untagged.n);
}

/* all: no more text will come. */
static void tell_apart(evn_answer *a, bool all)
{
	buffer *b = &a->untagged;
	bool more = true;
	while (more && b->n > 0) {
		switch (a->place) {
		case AT_BEGIN:
			more = decide_begin(a, all);
			break;
		case BEFORE_REASONING:
		case BEFORE_CONTENT:
			drop(b, spaces_at_begin(b));
			if (b->n > 0)
				a->place++;
			break;
		case IN_REASONING:
			more = take_reasoning(a, all);
			break;
		case IN_CONTENT:
			move(&a->content, b, b->n);
			break;
		case IN_FIRST_HEADER:
		case IN_HEADER:
			more = take_header(a);
			break;
		case IN_MESSAGE:
			more = take_message(a, all);
			break;
		}
	}
	if (all)
		end_channels(a);
}

/* The place of the stop string that ends first; of two that end together, the longer one. b->n: none. */
static size_t find_stop(const evn_answer *a)
{
	const buffer *b = &a->unstopped;
	size_t begin = b->n, end = SIZE_MAX;
	for (size_t i = 0; i < a->n_stops; i++) {
		const char *hit = strstr(b->data, a->stops[i]);
		size_t from = hit ? (size_t)(hit - b->data) : 0, to = from + strlen(a->stops[i]);
		if (hit && (to < end || (to == end && from < begin))) {
			begin = from;
			end = to;
		}
	}
	return begin;
}

static void take_text(evn_answer *a, const char *text, bool all)
{
	buffer *b = &a->unstopped;
	append(b, text, strlen(text));
	size_t end = find_stop(a), held = 0;
	a->stopped = end < b->n;
	for (size_t i = 0; i < a->n_stops && !a->stopped && !all; i++) {
		size_t n = begun(b, a->stops[i]);
		held = n > held ? n : held;
	}
	move(&a->untagged, b, end - held);
	tell_apart(a, all || a->stopped);
}

static evn_answer_piece begin_piece(evn_answer *a)
{
	drop(&a->content, a->content.n);
	drop(&a->reasoning, a->reasoning.n);
	return (evn_answer_piece){a->content.data, a->reasoning.data, a->stopped};
}

static const char *mark_of(const evn_answer *a, int32_t id)
{
	a->mark[evn_tokenizer_spell_mark(a->tokenizer, id, a->mark)] = '\0';
	return a->mark;
}

evn_answer_piece evn_answer_push(evn_answer *a, int32_t id)
{
	evn_answer_piece piece = begin_piece(a);
	if (a->stopped)
		return piece;
	const char *text = evn_text_stream_push(a->stream, id);
	if (!*text && id >= 0 && id == a->opening) /* control tokens have no text otherwise */
		text = OPENING;
	else if (!*text && id >= 0 && id == a->closing)
		text = CLOSING;
	else if (!*text && a->mark)
		text = mark_of(a, id);
	take_text(a, text, false);
	piece.stopped = a->stopped;
	return piece;
}

evn_answer_piece evn_answer_end(evn_answer *a)
{
	evn_answer_piece piece = begin_piece(a);
	if (a->stopped)
		return piece;
	take_text(a, evn_text_stream_flush(a->stream), true);
	piece.stopped = a->stopped;
	return piece;
}
