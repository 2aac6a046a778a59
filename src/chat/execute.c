/* execute.c - runs statements. Scopes are those of Jinja2: each pass of a loop, each macro and each captured block
 * has one of its own, `if` has none. */
#include "chat/jinja.h"

typedef enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

static flow execute_list(jrun *r, const jnode *list);

static jscope *new_scope(jrun *r, jscope *parent)
{
	jscope *s = evn_j_alloc(r, 1, sizeof *s);
	s->parent = parent;
	return s;
}

static void assign_name(jrun *r, const jstring *name, jvalue v)
{
	evn_j_spend(r, r->scope->names.n / 8);
	jdict *names = &r->scope->names;
	for (size_t i = 0; i < names->n; i++)
		if (evn_j_same(names->pairs[i].key.string, name)) {
			names->pairs[i].value = v;
			return;
		}
	evn_j_put_new(r, names, j_string(name), v);
}

static void assign(jrun *r, const jnode *target, jvalue v)
{
	if (target->kind == N_NAME) {
		assign_name(r, target->name, v);
		return;
	}
	if (target->kind == N_ATTR) {
		jvalue holder = evn_j_eval(r, target->a);
		if (holder.kind != J_NAMESPACE)
			evn_j_fail(r, EVN_ERR_FORMAT, "cannot set an attribute of '%s', expected a namespace",
					   evn_j_type(holder));
		evn_j_put(r, holder.dict, j_string(target->name), v);
		return;
	}
	const jlist *items = evn_j_iterate(r, v);
	size_t n = 0, i = 0;
	for (const jnode *t = target->list; t; t = t->next)
		n++;
	if (items->n != n)
		evn_j_fail(r, EVN_ERR_FORMAT, "%zu values for %zu names", items->n, n);
	for (const jnode *t = target->list; t; t = t->next)
		assign_name(r, t->name, items->items[i++]);
}

/* The items of a loop for which its condition holds. */
static const jlist *loop_items(jrun *r, const jnode *n)
{
	const jlist *all = evn_j_iterate(r, evn_j_eval(r, n->b));
	if (!n->c)
		return all;
	jscope *outer = r->scope;
	jlist *some = evn_j_new_list(r, 0);
	for (size_t i = 0; i < all->n; i++) {
		r->scope = new_scope(r, outer);
		assign(r, n->a, all->items[i]);
		if (evn_j_true(evn_j_eval(r, n->c)))
			evn_j_push(r, some, all->items[i]);
	}
	r->scope = outer;
	return some;
}

static flow execute_for(jrun *r, const jnode *n)
{
	static const jstring loop_name = {"loop", NULL, 4};
	jscope *outer = r->scope;
	jloop *loop = evn_j_alloc(r, 1, sizeof *loop);
	loop->items = loop_items(r, n);
	loop->depth = 1;
	for (size_t i = 0; i < loop->items->n; i++) {
		evn_j_spend(r, 1);
		loop->index = i;
		r->scope = new_scope(r, outer);
		assign_name(r, &loop_name, (jvalue){.kind = J_LOOP, .loop = loop});
		assign(r, n->a, loop->items->items[i]);
		if (execute_list(r, n->list) == FLOW_BREAK)
			break;
	}
	flow f = FLOW_ON; /* of the loop that this one is in */
	if (loop->items->n == 0) {
		r->scope = new_scope(r, outer);
		f = execute_list(r, n->others);
	}
	r->scope = outer;
	return f;
}

/* The output of the statements, in a scope of their own. */
static const jstring *capture(jrun *r, const jnode *list, jscope *scope)
{
	jout o = {0}, *out = r->out;
	jscope *outer = r->scope;
	r->out = &o;
	r->scope = scope;
	execute_list(r, list);
	r->scope = outer;
	r->out = out;
	return evn_j_finish(r, &o);
}

static void execute_capture(jrun *r, const jnode *n)
{
	jvalue outer = r->captured;
	jvalue text = j_string(capture(r, n->list, new_scope(r, r->scope)));
	r->captured = text;
	text = evn_j_eval(r, n->b);
	r->captured = outer;
	if (n->a)
		assign(r, n->a, text);
	else
		evn_j_print(r, r->out, text);
}

