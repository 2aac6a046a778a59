/* template.c - a run from the text of a template to its output. */
#include "chat/template.h"
#include "chat/jinja.h"

#include <stdlib.h>
#include <string.h>

static jvalue from_json(jrun *r, const json_t *j, bool foreign);

static jvalue string_from(jrun *r, const char *text, size_t n, bool foreign)
{
	jstring *s = evn_j_alloc(r, 1, sizeof *s);
	if (n > EVN_J_MAX_TEXT)
		evn_j_fail(r, EVN_ERR_LIMIT, "a text of more than %u MiB", EVN_J_MAX_TEXT >> 20);
	char *bytes = evn_j_alloc(r, n + 1, 1);
	uint8_t *marks = foreign ? evn_j_alloc(r, n + 1, 1) : NULL;
	memcpy(bytes, text, n);
	if (marks)
		memset(marks, 1, n);
	*s = (jstring){bytes, marks, n};
	return j_string(s);
}

static jvalue dict_from(jrun *r, const json_t *j, bool foreign)
{
	jdict *d = evn_j_new_dict(r);
	for (void *i = json_object_iter((json_t *)j); i; i = json_object_iter_next((json_t *)j, i)) {
		const char *key = json_object_iter_key(i);
		evn_j_put_new(r, d, string_from(r, key, strlen(key), foreign),
					  from_json(r, json_object_iter_value(i), foreign));
	}
	return j_dict(d);
}

static jvalue from_json(jrun *r, const json_t *j, bool foreign)
{
	jvalue v;
	if (r->depth == EVN_J_MAX_NESTING)
		evn_j_fail(r, EVN_ERR_LIMIT, "JSON nested more than %d levels deep", EVN_J_MAX_NESTING);
	evn_j_enter(r);
	switch (json_typeof(j)) {
	case JSON_STRING:
		v = string_from(r, json_string_value(j), json_string_length(j), foreign);
		break;
	case JSON_OBJECT:
		v = dict_from(r, j, foreign);
		break;
	case JSON_ARRAY:
		v = j_list(evn_j_new_list(r, json_array_size(j)));
		for (size_t i = 0; i < json_array_size(j); i++)
			evn_j_push(r, v.list, from_json(r, json_array_get(j, i), foreign));
		break;
	case JSON_INTEGER:
		v = j_int(json_integer_value(j));
		break;
	case JSON_REAL:
		v = j_float(json_real_value(j));
		break;
	case JSON_NULL:
		v = j_none();
		break;
	default:
		v = j_bool(json_is_true(j));
	}
	evn_j_leave(r);
	return v;
}

static bool is_plain_name(const jstring *s)
{
	for (size_t i = 0; i < s->n; i++) {
		char c = s->bytes[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* Some templates make control tokens of roles: '<|' + message.role + '|>'. A plain word there is as good as their own
 * text, since it cannot be a control token alone. */
static void own_roles(jrun *r, jvalue messages)
{
	static const jstring role = {"role", NULL, 4};
	for (size_t i = 0; messages.kind == J_LIST && i < messages.list->n; i++) {
		jvalue message = messages.list->items[i];
		jvalue *v = message.kind == J_DICT ? (jvalue *)evn_j_get_name(message.dict, &role) : NULL;
		if (v && v->kind == J_STRING && is_plain_name(v->string))
			*v = string_from(r, v->string->bytes, v->string->n, false);
	}
}

static void declare(jrun *r, const json_t *variables, bool foreign)
{
	for (void *i = json_object_iter((json_t *)variables); i; i = json_object_iter_next((json_t *)variables, i)) {
		const char *name = json_object_iter_key(i);
		jvalue v = from_json(r, json_object_iter_value(i), foreign);
		if (strcmp(name, "messages") == 0)
			own_roles(r, v);
		evn_j_put(r, &r->scope->names, string_from(r, name, strlen(name), false), v);
	}
}

static void render(jrun *r, const evn_template *t, jout *o)
{
	jscope *scope = evn_j_alloc(r, 1, sizeof *scope);
	r->scope = scope;
	r->out = o;
	declare(r, t->variables, true);
	declare(r, t->own, false);
	const jnode *statements = evn_j_parse(r, evn_j_lex(r, t->text, t->n));
	r->line = 0;
	evn_j_execute(r, statements);
}

static evn_status copy_out(evn_rendered *out, const jout *o, evn_error *err)
{
	out->n = o->n;
	out->text = malloc(o->n + 1);
	out->foreign = calloc(1, o->n + 1);
	if (!out->text || !out->foreign) {
		evn_rendered_free(out);
		return evn_fail_memory(err, "rendered template", 2 * o->n + 2);
	}
	if (o->n > 0)
		memcpy(out->text, o->bytes, o->n);
	if (o->foreign)
		memcpy(out->foreign, o->foreign, o->n);
	out->text[o->n] = '\0';
	return EVN_OK;
}

evn_status evn_template_render(evn_rendered *out, const evn_template *t, evn_error *err)
{
	/* Both are in memory of their own, so that the jump back finds them as they are. */
	struct {
		jrun run;
		jout out;
	} *state = calloc(1, sizeof *state);
	*out = (evn_rendered){0};
	if (!state)
		return evn_fail_memory(err, "template", sizeof *state);
	state->run.err = err;
	state->run.name = t->name;
	state->run.now = t->now;
	if (setjmp(state->run.failed) == 0)
		render(&state->run, t, &state->out);
	evn_status status = state->run.status;
	if (status == EVN_OK)
		status = copy_out(out, &state->out, err);
	evn_j_free(&state->run);
	free(state);
	return status;
}

void evn_rendered_free(evn_rendered *r)
{
	free(r->text);
	free(r->foreign);
	*r = (evn_rendered){0};
}
