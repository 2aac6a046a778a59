/* eval.c - expressions: names, calls and their arguments, comparisons. */
#include "chat/jinja.h"

#include <string.h>

static jvalue look_up(jrun *r, const jstring *name)
{
	for (const jscope *s = r->scope; s; s = s->parent) {
		evn_j_spend(r, s->names.n / 8 + 1);
		const jvalue *v = evn_j_get_name(&s->names, name);
		if (v)
			return *v;
	}
	const jentry *e = evn_j_find_entry(evn_j_functions, name);
	if (!e)
		return evn_j_undefined(r, "'%.*s' is undefined", J_SHOW(name));
	jcallable *c = evn_j_alloc(r, 1, sizeof *c);
	*c = (jcallable){.name = e->name, .function = e->function, .self = j_none()};
	return (jvalue){.kind = J_CALLABLE, .callable = c};
}

static jlist *eval_all(jrun *r, const jnode *list)
{
	jlist *l = evn_j_new_list(r, 0);
	for (; list; list = list->next)
		evn_j_push(r, l, evn_j_eval(r, list));
	return l;
}

static jargs eval_arguments(jrun *r, const jnode *list)
{
	jlist *values = evn_j_new_list(r, 0);
	jdict *keywords = evn_j_new_dict(r);
	for (; list; list = list->next)
		if (list->kind == N_KEYWORD)
			evn_j_put(r, keywords, j_string(list->name), evn_j_eval(r, list->a));
		else
			evn_j_push(r, values, evn_j_eval(r, list));
	return (jargs){values->items, values->n, keywords->pairs, keywords->n};
}

void evn_j_bind(jrun *r, const jargs *a, const jparameters *p, jvalue *values)
{
	size_t n = 0;
	while (n < sizeof p->names / sizeof *p->names && p->names[n])
		n++;
	if (a->n > n)
		evn_j_fail(r, EVN_ERR_FORMAT, "%s: %zu arguments, expected at most %zu", p->function, a->n, n);
	for (size_t i = 0; i < a->n; i++)
		values[i] = a->values[i];
	for (size_t k = 0; k < a->n_keywords; k++) {
		const jstring *name = a->keywords[k].key.string;
		size_t i = 0;
		while (i < n && !evn_j_is(name, p->names[i]))
			i++;
		if (i == n)
			evn_j_fail(r, EVN_ERR_FORMAT, "%s: unexpected argument '%.*s'", p->function, J_SHOW(name));
		values[i] = a->keywords[k].value;
	}
	for (size_t i = 0; i < n; i++)
		if (values[i].kind == J_MISSING)
			evn_j_fail(r, EVN_ERR_FORMAT, "%s: no argument '%s'", p->function, p->names[i]);
}

const jstring *evn_j_need_string(jrun *r, jvalue v, const char *what)
{
	if (v.kind != J_STRING)
		evn_j_fail(r, EVN_ERR_FORMAT, "%s: expected a string, found %s", what, evn_j_type(v));
	return v.string;
}

int64_t evn_j_need_int(jrun *r, jvalue v, const char *what)
{
	if (!j_is_whole(v))
		evn_j_fail(r, EVN_ERR_FORMAT, "%s: expected an integer, found %s", what, evn_j_type(v));
	return j_whole(v);
}

jvalue evn_j_call(jrun *r, jvalue callee, const jargs *a)
{
	if (callee.kind == J_UNDEFINED)
		evn_j_fail_undefined(r, callee);
	if (callee.kind != J_CALLABLE)
		evn_j_fail(r, EVN_ERR_FORMAT, "'%s' object is not callable", evn_j_type(callee));
	const jcallable *c = callee.callable;
	return c->function ? c->function(r, c->self, a) : evn_j_call_macro(r, c, a);
}

jvalue evn_j_apply_filter(jrun *r, const jstring *name, jvalue v, const jargs *a)
{
	const jentry *e = evn_j_find_entry(evn_j_filters, name);
	if (!e)
		e = evn_j_find_entry(evn_j_list_filters, name);
	if (!e)
		evn_j_fail(r, EVN_ERR_FORMAT, "no filter named '%.*s'", J_SHOW(name));
	return e->function(r, v, a);
}

bool evn_j_apply_test(jrun *r, const jstring *name, jvalue v, const jargs *a)
{
	const jentry *e = evn_j_find_entry(evn_j_tests, name);
	if (!e)
		evn_j_fail(r, EVN_ERR_FORMAT, "no test named '%.*s'", J_SHOW(name));
	return evn_j_true(e->function(r, v, a));
}

