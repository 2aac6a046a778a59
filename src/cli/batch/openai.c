/* openai.c - see openai.h. What belongs to a connection (streams) is refused, and so are logprobs. */
#include "cli/batch/openai.h"
#include "base/base.h"
#include "cli/show/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the request ----------------------------------------------------------------------------------------------- */

static bool read_url(openai_request *r, const json_t *line)
{
	const char *url = json_string_value(json_object_get(line, "url"));
	const char *method = json_string_value(json_object_get(line, "method"));
	if (method && strcmp(method, "POST") != 0)
		return problem_set(&r->problem, 405, NULL, "method", "method: expected POST, found '%.20s'", method);
	if (url && strcmp(url, "/v1/chat/completions") == 0)
		r->use = PARAMS_CHAT;
	else if (url && strcmp(url, "/v1/completions") == 0)
		r->use = PARAMS_COMPLETION;
	else
		return problem_set(&r->problem, 404, NULL, "url",
						   "url: expected /v1/chat/completions or /v1/completions, found '%.60s'", url ? url : "");
	return true;
}

static bool check_batched(openai_request *r)
{
	const params *o = &r->params;
	const char *what = o->stream                          ? "stream"
					   : o->logprobs                      ? "logprobs"
					   : o->echo                          ? "echo"
					   : o->tool_choice == TOOLS_REQUIRED ? "tool_choice"
														  : NULL;
	if (what)
		return problem_set(&r->problem, 400, "unsupported_value", what, "%s: is not supported in a batch", what);
	if (json_is_array(o->prompt) && !json_is_number(json_array_get(o->prompt, 0)))
		return problem_set(&r->problem, 400, "unsupported_value", "prompt",
						   "prompt: expected one prompt, a string or an array of token ids");
	return true;
}

bool openai_read(openai_request *r, const job *j)
{
	evn_sample_options sampling = settings_sample_options(j->shop->settings);
	sampling.seed = job_seed(j);
	return read_url(r, j->fields) &&
		   params_read(&r->params, r->use, json_object_get(j->fields, "body"), &sampling, &r->problem) &&
		   check_batched(r);
}

void openai_free(openai_request *r)
{
	if (r) {
		params_free(&r->params);
		evn_grammar_free(r->grammar);
	}
	free(r);
}

/* ---- the prompt ------------------------------------------------------------------------------------------------ */

static evn_status make_chat(job *j, evn_error *err)
{
	const params *o = &j->openai->params;
	talk t = j->shop->asking->talk;
	char *tools = o->tools ? json_dumps(o->tools, JSON_COMPACT) : NULL;
	char *values = o->template_values ? json_dumps(o->template_values, JSON_COMPACT) : NULL;
	t.options.tools_json = tools;
	t.options.variables_json = values ? values : t.options.variables_json;
	t.options.no_generation_prompt = !o->generation_prompt;
	bool ok = (tools || !o->tools) && (values || !o->template_values);
	evn_status status = ok ? talk_make_prompt(&j->question.prompt, &t, j->shop->model, o->messages, err)
						   : evn_fail_memory(err, "a prompt", 0);
	free(tools);
	free(values);
	return status;
}

static evn_status make_completion(job *j, evn_error *err)
{
	openai_request *r = j->openai;
	const json_t *prompt = r->params.prompt;
	if (json_is_string(prompt))
		return evn_tokenize(j->shop->model, json_string_value(prompt), json_string_length(prompt), true, true,
							&j->question.prompt.ids, &j->question.prompt.n, err);
	if (fields_ids(&j->question.prompt.ids, &j->question.prompt.n, "prompt", r->params.prompt, &r->problem))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "%s", r->problem.message);
}

static evn_status submit_choice(job *j, size_t i, evn_error *err)
{
	const params *o = &j->openai->params;
	job_part *p = &j->parts[i];
	bool chat = j->openai->use == PARAMS_CHAT;
	evn_answer_options answer = {
		.stops = o->stops,
		.n_stops = o->n_stops,
		.reasoning_apart = chat && !j->openai->grammar,
		.starts_reasoning = chat && !j->openai->grammar && j->question.prompt.starts_reasoning,
	};
	evn_request_options request = {
		.prompt = j->question.prompt.ids,
		.n_prompt = j->question.prompt.n,
		.max_tokens = (uint32_t)o->max_tokens,
		.sampling = params_sampling(o, (int64_t)i),
		.bias = o->bias,
		.n_bias = o->n_bias,
		.grammar = j->openai->grammar,
		.ignore_end = o->ignore_end,
		.priority = (int32_t)o->priority,
	};
	return job_submit(p, &answer, &request, err);
}

