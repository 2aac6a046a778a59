/* params.c - see params.h. The names are OpenAI's; those that it does not have are llama-server's or vLLM's. */
#include "serve/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SEED_MAX 9007199254740991.0 /* 2^53 - 1: limits are kept as doubles */

static bool unsupported(problem *p, const char *name, const char *expected, const json_t *found)
{
	fields_wrong(p, name, expected, found);
	p->code = "unsupported_value";
	return false;
}

/* ---- fields that are more than one value ----------------------------------------------------------------------- */

static bool read_stop(void *target, const char *name, json_t *v, problem *p)
{
	params *o = target;
	size_t n = json_is_array(v) ? json_array_size(v) : 1;
	if ((!json_is_array(v) && !json_is_string(v)) || n > MAX_STOPS)
		return fields_wrong(p, name, "a string or an array of at most 16", v);
	for (size_t i = 0; i < n; i++) {
		const json_t *text = json_is_array(v) ? json_array_get(v, i) : v;
		if (!json_is_string(text) || json_string_length(text) == 0)
			return fields_wrong(p, name, "strings that are not empty", text);
		o->stops[o->n_stops++] = json_string_value(text);
	}
	return true;
}

static bool read_one_bias(evn_logit_bias *to, const char *name, const char *key, const json_t *v, problem *p)
{
	char *end, expected[96];
	long id = strtol(key, &end, 10);
	if (*key < '0' || *key > '9' || *end || id > INT32_MAX)
		return problem_set(p, 400, NULL, name, "%s: expected token ids as keys, found '%.40s'", name, key);
	snprintf(expected, sizeof expected, "a number from -100 to 100 for id %ld", id);
	if (!json_is_number(v) || !(json_number_value(v) >= -100) || !(json_number_value(v) <= 100))
		return fields_wrong(p, name, expected, v);
	*to = (evn_logit_bias){.id = (int32_t)id, .bias = (float)json_number_value(v)};
	return true;
}

static bool read_bias(void *target, const char *name, json_t *v, problem *p)
{
	params *o = target;
	const char *key;
	json_t *value;
	if (!json_is_object(v) || json_object_size(v) > MAX_BIASES)
		return fields_wrong(p, name, "an object with at most 1024 token ids", v);
	o->bias = calloc(json_object_size(v) + 1, sizeof *o->bias);
	if (!o->bias)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	json_object_foreach(v, key, value) if (!read_one_bias(&o->bias[o->n_bias++], name, key, value, p)) return false;
	return true;
}

static bool read_stream_options(void *target, const char *name, json_t *v, problem *p)
{
	static const field usage[] = {
		{"include_usage", 1, FIELD_BOOL, offsetof(params, include_usage), 0, 0, NULL},
		{0},
	};
	return json_is_object(v) ? fields_read(usage, 1, v, target, p) : fields_wrong(p, name, "an object", v);
}

/* How many; OpenAI's chats say true and give the number elsewhere. */
static bool read_logprobs(void *target, const char *name, json_t *v, problem *p)
{
	params *o = target;
	json_int_t n;
	if (!fields_whole(v, &n) || n < 0 || n > MAX_TOP)
		return fields_wrong(p, name, "an integer from 0 to 20", v);
	o->logprobs = true;
	o->n_top = n;
	return true;
}

static bool read_messages(void *target, const char *name, json_t *v, problem *p)
{
	if (!json_is_array(v) || json_array_size(v) == 0)
		return fields_wrong(p, name, "an array of messages", v);
	((params *)target)->messages = v;
	return true;
}

static bool read_tools(void *target, const char *name, json_t *v, problem *p)
{
	if (!json_is_array(v))
		return fields_wrong(p, name, "an array of tools", v);
	((params *)target)->tools = json_array_size(v) ? v : NULL;
	return true;
}

static bool read_template_values(void *target, const char *name, json_t *v, problem *p)
{
	if (!json_is_object(v))
		return fields_wrong(p, name, "an object", v);
	((params *)target)->template_values = v;
	return true;
}