static bool eval_comparison(jrun *r, const jnode *n)
{
	jvalue left = evn_j_eval(r, n->a);
	for (const jnode *o = n->list; o; o = o->next) {
		jvalue right = evn_j_eval(r, o->a);
		if (!evn_j_compare_by(r, o->op, left, right))
			return false;
		left = right;
	}
	return true;
}

static jvalue eval_sign(jrun *r, const jnode *n)
{
	jvalue v = evn_j_eval(r, n->a);
	if (!j_is_number(v))
		evn_j_fail(r, EVN_ERR_FORMAT, "bad operand type for a sign: '%s'", evn_j_type(v));
	if (n->op == OP_ADD)
		return j_is_whole(v) ? j_int(j_whole(v)) : v;
	return v.kind == J_FLOAT ? j_float(-v.f) : evn_j_operate(r, OP_SUB, j_int(0), v);
}

static jvalue eval_slice(jrun *r, const jnode *n)
{
	jvalue v = evn_j_eval(r, n->a);
	const jnode *const nodes[] = {n->b, n->c, n->d};
	jvalue bounds[3];
	for (size_t i = 0; i < 3; i++)
		bounds[i] = nodes[i] ? evn_j_eval(r, nodes[i]) : j_none();
	return evn_j_slice(r, v, bounds);
}

static jvalue eval_dict(jrun *r, const jnode *n)
{
	jdict *d = evn_j_new_dict(r);
	for (const jnode *pair = n->list; pair; pair = pair->next) {
		jvalue key = evn_j_eval(r, pair->a);
		evn_j_put(r, d, key, evn_j_eval(r, pair->b));
	}
	return j_dict(d);
}

static jvalue eval_list(jrun *r, const jnode *n)
{
	jlist *l = eval_all(r, n->list);
	l->tuple = n->kind == N_TUPLE;
	return j_list(l);
}

static jvalue eval_call(jrun *r, const jnode *n)
{
	jvalue v = evn_j_eval(r, n->a);
	jargs a = eval_arguments(r, n->list);
	r->line = n->line;
	if (n->kind == N_FILTER)
		return evn_j_apply_filter(r, n->name, v, &a);
	return n->kind == N_TEST ? j_bool(evn_j_apply_test(r, n->name, v, &a)) : evn_j_call(r, v, &a);
}

static jvalue eval_condition(jrun *r, const jnode *n)
{
	if (evn_j_true(evn_j_eval(r, n->b)))
		return evn_j_eval(r, n->a);
	return n->c ? evn_j_eval(r, n->c)
				: evn_j_undefined(r, "the inline if-expression evaluated to false and no else section was defined");
}

static jvalue eval_node(jrun *r, const jnode *n)
{
	jvalue v;
	switch (n->kind) {
	case N_CONST:
		return n->value;
	case N_BODY:
		return r->captured;
	case N_NAME:
		return look_up(r, n->name);
	case N_NOT:
		return j_bool(!evn_j_true(evn_j_eval(r, n->a)));
	case N_AND:
	case N_OR:
		v = evn_j_eval(r, n->a);
		return evn_j_true(v) == (n->kind == N_AND) ? evn_j_eval(r, n->b) : v;
	case N_COND:
		return eval_condition(r, n);
	case N_COMPARE:
		return j_bool(eval_comparison(r, n));
	case N_LIST:
	case N_TUPLE:
		return eval_list(r, n);
	case N_DICT:
		return eval_dict(r, n);
	case N_SLICE:
		return eval_slice(r, n);
	case N_CALL:
	case N_FILTER:
	case N_TEST:
		return eval_call(r, n);
	case N_SIGN:
		return eval_sign(r, n);
	default:
		v = evn_j_eval(r, n->a);
	}
	if (n->kind == N_ATTR)
		return evn_j_attribute(r, v, n->name);
	jvalue second = evn_j_eval(r, n->b);
	r->line = n->line;
	return n->kind == N_ITEM ? evn_j_item(r, v, second) : evn_j_operate(r, n->op, v, second);
}

jvalue evn_j_eval(jrun *r, const jnode *n)
{
	evn_j_enter(r);
	r->line = n->line;
	jvalue v = eval_node(r, n);
	evn_j_leave(r);
	return v;
}