static void define_macro(jrun *r, const jnode *n)
{
	jcallable *c = evn_j_alloc(r, 1, sizeof *c);
	char *name = evn_j_alloc(r, n->name->n + 1, 1);
	for (size_t i = 0; i < n->name->n; i++)
		name[i] = n->name->bytes[i];
	*c = (jcallable){.name = name, .self = j_none(), .macro = n, .scope = r->scope};
	assign_name(r, n->name, (jvalue){.kind = J_CALLABLE, .callable = c});
}

static jvalue argument(jrun *r, const jnode *parameter, const jargs *a, size_t place)
{
	jvalue v = j_none();
	bool given = place < a->n;
	if (given)
		v = a->values[place];
	for (size_t k = 0; k < a->n_keywords; k++)
		if (evn_j_same(a->keywords[k].key.string, parameter->name)) {
			v = a->keywords[k].value;
			given = true;
		}
	if (given)
		return v;
	return parameter->a ? evn_j_eval(r, parameter->a)
						: evn_j_undefined(r, "parameter '%.*s' was not provided", J_SHOW(parameter->name));
}

static void check_arguments(jrun *r, const jcallable *c, const jargs *a)
{
	size_t n = 0;
	for (const jnode *p = c->macro->others; p; p = p->next)
		n++;
	if (a->n > n)
		evn_j_fail(r, EVN_ERR_FORMAT, "macro '%s': %zu arguments, expected at most %zu", c->name, a->n, n);
	for (size_t k = 0; k < a->n_keywords; k++) {
		const jnode *p = c->macro->others;
		while (p && !evn_j_same(a->keywords[k].key.string, p->name))
			p = p->next;
		if (!p)
			evn_j_fail(r, EVN_ERR_FORMAT, "macro '%s': unexpected argument '%.*s'", c->name,
					   J_SHOW(a->keywords[k].key.string));
	}
}

jvalue evn_j_call_macro(jrun *r, const jcallable *c, const jargs *a)
{
	jscope *outer = r->scope;
	size_t place = 0;
	evn_j_enter(r);
	check_arguments(r, c, a);
	r->scope = new_scope(r, c->scope);
	jscope *own = r->scope;
	for (const jnode *p = c->macro->others; p; p = p->next)
		assign_name(r, p->name, argument(r, p, a, place++));
	r->scope = outer;
	jvalue text = j_string(capture(r, c->macro->list, own));
	evn_j_leave(r);
	return text;
}

static flow execute_if(jrun *r, const jnode *n)
{
	for (const jnode *b = n->list; b; b = b->next)
		if (!b->a || evn_j_true(evn_j_eval(r, b->a)))
			return execute_list(r, b->list);
	return FLOW_ON;
}

static flow execute_scope(jrun *r, const jnode *n)
{
	jscope *outer = r->scope;
	r->scope = new_scope(r, outer);
	flow f = execute_list(r, n->list);
	r->scope = outer;
	return f;
}

static flow execute_statement(jrun *r, const jnode *n)
{
	switch (n->kind) {
	case N_TEXT:
		evn_j_append_all(r, r->out, n->value.string);
		return FLOW_ON;
	case N_OUTPUT:
		evn_j_print(r, r->out, evn_j_eval(r, n->a));
		return FLOW_ON;
	case N_FOR:
		return execute_for(r, n);
	case N_IF:
		return execute_if(r, n);
	case N_SET:
		assign(r, n->a, evn_j_eval(r, n->b));
		return FLOW_ON;
	case N_CAPTURE:
		execute_capture(r, n);
		return FLOW_ON;
	case N_MACRO:
		define_macro(r, n);
		return FLOW_ON;
	case N_SCOPE:
		return execute_scope(r, n);
	case N_BREAK:
		return FLOW_BREAK;
	default:
		return FLOW_CONTINUE;
	}
}

static flow execute_list(jrun *r, const jnode *list)
{
	flow f = FLOW_ON;
	evn_j_enter(r);
	for (; list && f == FLOW_ON; list = list->next) {
		r->line = list->line;
		evn_j_spend(r, 1);
		f = execute_statement(r, list);
	}
	evn_j_leave(r);
	return f;
}

void evn_j_execute(jrun *r, const jnode *list) { execute_list(r, list); }
