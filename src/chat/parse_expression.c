/* parse_expression.c - expressions by recursive descent, with the precedence of Jinja2: if else, or, and, not,
 * comparisons, + and -, ~, the other operators, **, signs, and what follows a value: attributes, calls, filters,
 * tests. */
#include "chat/jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

jnode *evn_j_node(jparser *p, jnode_kind kind)
{
	jnode *n = evn_j_alloc(p->run, 1, sizeof *n);
	n->kind = kind;
	n->line = p->at->line;
	return n;
}

static jnode *with(jparser *p, jnode_kind kind, jnode *a)
{
	jnode *n = evn_j_node(p, kind);
	n->a = a;
	return n;
}

bool evn_j_token_is(const jtoken *t, const char *text)
{
	return (t->kind == TOKEN_NAME || t->kind == TOKEN_OPERATOR) && t->n == strlen(text) &&
		   memcmp(t->text, text, t->n) == 0;
}

bool evn_j_take(jparser *p, const char *text)
{
	bool is = evn_j_token_is(p->at, text);
	p->at += is;
	return is;
}

void evn_j_unexpected(jparser *p, const char *expected)
{
	const jtoken *t = p->at;
	p->run->line = t->line;
	if (t->kind == TOKEN_END)
		evn_j_fail(p->run, EVN_ERR_FORMAT, "expected %s, found the end of the template", expected);
	evn_j_fail(p->run, EVN_ERR_FORMAT, "expected %s, found '%.*s'", expected, (int)(t->n < 40 ? t->n : 40), t->text);
}

void evn_j_expect(jparser *p, const char *text)
{
	char expected[32] = "'";
	if (!evn_j_take(p, text))
		evn_j_unexpected(p, strcat(strncat(expected, text, sizeof expected - 3), "'"));
}

static const jstring *copy(jparser *p, const jtoken *t)
{
	jout o = {0};
	evn_j_append(p->run, &o, t->text, t->n);
	return evn_j_finish(p->run, &o);
}

const jstring *evn_j_expect_name(jparser *p, const char *what)
{
	if (p->at->kind != TOKEN_NAME)
		evn_j_unexpected(p, what);
	return copy(p, p->at++);
}

void evn_j_nest(jparser *p)
{
	if (p->nesting == EVN_J_MAX_NESTING) {
		p->run->line = p->at->line;
		evn_j_fail(p->run, EVN_ERR_LIMIT, "nested more than %d levels deep", EVN_J_MAX_NESTING);
	}
	p->nesting++;
}

/* ---- literals ------------------------------------------------------------------------------------------------ */

static size_t put_character(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(first[n] | c);
	return n;
}

/* The number of up to n digits at t->text[*at], which moves behind them. */
static uint32_t digits(const jtoken *t, size_t *at, size_t n, uint32_t base)
{
	uint32_t value = 0;
	for (; n > 0 && *at < t->n; n--, ++*at) {
		char c = t->text[*at];
		uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
						 : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
						 : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
												: 99;
		if (digit >= base)
			break;
		value = value * base + digit;
	}
	return value;
}

/* Writes what the escape behind a backslash at t->text[*at] stands for, at most 4 bytes. */
static size_t unescape(jparser *p, const jtoken *t, size_t *at, char *out)
{
	static const char from[] = "\\'\"nrtabfv", to[] = "\\'\"\n\r\t\a\b\f\v";
	char c = t->text[(*at)++];
	const char *known = c ? strchr(from, c) : NULL;
	uint32_t value;
	if (known) {
		out[0] = to[known - from];
		return 1;
	}
	if (c == '\n')
		return 0;
	if (c == 'x' || c == 'u' || c == 'U') {
		size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8, before = *at;
		value = digits(t, at, n, 16);
		if (*at - before != n || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
			p->run->line = t->line;
			evn_j_fail(p->run, EVN_ERR_FORMAT, "'\\%c' without a character's code of %zu digits", c, n);
		}
		return put_character(out, value);
	}
	if (c >= '0' && c <= '7') {
		--*at;
		return put_character(out, digits(t, at, 3, 8));
	}
	out[0] = '\\';
	out[1] = c;
	return 2;
}

static void append_literal(jparser *p, jout *o, const jtoken *t)
{
	char text[4];
	size_t done = 0;
	for (size_t at = 0; at < t->n;) {
		if (t->text[at] != '\\' || at + 1 == t->n) {
			at++;
			continue;
		}
		evn_j_append(p->run, o, t->text + done, at - done);
		at++;
		size_t n = unescape(p, t, &at, text);
		evn_j_append(p->run, o, text, n);
		done = at;
	}
	evn_j_append(p->run, o, t->text + done, t->n - done);
}

