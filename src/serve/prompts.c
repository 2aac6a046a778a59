/* prompts.c - the prompts of a request as ids: of texts, of ids, or of a conversation. */
#include "serve/generate.h"
#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_POSITIONS 64 /* of a cache block */

static bool add_text(generation *g, const json_t *text, problem *p)
{
	prompt *to = &g->prompts[g->n_prompts++];
	evn_error e = {0};
	if (evn_tokenize(g->x->served->m.model, json_string_value(text), json_string_length(text), true, true, &to->ids,
					 &to->n, &e) != EVN_OK)
		return problem_from(p, "prompt", &e);
	to->text = g->params.echo ? evn_strdup(json_string_value(text)) : NULL;
	return !g->params.echo || to->text || problem_set(p, 500, NULL, NULL, "out of memory");
}

static bool add_ids(generation *g, json_t *ids, problem *p)
{
	prompt *to = &g->prompts[g->n_prompts++];
	size_t bytes;
	evn_error e = {0};
	if (!fields_ids(&to->ids, &to->n, "prompt", ids, p))
		return false;
	if (g->params.echo &&
		evn_detokenize(g->x->served->m.model, to->ids, to->n, true, &to->text, &bytes, &e) != EVN_OK)
		return problem_from(p, "prompt", &e);
	return true;
}

static bool make_completion(generation *g, problem *p)
{
	json_t *v = g->params.prompt;
	bool one = json_is_string(v) || json_is_number(json_array_get(v, 0));
	size_t n = one ? 1 : json_array_size(v);
	if (n > MAX_PROMPTS)
		return fields_wrong(p, "prompt", "at most 64 prompts", v);
	g->prompts = calloc(n, sizeof *g->prompts);
	if (!g->prompts)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	for (size_t i = 0; i < n; i++) {
		json_t *item = one ? v : json_array_get(v, i);
		if (!json_is_string(item) && !json_is_array(item))
			return fields_wrong(p, "prompt", "strings or arrays of token ids", item);
		if (!(json_is_string(item) ? add_text(g, item, p) : add_ids(g, item, p)))
			return false;
	}
	return true;
}

/* The server's variables and those of the request, which win, as text. *out is NULL if there are none. */
static bool merge_variables(char **out, const json_t *common, json_t *own)
{
	*out = NULL;
	if (!common && !own)
		return true;
	json_t *all = common ? json_deep_copy(common) : json_object();
	if (all && (!own || json_object_update(all, own) == 0))
		*out = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return *out != NULL;
}

static bool has_calls(json_t *messages)
{
	json_t *message;
	size_t i;
	json_array_foreach(messages, i, message)
	{
		const char *role = json_string_value(json_object_get(message, "role"));
		if ((role && strcmp(role, "tool") == 0) || json_array_size(json_object_get(message, "tool_calls")))
			return true;
	}
	return false;
}

/* How a template gets the messages: as they are, or with tools as text. */
typedef enum { AS_THEY_ARE, TOOLS_IN_SYSTEM, TOOLS_IN_USER } wording;

static evn_status render(const served_model *m, const params *o, wording how, evn_chat_options *options, prompt *to,
						 evn_error *err)
{
	json_t *messages =
		how == AS_THEY_ARE ? json_incref(o->messages) : tools_as_text(o->messages, o->tools, how == TOOLS_IN_USER);
	char *text = messages ? json_dumps(messages, JSON_COMPACT) : NULL;
	const evn_status status = text ? evn_chat_prompt(m->m.model, text, options, &to->ids, &to->n, &to->text, err)
								   : evn_fail_memory(err, "messages", 0);
	json_decref(messages);
	free(text);
	return status;
}

bool chat_make(const exchange *x, const params *o, prompt *to, problem *p)
{
	const catalog *c = &x->server->catalog;
	const served_model *m = x->served;
	evn_error e = {0};
	const bool as_text = (o->tools || has_calls(o->messages)) &&
						 evn_chat_tool_style(m->m.model, &c->options.chat) == EVN_TOOLS_UNKNOWN;
	char *variables, *tools = o->tools && !as_text ? json_dumps(o->tools, JSON_COMPACT) : NULL;
	const bool ok =
		merge_variables(&variables, c->chat_variables, o->template_values) && (tools || as_text || !o->tools);
	evn_chat_options options = {
		.template_text = c->options.chat.template_text,
		.tools_json = tools,
		.variables_json = variables,
		.no_generation_prompt = !o->generation_prompt,
	};
	evn_status status = ok ? render(m, o, as_text ? TOOLS_IN_SYSTEM : AS_THEY_ARE, &options, to, &e)
						   : evn_fail_memory(&e, "messages", 0);
	if (status == EVN_ERR_USAGE && as_text && render(m, o, TOOLS_IN_USER, &options, to, NULL) == EVN_OK)
		status = EVN_OK;
	free(tools);
	free(variables);
	return status == EVN_OK || problem_from(p, "messages", &e);
}

static bool make_chat(generation *g, problem *p)
{
	g->prompts = calloc(1, sizeof *g->prompts);
	if (!g->prompts)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	g->n_prompts = 1;
	return chat_make(g->x, &g->params, &g->prompts[0], p);
}

/* An answer needs a place for one token at least. */
static bool check_fits(const generation *g, problem *p)
{
	const serve_model *m = &g->x->served->m;
	uint64_t most = (uint64_t)evn_scheduler_get_stats(m->scheduler).n_blocks * BLOCK_POSITIONS;
	uint64_t context = evn_engine_context(m->engine);
	for (size_t i = 0; i < g->n_prompts; i++)
		if (g->prompts[i].n + 1 > (most < context ? most : context))
			return problem_set(p, 400, "context_length_exceeded", g->use == PARAMS_CHAT ? "messages" : "prompt",
							   "%zu tokens and an answer do not fit into the context of %llu", g->prompts[i].n,
							   (unsigned long long)(most < context ? most : context));
	return true;
}

bool prompts_make(generation *g, problem *p)
{
	return (g->use == PARAMS_CHAT ? make_chat(g, p) : make_completion(g, p)) && check_fits(g, p);
}