static evn_status make_grammar(job *j, evn_error *err)
{
	const params *o = &j->openai->params;
	if (!o->has_grammar)
		return EVN_OK;
	if (!j->shop->vocabulary)
		EVN_TRY(evn_vocabulary_create(&j->shop->vocabulary, j->shop->model, err));
	const evn_status status = evn_grammar_create(&j->openai->grammar, j->shop->vocabulary, o->grammar_kind,
												 o->grammar, o->grammar ? strlen(o->grammar) : 0, err);
	if (status != EVN_OK && status != EVN_ERR_MEMORY)
		problem_set(&j->openai->problem, 400, NULL, params_grammar_field(o), "%s", err->text);
	return status;
}

evn_status openai_submit(job *j, evn_error *err)
{
	if (j->openai->problem.status)
		return evn_fail(err, EVN_ERR_USAGE, "%s", j->openai->problem.message);
	evn_status status = j->openai->use == PARAMS_CHAT ? make_chat(j, err) : make_completion(j, err);
	if (status == EVN_OK)
		status = make_grammar(j, err);
	for (size_t i = 0; status == EVN_OK && i < j->n_parts; i++)
		status = submit_choice(j, i, err);
	return status;
}

/* ---- the record ------------------------------------------------------------------------------------------------ */

/* body: owned. */
static char *record(const job *j, unsigned status, json_t *body)
{
	char id[64], request[64];
	uint64_t key = evn_hash(j->shop->input_hash, &j->piece, sizeof j->piece);
	snprintf(id, sizeof id, "batch_req_%016" PRIx64, key);
	snprintf(request, sizeof request, "req_%016" PRIx64, key);
	json_t *custom_id = json_object_get(j->fields, "custom_id");
	return job_dump(json_pack("{s:s, s:O*, s:{s:i, s:s, s:o}, s:n}", "id", id, "custom_id", custom_id, "response",
							  "status_code", (int)status, "request_id", request, "body", body, "error"));
}

static json_t *text_of(const text_buffer *b) { return json_bytes(b->n ? b->data : "", b->n); }

static json_t *choice_json(const job *j, size_t i)
{
	const job_part *p = &j->parts[i];
	const char *finish = job_part_stopped(p) ? "stop" : "length";
	if (j->openai->use == PARAMS_COMPLETION)
		return json_pack("{s:I, s:o, s:n, s:s}", "index", (json_int_t)i, "text", text_of(&p->content), "logprobs",
						 "finish_reason", finish);
	json_t *reasoning = p->reasoning.n ? text_of(&p->reasoning) : NULL;
	json_t *message = json_pack("{s:s, s:o, s:o*, s:n}", "role", "assistant", "content", text_of(&p->content),
								"reasoning_content", reasoning, "refusal");
	return json_pack("{s:I, s:o, s:n, s:s}", "index", (json_int_t)i, "message", message, "logprobs", "finish_reason",
					 finish);
}

/* Without the number of cached tokens: it depends on what else was computed. */
char *openai_record(const job *j)
{
	bool chat = j->openai->use == PARAMS_CHAT;
	const char *model = j->openai->params.model, *name = evn_model_get_info(j->shop->model).name;
	char id[64];
	json_int_t n_prompt = (json_int_t)j->question.prompt.n, n_drawn = 0;
	json_t *choices = json_array();
	for (size_t i = 0; i < j->n_parts; i++) {
		json_push(&choices, choice_json(j, i));
		n_drawn += j->parts[i].result.n_tokens;
	}
	snprintf(id, sizeof id, "%s-%016" PRIx64, chat ? "chatcmpl" : "cmpl",
			 evn_hash(j->shop->input_hash, &j->piece, sizeof j->piece));
	return record(j, 200,
				  json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:{s:I, s:I, s:I}}", "id", id, "object",
							chat ? "chat.completion" : "text_completion", "created", (json_int_t)j->shop->began,
							"model",
							model  ? model
							: name ? name
								   : "evener",
							"system_fingerprint", "evener-" EVN_VERSION, "choices", choices, "usage", "prompt_tokens",
							n_prompt, "completion_tokens", n_drawn, "total_tokens", n_prompt + n_drawn));
}

char *openai_failure(const job *j, const evn_error *why)
{
	problem p = j->openai->problem;
	if (!p.status)
		problem_from(&p, j->openai->use == PARAMS_CHAT ? "messages" : "prompt", why);
	return record(j, p.status, problem_json(&p));
}