static jvalue number(jparser *p, const jtoken *t)
{
	char text[64];
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++) {
		if (n + 1 == sizeof text) {
			p->run->line = t->line;
			evn_j_fail(p->run, EVN_ERR_FORMAT, "a number of more than %zu digits", sizeof text - 1);
		}
		if (t->text[i] != '_')
			text[n++] = t->text[i];
	}
	text[n] = '\0';
	if (t->kind == TOKEN_FLOAT)
		return j_float(strtod(text, NULL));
	errno = 0;
	int64_t value = strtoll(text, NULL, 10);
	p->run->line = t->line;
	if (errno)
		evn_j_fail(p->run, EVN_ERR_FORMAT, "an integer of more than 64 bits");
	return j_int(value);
}

static jnode *parse_literal(jparser *p)
{
	jnode *n = evn_j_node(p, N_CONST);
	if (p->at->kind == TOKEN_STRING) { /* strings side by side are one */
		jout o = {0};
		while (p->at->kind == TOKEN_STRING)
			append_literal(p, &o, p->at++);
		n->value = j_string(evn_j_finish(p->run, &o));
	} else {
		n->value = number(p, p->at++);
	}
	return n;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static jnode *parse_name(jparser *p)
{
	static const struct {
		const char *name;
		jkind kind;
		bool b;
	} constants[] = {{"true", J_BOOL, true},   {"True", J_BOOL, true}, {"false", J_BOOL, false},
					 {"False", J_BOOL, false}, {"none", J_NONE, 0},    {"None", J_NONE, 0}};
	jnode *n = evn_j_node(p, N_NAME);
	for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
		if (evn_j_token_is(p->at, constants[i].name)) {
			n->kind = N_CONST;
			n->value = (jvalue){.kind = constants[i].kind, .b = constants[i].b};
			p->at++;
			return n;
		}
	n->name = evn_j_expect_name(p, "an expression");
	return n;
}

/* Expressions separated by commas, up to `end`, which is taken. */
static jnode *parse_list(jparser *p, const char *end)
{
	jnode *first = NULL, **last = &first;
	while (!evn_j_token_is(p->at, end)) {
		if (first) {
			evn_j_expect(p, ",");
			if (evn_j_token_is(p->at, end))
				break;
		}
		*last = evn_j_parse_expression(p);
		last = &(*last)->next;
	}
	evn_j_expect(p, end);
	return first;
}

static jnode *parse_dict(jparser *p)
{
	jnode *n = evn_j_node(p, N_DICT), **last = &n->list;
	while (!evn_j_token_is(p->at, "}")) {
		if (n->list) {
			evn_j_expect(p, ",");
			if (evn_j_token_is(p->at, "}"))
				break;
		}
		jnode *pair = with(p, N_PAIR, evn_j_parse_expression(p));
		evn_j_expect(p, ":");
		pair->b = evn_j_parse_expression(p);
		*last = pair;
		last = &pair->next;
	}
	evn_j_expect(p, "}");
	return n;
}

static jnode *parse_parentheses(jparser *p)
{
	jnode *n;
	if (evn_j_take(p, ")"))
		return evn_j_node(p, N_TUPLE);
	n = evn_j_parse_tuple(p, true);
	evn_j_expect(p, ")");
	return n;
}

static jnode *parse_primary(jparser *p)
{
	jnode *n;
	switch (p->at->kind) {
	case TOKEN_STRING:
	case TOKEN_INTEGER:
	case TOKEN_FLOAT:
		return parse_literal(p);
	case TOKEN_NAME:
		return parse_name(p);
	default:
		break;
	}
	if (evn_j_take(p, "("))
		return parse_parentheses(p);
	if (evn_j_take(p, "[")) {
		n = evn_j_node(p, N_LIST);
		n->list = parse_list(p, "]");
		return n;
	}
	if (evn_j_take(p, "{"))
		return parse_dict(p);
	evn_j_unexpected(p, "an expression");
}

/* ---- what follows a value ------------------------------------------------------------------------------------ */

static jnode *parse_arguments(jparser *p)
{
	jnode *first = NULL, **last = &first;
	while (!evn_j_token_is(p->at, ")")) {
		if (first) {
			evn_j_expect(p, ",");
			if (evn_j_token_is(p->at, ")"))
				break;
		}
		if (p->at->kind == TOKEN_NAME && evn_j_token_is(p->at + 1, "=")) {
			jnode *n = evn_j_node(p, N_KEYWORD);
			n->name = evn_j_expect_name(p, "a name");
			p->at++;
			n->a = evn_j_parse_expression(p);
			*last = n;
		} else {
			*last = evn_j_parse_expression(p);
		}
		last = &(*last)->next;
	}
	evn_j_expect(p, ")");
	return first;
}

/* Behind "[": an item or a slice. */
static jnode *parse_subscript(jparser *p, jnode *value)
{
	jnode *n = with(p, N_ITEM, value), **parts[] = {&n->b, &n->c, &n->d};
	size_t i = 0;
	while (!evn_j_token_is(p->at, "]")) {
		if (evn_j_token_is(p->at, ":")) {
			n->kind = N_SLICE;
			if (++i == 3)
				evn_j_unexpected(p, "']'");
			p->at++;
		} else {
			if (*parts[i])
				evn_j_unexpected(p, "']'");
			*parts[i] = evn_j_parse_tuple(p, true);
		}
	}
	if (n->kind == N_ITEM && !n->b)
		evn_j_unexpected(p, "an expression");
	evn_j_expect(p, "]");
	return n;
}

static jnode *parse_dot(jparser *p, jnode *value)
{
	jnode *n = with(p, N_ATTR, value);
	if (p->at->kind == TOKEN_INTEGER) {
		n->kind = N_ITEM;
		n->b = parse_literal(p);
		return n;
	}
	n->name = evn_j_expect_name(p, "a name");
	return n;
}

static jnode *parse_postfix(jparser *p, jnode *value)
{
	for (;;) {
		if (evn_j_take(p, ".")) {
			value = parse_dot(p, value);
		} else if (evn_j_take(p, "[")) {
			value = parse_subscript(p, value);
		} else if (evn_j_take(p, "(")) {
			value = with(p, N_CALL, value);
			value->list = parse_arguments(p);
		} else {
			return value;
		}
	}
}

static jnode *parse_filter(jparser *p, jnode *value)
{
	jnode *n = with(p, N_FILTER, value);
	n->name = evn_j_expect_name(p, "the name of a filter");
	if (evn_j_take(p, "("))
		n->list = parse_arguments(p);
	return n;
}

/* A test may have one argument without brackets: "x is divisibleby 3". */
static bool begins_argument(const jtoken *t)
{
	static const char *const others[] = {"else", "or", "and", "if", "is", "in", "not"};
	if (t->kind == TOKEN_NAME) {
		for (size_t i = 0; i < sizeof others / sizeof *others; i++)
			if (evn_j_token_is(t, others[i]))
				return false;
		return true;
	}
	return t->kind == TOKEN_STRING || t->kind == TOKEN_INTEGER || t->kind == TOKEN_FLOAT || evn_j_token_is(t, "[") ||
		   evn_j_token_is(t, "{");
}

static jnode *parse_test(jparser *p, jnode *value)
{
	jnode *n = with(p, N_TEST, value);
	bool negated = evn_j_take(p, "not");
	n->name = evn_j_expect_name(p, "the name of a test");
	if (evn_j_take(p, "("))
		n->list = parse_arguments(p);
	else if (evn_j_is(n->name, "in") || begins_argument(p->at))
		n->list = parse_postfix(p, parse_primary(p));
	return negated ? with(p, N_NOT, n) : n;
}

static jnode *parse_filters_and_tests(jparser *p, jnode *value)
{
	for (;;) {
		if (evn_j_take(p, "|")) {
			value = parse_filter(p, value);
		} else if (evn_j_take(p, "is")) {
			value = parse_test(p, value);
		} else if (evn_j_take(p, "(")) {
			value = with(p, N_CALL, value);
			value->list = parse_arguments(p);
		} else {
			return value;
		}
	}
}

jnode *evn_j_parse_filters(jparser *p, jnode *n)
{
	while (evn_j_take(p, "|"))
		n = parse_filter(p, n);
	return n;
}

/* ---- operators ----------------------------------------------------------------------------------------------- */

static jnode *parse_unary(jparser *p, bool with_filters)
{
	jnode *n;
	jop sign = evn_j_token_is(p->at, "-") ? OP_SUB : evn_j_token_is(p->at, "+") ? OP_ADD : OP_NONE;
	evn_j_nest(p);
	if (sign) {
		n = evn_j_node(p, N_SIGN);
		n->op = sign;
		p->at++;
		n->a = parse_unary(p, false);
	} else {
		n = parse_primary(p);
	}
	n = parse_postfix(p, n);
	p->nesting--;
	return with_filters ? parse_filters_and_tests(p, n) : n;
}

typedef struct {
	const char *symbol;
	jop op;
	int level;
} binary_operator;

static const binary_operator binary_operators[] = {
	{"+", OP_ADD, 0}, {"-", OP_SUB, 0},        {"~", OP_CONCAT, 1}, {"*", OP_MUL, 2},
	{"/", OP_DIV, 2}, {"//", OP_FLOOR_DIV, 2}, {"%", OP_MOD, 2},    {"**", OP_POW, 3},
};

static jop operator_here(const jparser *p, int level)
{
	for (size_t i = 0; i < sizeof binary_operators / sizeof *binary_operators; i++)
		if (binary_operators[i].level == level && evn_j_token_is(p->at, binary_operators[i].symbol))
			return binary_operators[i].op;
	return OP_NONE;
}

/* All operators associate to the left. */
static jnode *parse_binary(jparser *p, int level)
{
	jnode *n = level == 4 ? parse_unary(p, true) : parse_binary(p, level + 1);
	for (jop op; level < 4 && (op = operator_here(p, level)) != OP_NONE;) {
		jnode *whole = with(p, N_BINARY, n);
		whole->op = op;
		p->at++;
		whole->b = parse_binary(p, level + 1);
		n = whole;
	}
	return n;
}

static jop take_comparison(jparser *p)
{
	static const struct {
		const char *symbol;
		jop op;
	} comparisons[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE},
					   {">", OP_GT},  {">=", OP_GE}, {"in", OP_IN}};
	for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++)
		if (evn_j_take(p, comparisons[i].symbol))
			return comparisons[i].op;
	if (evn_j_token_is(p->at, "not") && evn_j_token_is(p->at + 1, "in")) {
		p->at += 2;
		return OP_NOT_IN;
	}
	return OP_NONE;
}

