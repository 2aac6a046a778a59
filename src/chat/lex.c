/* lex.c - cuts a template into tokens. Trims white space as Jinja2 does with trim_blocks and lstrip_blocks: the first
 * newline after a block is dropped, and so is white space on a line before a block. */
#include "chat/jinja.h"
#include "base/utf8.h"

#include <string.h>

typedef struct {
	jrun *run;
	const char *text;
	size_t n, at;
	uint32_t line;
	bool line_begins; /* the text behind the last tag begins a line */
	jtoken *tokens;
	size_t n_tokens, capacity;
	char open[EVN_J_MAX_NESTING]; /* the closing brackets that are expected */
	size_t n_open;
} lexer;

static void add(lexer *l, jtoken_kind kind, size_t begin, size_t end)
{
	if (l->n_tokens == l->capacity) {
		size_t capacity = l->capacity ? 2 * l->capacity : 256;
		jtoken *tokens = evn_j_alloc(l->run, capacity, sizeof *tokens);
		if (l->n_tokens > 0)
			memcpy(tokens, l->tokens, l->n_tokens * sizeof *tokens);
		l->tokens = tokens;
		l->capacity = capacity;
	}
	l->tokens[l->n_tokens++] = (jtoken){kind, l->line, l->text + begin, end - begin};
}

/* Moves to `to` and counts the lines on the way. */
static void move_to(lexer *l, size_t to)
{
	for (; l->at < to; l->at++)
		l->line += l->text[l->at] == '\n';
}

static bool here(const lexer *l, size_t at, const char *what)
{
	size_t n = strlen(what);
	return at <= l->n && l->n - at >= n && memcmp(l->text + at, what, n) == 0;
}

static bool is_space(const lexer *l, size_t at, size_t *length)
{
	const jstring s = {l->text, NULL, l->n};
	return at < l->n && evn_j_is_space(evn_j_character(&s, at, length));
}

static size_t skip_space(const lexer *l, size_t at)
{
	size_t length;
	while (is_space(l, at, &length))
		at += length;
	return at;
}

/* The end of text [begin, end) without the white space at its end, not before `begin`. */
static size_t trim_end(const lexer *l, size_t begin, size_t end)
{
	const jstring s = {l->text + begin, NULL, end - begin};
	return begin + evn_j_strip(l->run, &s, NULL, false, true)->n;
}

/* Emits the text [l->at, end) before a tag with this sign. */
static void add_data(lexer *l, size_t end, char sign, bool is_output)
{
	size_t begin = l->at, stop = end;
	if (sign == '-') {
		stop = trim_end(l, begin, end);
	} else if (sign != '+' && !is_output) {
		const char *newline = memrchr(l->text + begin, '\n', end - begin);
		size_t line = newline ? (size_t)(newline - l->text) + 1 : begin;
		if ((newline || l->line_begins) && trim_end(l, line, end) == line)
			stop = line;
	}
	if (stop > begin)
		add(l, TOKEN_DATA, begin, stop);
	move_to(l, end);
}

/* Moves behind the end of a tag, whose sign is before it, and the white space that goes with it. */
static void end_tag(lexer *l, size_t end, char sign, bool is_output)
{
	size_t to = end;
	if (sign == '-')
		to = skip_space(l, end);
	else if (sign != '+' && !is_output && end < l->n && l->text[end] == '\n')
		to++;
	move_to(l, to);
	l->line_begins = l->text[to - 1] == '\n';
}

static char sign_at(const lexer *l, size_t at)
{
	return at < l->n && (l->text[at] == '-' || l->text[at] == '+') ? l->text[at] : 0;
}

static void skip_comment(lexer *l)
{
	size_t begin = l->at + 2 + (sign_at(l, l->at + 2) != 0);
	const char *end = begin <= l->n ? memmem(l->text + begin, l->n - begin, "#}", 2) : NULL;
	l->run->line = l->line;
	if (!end)
		evn_j_fail(l->run, EVN_ERR_FORMAT, "a comment without its end '#}'");
	size_t at = (size_t)(end - l->text);
	end_tag(l, at + 2, at > begin ? sign_at(l, at - 1) : 0, false);
}