static bool read_prompt(void *target, const char *name, json_t *v, problem *p)
{
	if (!json_is_string(v) && !(json_is_array(v) && json_array_size(v) > 0))
		return fields_wrong(p, name, "a string, an array of strings, token ids, or arrays of token ids", v);
	((params *)target)->prompt = v;
	return true;
}

/* ---- the form of the answer ------------------------------------------------------------------------------------ */

/* A request has one form. text: owned. */
static bool set_grammar(params *o, evn_grammar_kind kind, char *text, const char *name, problem *p)
{
	if (o->has_grammar) {
		free(text);
		return problem_set(p, 400, NULL, name, "%s: expected one of response_format, grammar and regex, found two",
						   name);
	}
	o->has_grammar = true;
	o->grammar_kind = kind;
	o->grammar = text;
	return text || kind == EVN_GRAMMAR_JSON || problem_set(p, 500, NULL, NULL, "out of memory");
}

/* OpenAI has the schema one level down, llama-server beside the type. */
static bool read_format(void *target, const char *name, json_t *v, problem *p)
{
	json_t *type = json_object_get(v, "type"), *wrapped = json_object_get(v, "json_schema");
	json_t *schema = json_object_get(wrapped ? wrapped : v, "schema");
	const char *word = json_string_value(type);
	if (!word)
		return fields_wrong(p, name, "an object with a type", v);
	if (strcmp(word, "text") == 0)
		return true;
	if (strcmp(word, "json_object") == 0 && !schema)
		return set_grammar(target, EVN_GRAMMAR_JSON, NULL, name, p);
	if (strcmp(word, "json_schema") != 0 && strcmp(word, "json_object") != 0)
		return unsupported(p, "response_format.type", "\"text\", \"json_object\" or \"json_schema\"", type);
	if (!json_is_object(schema) && !json_is_boolean(schema))
		return fields_wrong(p, "response_format.json_schema", "an object with a schema", wrapped ? wrapped : v);
	return set_grammar(target, EVN_GRAMMAR_JSON_SCHEMA, json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY), name, p);
}

static bool read_grammar(void *target, const char *name, json_t *v, problem *p)
{
	const bool regex = strcmp(name, "regex") == 0;
	if (!json_is_string(v))
		return fields_wrong(p, name, "a string", v);
	return json_string_length(v) == 0 || set_grammar(target, regex ? EVN_GRAMMAR_REGEX : EVN_GRAMMAR_GBNF,
													 evn_strdup(json_string_value(v)), name, p);
}

/* ---- what evener cannot do ------------------------------------------------------------------------------------- */

static bool read_tool_choice(void *target, const char *name, json_t *v, problem *p)
{
	static const char *const words[] = {[TOOLS_AUTO] = "auto", [TOOLS_NONE] = "none", [TOOLS_REQUIRED] = "required"};
	params *o = target;
	const char *word = json_string_value(v);
	json_t *named = json_object_get(json_object_get(v, "function"), "name");
	for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
		if (strcmp(word, words[i]) == 0) {
			o->tool_choice = (tool_choice)i;
			return true;
		}
	if (!json_is_string(named))
		return fields_wrong(p, name, "\"none\", \"auto\", \"required\" or a function with a name", v);
	o->tool_choice = TOOLS_REQUIRED;
	o->tool_name = json_string_value(named);
	return true;
}

static bool refuse_suffix(void *target, const char *name, json_t *v, problem *p)
{
	(void)target;
	return (json_is_string(v) && json_string_length(v) == 0) || unsupported(p, name, "no suffix", v);
}

static bool refuse_best_of(void *target, const char *name, json_t *v, problem *p)
{
	(void)target;
	json_int_t n;
	return (fields_whole(v, &n) && n <= 1) || unsupported(p, name, "1", v);
}