static jnode *parse_comparison(jparser *p)
{
	jnode *n = parse_binary(p, 0), *whole = NULL, **last = NULL;
	for (jop op; (op = take_comparison(p)) != OP_NONE;) {
		if (!whole) {
			whole = with(p, N_COMPARE, n);
			last = &whole->list;
		}
		*last = evn_j_node(p, N_OPERAND);
		(*last)->op = op;
		(*last)->a = parse_binary(p, 0);
		last = &(*last)->next;
	}
	return whole ? whole : n;
}

static jnode *parse_not(jparser *p)
{
	if (!evn_j_token_is(p->at, "not"))
		return parse_comparison(p);
	jnode *n = evn_j_node(p, N_NOT);
	p->at++;
	evn_j_nest(p);
	n->a = parse_not(p);
	p->nesting--;
	return n;
}

static jnode *parse_logic(jparser *p, bool is_or)
{
	jnode *n = is_or ? parse_logic(p, false) : parse_not(p);
	while (evn_j_take(p, is_or ? "or" : "and")) {
		n = with(p, is_or ? N_OR : N_AND, n);
		n->b = is_or ? parse_logic(p, false) : parse_not(p);
	}
	return n;
}

jnode *evn_j_parse_expression(jparser *p)
{
	evn_j_nest(p);
	jnode *n = parse_logic(p, true);
	while (evn_j_take(p, "if")) {
		n = with(p, N_COND, n);
		n->b = parse_logic(p, true);
		if (evn_j_take(p, "else"))
			n->c = evn_j_parse_expression(p);
	}
	p->nesting--;
	return n;
}