/* If `at` is behind "{%" and its sign, and the block is `name`: the place behind the name. 0: it is another block. */
static size_t plain_block(const lexer *l, size_t at, const char *name)
{
	at = skip_space(l, at);
	return here(l, at, name) ? skip_space(l, at + strlen(name)) : 0;
}

/* {% raw %} ... {% endraw %}. False: this is no raw block. */
static bool take_raw(lexer *l)
{
	size_t at = plain_block(l, l->at + 2 + (sign_at(l, l->at + 2) != 0), "raw");
	bool trims = at && here(l, at, "-%}");
	if (!at || (!trims && !here(l, at, "%}")))
		return false;
	l->run->line = l->line;
	move_to(l, trims ? skip_space(l, at + 3) : at + 2);
	l->line_begins = l->text[l->at - 1] == '\n';
	for (size_t from = l->at;; from++) {
		const char *tag = memmem(l->text + from, l->n - from, "{%", 2);
		if (!tag)
			evn_j_fail(l->run, EVN_ERR_FORMAT, "a raw block without its end");
		from = (size_t)(tag - l->text);
		char sign = sign_at(l, from + 2);
		size_t end = plain_block(l, from + 2 + (sign != 0), "endraw");
		char end_sign = end ? sign_at(l, end) : 0;
		if (!end || !here(l, end + (end_sign != 0), "%}"))
			continue;
		add_data(l, from, sign, false);
		end_tag(l, end + 2 + (end_sign != 0), end_sign, false);
		return true;
	}
}

static bool is_name_byte(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9') ||
		   (unsigned char)c >= 0x80;
}

static bool is_digit(const lexer *l, size_t at) { return at < l->n && l->text[at] >= '0' && l->text[at] <= '9'; }

static size_t skip_digits(const lexer *l, size_t at)
{
	while (is_digit(l, at) || (at < l->n && l->text[at] == '_' && is_digit(l, at + 1)))
		at++;
	return at;
}

static void take_number(lexer *l)
{
	size_t end = skip_digits(l, l->at), exponent;
	bool whole = true;
	if (l->at == 0 || l->text[l->at - 1] != '.') { /* a.0.1 has two integers */
		if (here(l, end, ".") && is_digit(l, end + 1)) {
			end = skip_digits(l, end + 1);
			whole = false;
		}
		exponent = end + 1 + (here(l, end + 1, "+") || here(l, end + 1, "-"));
		if ((here(l, end, "e") || here(l, end, "E")) && is_digit(l, exponent)) {
			end = skip_digits(l, exponent);
			whole = false;
		}
	}
	add(l, whole ? TOKEN_INTEGER : TOKEN_FLOAT, l->at, end);
	move_to(l, end);
}

static void take_string(lexer *l)
{
	char quote = l->text[l->at];
	size_t end = l->at + 1;
	while (end < l->n && l->text[end] != quote)
		end += l->text[end] == '\\' ? 2 : 1;
	if (end >= l->n)
		evn_j_fail(l->run, EVN_ERR_FORMAT, "a string without its end %c", quote);
	add(l, TOKEN_STRING, l->at + 1, end);
	move_to(l, end + 1);
}

static void match_bracket(lexer *l, char c)
{
	char closing = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
	if (closing && l->n_open == sizeof l->open)
		evn_j_fail(l->run, EVN_ERR_LIMIT, "nested more than %d levels deep", EVN_J_MAX_NESTING);
	if (closing)
		l->open[l->n_open++] = closing;
	else if ((c == ')' || c == ']' || c == '}') && (l->n_open == 0 || l->open[--l->n_open] != c))
		evn_j_fail(l->run, EVN_ERR_FORMAT, "unexpected '%c'", c);
}

static void take_operator(lexer *l)
{
	static const char *const operators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
											"]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
	for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
		if (here(l, l->at, operators[i])) {
			match_bracket(l, *operators[i]);
			add(l, TOKEN_OPERATOR, l->at, l->at + strlen(operators[i]));
			move_to(l, l->at + strlen(operators[i]));
			return;
		}
	size_t length;
	const jstring s = {l->text, NULL, l->n};
	evn_j_character(&s, l->at, &length);
	evn_j_fail(l->run, EVN_ERR_FORMAT, "unexpected character '%.*s'", (int)length, l->text + l->at);
}