/* llama-server's field. To ignore it would answer by another model than was asked for. */
static bool refuse_lora(void *target, const char *name, json_t *v, problem *p)
{
	(void)target;
	return (json_is_array(v) && json_array_size(v) == 0) ||
		   unsupported(p, name, "no adapters: ask for the model that --add-adapter has named", v);
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

enum { BOTH = PARAMS_COMPLETION | PARAMS_CHAT };
#define FIELD(f) offsetof(params, f)

/* clang-format off */
static const field fields[] = {
	{"model", BOTH, FIELD_TEXT, FIELD(model), 0, 0, NULL},
	{"messages", PARAMS_CHAT, FIELD_ANY, 0, 0, 0, read_messages},
	{"prompt", PARAMS_COMPLETION, FIELD_ANY, 0, 0, 0, read_prompt},
	{"stream", BOTH, FIELD_BOOL, FIELD(stream), 0, 0, NULL},
	{"stream_options", BOTH, FIELD_ANY, 0, 0, 0, read_stream_options},
	{"n", BOTH, FIELD_INT, FIELD(n), 1, MAX_CHOICES, NULL},
	{"max_tokens", BOTH, FIELD_INT, FIELD(max_tokens), 1, INT32_MAX, NULL},
	{"max_completion_tokens", PARAMS_CHAT, FIELD_INT, FIELD(max_tokens), 1, INT32_MAX, NULL},
	{"stop", BOTH, FIELD_ANY, 0, 0, 0, read_stop},
	{"seed", BOTH, FIELD_INT, FIELD(seed), -1, SEED_MAX, NULL},
	{"temperature", BOTH, FIELD_REAL, FIELD(temperature), 0, 1000, NULL},
	{"top_p", BOTH, FIELD_REAL, FIELD(top_p), 0, 1, NULL},
	{"top_k", BOTH, FIELD_INT, FIELD(top_k), -1, INT32_MAX, NULL},
	{"min_p", BOTH, FIELD_REAL, FIELD(min_p), 0, 1, NULL},
	{"frequency_penalty", BOTH, FIELD_REAL, FIELD(frequency_penalty), -2, 2, NULL},
	{"presence_penalty", BOTH, FIELD_REAL, FIELD(presence_penalty), -2, 2, NULL},
	{"repeat_penalty", BOTH, FIELD_REAL, FIELD(repeat_penalty), 0.01, 1000, NULL},
	{"repetition_penalty", BOTH, FIELD_REAL, FIELD(repeat_penalty), 0.01, 1000, NULL},
	{"repeat_last_n", BOTH, FIELD_INT, FIELD(repeat_last_n), 0, 16777216, NULL},
	{"logit_bias", BOTH, FIELD_ANY, 0, 0, 0, read_bias},
	{"logprobs", PARAMS_CHAT, FIELD_BOOL, FIELD(logprobs), 0, 0, NULL},
	{"top_logprobs", PARAMS_CHAT, FIELD_INT, FIELD(n_top), 0, MAX_TOP, NULL},
	{"logprobs", PARAMS_COMPLETION, FIELD_ANY, 0, 0, 0, read_logprobs},
	{"ignore_eos", BOTH, FIELD_BOOL, FIELD(ignore_end), 0, 0, NULL},
	{"priority", BOTH, FIELD_INT, FIELD(priority), INT32_MIN, INT32_MAX, NULL},
	{"echo", PARAMS_COMPLETION, FIELD_BOOL, FIELD(echo), 0, 0, NULL},
	{"tools", PARAMS_CHAT, FIELD_ANY, 0, 0, 0, read_tools},
	{"tool_choice", PARAMS_CHAT, FIELD_ANY, 0, 0, 0, read_tool_choice},
	{"parallel_tool_calls", PARAMS_CHAT, FIELD_BOOL, FIELD(parallel_tools), 0, 0, NULL},
	{"chat_template_kwargs", PARAMS_CHAT, FIELD_ANY, 0, 0, 0, read_template_values},
	{"add_generation_prompt", PARAMS_CHAT, FIELD_BOOL, FIELD(generation_prompt), 0, 0, NULL},
	{"response_format", BOTH, FIELD_ANY, 0, 0, 0, read_format},
	{"grammar", BOTH, FIELD_ANY, 0, 0, 0, read_grammar},
	{"regex", BOTH, FIELD_ANY, 0, 0, 0, read_grammar},
	{"suffix", PARAMS_COMPLETION, FIELD_ANY, 0, 0, 0, refuse_suffix},
	{"best_of", PARAMS_COMPLETION, FIELD_ANY, 0, 0, 0, refuse_best_of},
	{"lora", BOTH, FIELD_ANY, 0, 0, 0, refuse_lora},
	{0},
};
/* clang-format on */

static int64_t random_seed(void)
{
	uint64_t bits = 0;
	if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits)
		bits = evn_now_ns();
	return (int64_t)(bits >> 12);
}