static bool ends_tuple(const jtoken *t)
{
	return t->kind == TOKEN_BLOCK_END || t->kind == TOKEN_OUTPUT_END || t->kind == TOKEN_END ||
		   evn_j_token_is(t, ")") || evn_j_token_is(t, "]") || evn_j_token_is(t, "if") || evn_j_token_is(t, ":");
}

jnode *evn_j_parse_tuple(jparser *p, bool conditions)
{
	jnode *first = conditions ? evn_j_parse_expression(p) : parse_logic(p, true), **last = &first->next;
	if (!evn_j_token_is(p->at, ","))
		return first;
	jnode *n = evn_j_node(p, N_TUPLE);
	n->list = first;
	while (evn_j_take(p, ",") && !ends_tuple(p->at)) {
		*last = conditions ? evn_j_parse_expression(p) : parse_logic(p, true);
		last = &(*last)->next;
	}
	return n;
}

jnode *evn_j_parse_target(jparser *p)
{
	jnode *first = NULL, **last = &first, *n = evn_j_node(p, N_TUPLE);
	bool brackets = evn_j_take(p, "("), comma = false;
	do {
		if (comma && p->at->kind != TOKEN_NAME)
			break;
		*last = evn_j_node(p, N_NAME);
		(*last)->name = evn_j_expect_name(p, "a name");
		last = &(*last)->next;
		comma = evn_j_token_is(p->at, ",");
	} while (evn_j_take(p, ","));
	if (brackets)
		evn_j_expect(p, ")");
	n->list = first;
	return first->next || comma ? n : first;
}