/* Takes the end of a block or an output, if it is here. */
static bool take_end(lexer *l, bool is_output)
{
	char sign = sign_at(l, l->at);
	if (l->n_open > 0 || (is_output && sign == '+') || !here(l, l->at + (sign != 0), is_output ? "}}" : "%}"))
		return false;
	add(l, is_output ? TOKEN_OUTPUT_END : TOKEN_BLOCK_END, l->at, l->at + 2 + (sign != 0));
	end_tag(l, l->at + 2 + (sign != 0), sign, is_output);
	return true;
}

static void take_tag(lexer *l, bool is_output)
{
	uint32_t line = l->line;
	size_t begin = l->at;
	add(l, is_output ? TOKEN_OUTPUT_BEGIN : TOKEN_BLOCK_BEGIN, begin, begin + 2);
	move_to(l, begin + 2 + (sign_at(l, begin + 2) != 0));
	for (;;) {
		move_to(l, skip_space(l, l->at));
		l->run->line = l->line;
		if (l->at >= l->n) {
			l->run->line = line;
			evn_j_fail(l->run, EVN_ERR_FORMAT, "%s without its end '%s'", is_output ? "'{{'" : "'{%'",
					   is_output ? "}}" : "%}");
		}
		if (take_end(l, is_output))
			return;
		char c = l->text[l->at];
		if (is_name_byte(c, true)) {
			size_t end = l->at;
			while (end < l->n && is_name_byte(l->text[end], false))
				end++;
			add(l, TOKEN_NAME, l->at, end);
			move_to(l, end);
		} else if (c >= '0' && c <= '9') {
			take_number(l);
		} else if (c == '"' || c == '\'') {
			take_string(l);
		} else {
			take_operator(l);
		}
	}
}

/* The next "{{", "{%" or "{#"; l->n: none. */
static size_t next_tag(const lexer *l)
{
	for (size_t at = l->at; at + 1 < l->n; at++) {
		const char *brace = memchr(l->text + at, '{', l->n - 1 - at);
		if (!brace)
			break;
		at = (size_t)(brace - l->text);
		if (strchr("{%#", brace[1]) && brace[1])
			return at;
	}
	return l->n;
}

/* Line ends become \n, and one at the end of the template is dropped. */
static void copy_source(lexer *l, const char *source, size_t n)
{
	char *text = evn_j_alloc(l->run, n + 1, 1);
	for (size_t at = 0, length, whole; at < n; at += length) {
		length = evn_utf8_prefix(source + at, n - at, &whole);
		l->run->line = l->line;
		if (length == 0 || length < whole)
			evn_j_fail(l->run, EVN_ERR_FORMAT, "not UTF-8: byte 0x%02x", (unsigned char)source[at]);
		bool carriage = source[at] == '\r';
		if (carriage && at + 1 < n && source[at + 1] == '\n')
			continue;
		memcpy(text + l->n, source + at, length);
		if (carriage)
			text[l->n] = '\n';
		l->line += text[l->n] == '\n';
		l->n += length;
	}
	l->n -= l->n > 0 && text[l->n - 1] == '\n';
	l->text = text;
	l->line = 1;
}

const jtoken *evn_j_lex(jrun *r, const char *source, size_t n)
{
	lexer l = {.run = r, .line = 1, .line_begins = true};
	if (n > EVN_J_MAX_TEMPLATE)
		evn_j_fail(r, EVN_ERR_LIMIT, "%zu bytes, expected at most %u", n, EVN_J_MAX_TEMPLATE);
	copy_source(&l, source, n);
	while (l.at < l.n) {
		size_t tag = next_tag(&l);
		bool is_output = here(&l, tag, "{{");
		r->line = l.line;
		add_data(&l, tag, tag < l.n ? sign_at(&l, tag + 2) : '+', is_output);
		if (tag == l.n)
			break;
		if (here(&l, tag, "{#"))
			skip_comment(&l);
		else if (is_output || !take_raw(&l))
			take_tag(&l, is_output);
	}
	add(&l, TOKEN_END, l.n, l.n);
	return l.tokens;
}
