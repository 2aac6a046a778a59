/* parse.c - statements: the blocks of a template. */
#include "chat/jinja.h"

#include <stdio.h>
#include <string.h>

/* Statements up to a block whose name is in `ends` (NULL-terminated); the parser then stands at that name. */
static jnode *parse_until(jparser *p, const char *opening, const char *const *ends);

static void expect_block_end(jparser *p)
{
	if (p->at->kind != TOKEN_BLOCK_END)
		evn_j_unexpected(p, "'%}'");
	p->at++;
}

static void take_end(jparser *p, const char *name)
{
	evn_j_expect(p, name);
	expect_block_end(p);
}

static jnode *parse_for(jparser *p)
{
	jnode *n = evn_j_node(p, N_FOR);
	n->a = evn_j_parse_target(p);
	evn_j_expect(p, "in");
	n->b = evn_j_parse_tuple(p, false);
	if (evn_j_take(p, "if"))
		n->c = evn_j_parse_expression(p);
	if (evn_j_token_is(p->at, "recursive"))
		evn_j_fail(p->run, EVN_ERR_FORMAT, "recursive loops are not supported");
	expect_block_end(p);
	p->loops++;
	n->list = parse_until(p, "for", (const char *const[]){"else", "endfor", NULL});
	p->loops--;
	if (evn_j_take(p, "else")) {
		expect_block_end(p);
		n->others = parse_until(p, "for", (const char *const[]){"endfor", NULL});
	}
	take_end(p, "endfor");
	return n;
}

static jnode *parse_if(jparser *p)
{
	jnode *n = evn_j_node(p, N_IF), **last = &n->list;
	bool has_else = false;
	do {
		jnode *branch = evn_j_node(p, N_BRANCH);
		if (!has_else)
			branch->a = evn_j_parse_tuple(p, true);
		expect_block_end(p);
		branch->list = has_else ? parse_until(p, "if", (const char *const[]){"endif", NULL})
								: parse_until(p, "if", (const char *const[]){"elif", "else", "endif", NULL});
		*last = branch;
		last = &branch->next;
		has_else = evn_j_take(p, "else");
	} while (has_else || evn_j_take(p, "elif"));
	take_end(p, "endif");
	return n;
}

static jnode *parse_set(jparser *p)
{
	jnode *n = evn_j_node(p, N_SET);
	if (evn_j_token_is(p->at + 1, ".")) {
		n->a = evn_j_node(p, N_ATTR);
		n->a->a = evn_j_node(p, N_NAME);
		n->a->a->name = evn_j_expect_name(p, "a name");
		p->at++;
		n->a->name = evn_j_expect_name(p, "a name");
	} else {
		n->a = evn_j_parse_target(p);
	}
	if (evn_j_take(p, "=")) {
		n->b = evn_j_parse_tuple(p, true);
		expect_block_end(p);
		return n;
	}
	n->kind = N_CAPTURE;
	n->b = evn_j_parse_filters(p, evn_j_node(p, N_BODY));
	expect_block_end(p);
	n->list = parse_until(p, "set", (const char *const[]){"endset", NULL});
	take_end(p, "endset");
	return n;
}

/* {% filter upper %} ... {% endfilter %} */
static jnode *parse_filter_block(jparser *p)
{
	jnode *n = evn_j_node(p, N_CAPTURE), *filter = evn_j_node(p, N_FILTER);
	filter->a = evn_j_node(p, N_BODY);
	filter->name = evn_j_expect_name(p, "the name of a filter");
	n->b = evn_j_parse_filters(p, filter);
	expect_block_end(p);
	n->list = parse_until(p, "filter", (const char *const[]){"endfilter", NULL});
	take_end(p, "endfilter");
	return n;
}