static bool check(params *o, params_use use, problem *p)
{
	if (use == PARAMS_CHAT && !o->messages)
		return problem_set(p, 400, "missing_required_parameter", "messages",
						   "messages: expected an array of messages, found nothing");
	if (use == PARAMS_COMPLETION && !o->prompt)
		return problem_set(p, 400, "missing_required_parameter", "prompt",
						   "prompt: expected a string or an array, found nothing");
	if (o->n_top > 0 && !o->logprobs)
		return problem_set(p, 400, NULL, "top_logprobs", "top_logprobs: expected logprobs: true beside it");
	if (o->echo && o->logprobs)
		return problem_set(p, 400, "unsupported_value", "echo",
						   "echo: expected no logprobs beside it: those of a "
						   "prompt are not computed");
	if (o->tool_choice == TOOLS_REQUIRED && !o->tools)
		return problem_set(p, 400, NULL, "tool_choice", "tool_choice: expected tools beside it, found none");
	if (params_has_tools(o) && o->has_grammar)
		return problem_set(p, 400, "unsupported_value", "tools",
						   "tools: expected no form of the answer beside them, unless tool_choice is \"none\"");
	if (o->seed < 0)
		o->seed = random_seed();
	if (o->top_k < 0)
		o->top_k = 0; /* vLLM's word for off */
	return true;
}

bool params_has_tools(const params *p) { return p->tools && p->tool_choice != TOOLS_NONE; }

bool params_read(params *out, params_use use, json_t *root, const evn_sample_options *defaults, problem *p)
{
	*out = (params){
		.n = 1,
		.generation_prompt = true,
		.parallel_tools = true,
		.seed = defaults->seed,
		.top_k = defaults->top_k,
		.repeat_last_n = defaults->repeat_last_n,
		.temperature = (double)defaults->temp,
		.top_p = (double)defaults->top_p,
		.min_p = (double)defaults->min_p,
		.repeat_penalty = (double)defaults->repeat_penalty,
		.frequency_penalty = (double)defaults->frequency_penalty,
		.presence_penalty = (double)defaults->presence_penalty,
	};
	return fields_read(fields, use, root, out, p) && check(out, use, p);
}

const char *params_grammar_field(const params *p)
{
	static const char *const names[] = {[EVN_GRAMMAR_JSON] = "response_format",
										[EVN_GRAMMAR_JSON_SCHEMA] = "response_format",
										[EVN_GRAMMAR_GBNF] = "grammar",
										[EVN_GRAMMAR_REGEX] = "regex",
										[EVN_GRAMMAR_TOOLS] = "tools"};
	return names[p->grammar_kind];
}

void params_forget(params *p)
{
	p->model = p->tool_name = NULL;
	p->n_stops = 0;
	p->prompt = p->messages = p->tools = p->template_values = NULL;
}

void params_free(params *p)
{
	free(p->bias);
	free(p->grammar);
	p->grammar = NULL;
	p->bias = NULL;
}

evn_sample_options params_sampling(const params *p, int64_t index)
{
	return (evn_sample_options){
		.temp = (float)p->temperature,
		.top_k = (int32_t)p->top_k,
		.top_p = (float)p->top_p,
		.min_p = (float)p->min_p,
		.repeat_penalty = (float)p->repeat_penalty,
		.repeat_last_n = (int32_t)p->repeat_last_n,
		.frequency_penalty = (float)p->frequency_penalty,
		.presence_penalty = (float)p->presence_penalty,
		.seed = (int64_t)(((uint64_t)p->seed + (uint64_t)index) & (((uint64_t)1 << 53) - 1)),
	};
}