static jnode *parse_macro(jparser *p)
{
	jnode *n = evn_j_node(p, N_MACRO), **last = &n->others;
	unsigned loops = p->loops;
	n->name = evn_j_expect_name(p, "the name of a macro");
	evn_j_expect(p, "(");
	while (!evn_j_token_is(p->at, ")")) {
		if (n->others)
			evn_j_expect(p, ",");
		jnode *parameter = evn_j_node(p, N_KEYWORD);
		parameter->name = evn_j_expect_name(p, "the name of a parameter");
		if (evn_j_take(p, "="))
			parameter->a = evn_j_parse_expression(p);
		*last = parameter;
		last = &parameter->next;
	}
	evn_j_expect(p, ")");
	expect_block_end(p);
	p->loops = 0;
	n->list = parse_until(p, "macro", (const char *const[]){"endmacro", NULL});
	p->loops = loops;
	evn_j_expect(p, "endmacro");
	if (p->at->kind == TOKEN_NAME) /* the macro's name may stand there */
		p->at++;
	expect_block_end(p);
	return n;
}

static jnode *parse_generation(jparser *p)
{
	jnode *n = evn_j_node(p, N_SCOPE);
	expect_block_end(p);
	n->list = parse_until(p, "generation", (const char *const[]){"endgeneration", NULL});
	take_end(p, "endgeneration");
	return n;
}

static jnode *parse_jump(jparser *p, jnode_kind kind)
{
	jnode *n = evn_j_node(p, kind);
	p->run->line = n->line;
	if (p->loops == 0)
		evn_j_fail(p->run, EVN_ERR_FORMAT, "%s outside of a loop", kind == N_BREAK ? "break" : "continue");
	expect_block_end(p);
	return n;
}

static jnode *parse_break(jparser *p) { return parse_jump(p, N_BREAK); }
static jnode *parse_continue(jparser *p) { return parse_jump(p, N_CONTINUE); }

static jnode *parse_block(jparser *p)
{
	static const struct {
		const char *name;
		jnode *(*parse)(jparser *p);
	} blocks[] = {{"for", parse_for},
				  {"if", parse_if},
				  {"set", parse_set},
				  {"macro", parse_macro},
				  {"break", parse_break},
				  {"continue", parse_continue},
				  {"filter", parse_filter_block},
				  {"generation", parse_generation}};
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
		if (evn_j_take(p, blocks[i].name))
			return blocks[i].parse(p);
	evn_j_unexpected(p, "for, if, set, macro, break, continue, filter or generation");
}

static jnode *parse_statement(jparser *p)
{
	jnode *n;
	switch (p->at->kind) {
	case TOKEN_DATA:
		n = evn_j_node(p, N_TEXT);
		jstring *text = evn_j_alloc(p->run, 1, sizeof *text);
		*text = (jstring){p->at->text, NULL, p->at->n};
		n->value = j_string(text);
		p->at++;
		return n;
	case TOKEN_OUTPUT_BEGIN:
		n = evn_j_node(p, N_OUTPUT);
		p->at++;
		n->a = evn_j_parse_tuple(p, true);
		if (p->at->kind != TOKEN_OUTPUT_END)
			evn_j_unexpected(p, "'}}'");
		p->at++;
		return n;
	default:
		p->at++;
		return parse_block(p);
	}
}

static bool is_end(const jparser *p, const char *const *ends)
{
	for (; p->at->kind == TOKEN_BLOCK_BEGIN && *ends; ends++)
		if (evn_j_token_is(p->at + 1, *ends))
			return true;
	return false;
}

static jnode *parse_until(jparser *p, const char *opening, const char *const *ends)
{
	jnode *first = NULL, **last = &first;
	uint32_t line = p->at[-1].line; /* of the block's end */
	evn_j_nest(p);
	while (!is_end(p, ends)) {
		if (p->at->kind == TOKEN_END) {
			char expected[64];
			snprintf(expected, sizeof expected, "the end of the '%s' in line %u", opening, line);
			evn_j_unexpected(p, expected);
		}
		*last = parse_statement(p);
		last = &(*last)->next;
	}
	p->nesting--;
	p->at++;
	return first;
}

jnode *evn_j_parse(jrun *r, const jtoken *tokens)
{
	jparser p = {.run = r, .at = tokens};
	jnode *first = NULL, **last = &first;
	while (p.at->kind != TOKEN_END) {
		*last = parse_statement(&p);
		last = &(*last)->next;
	}
	return first;
}
