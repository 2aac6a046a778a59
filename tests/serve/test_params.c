/* Tests of the fields of completions and chats. */
#include "serve/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static evn_sample_options defaults(void)
{
	evn_sample_options o = evn_sample_defaults();
	o.temp = 0.5f;
	o.seed = 11;
	return o;
}

/* The caller releases *root after the params. */
static bool read(params *out, params_use use, const char *json, json_t **root, problem *p)
{
	evn_sample_options o = defaults();
	*p = (problem){0};
	*root = NULL;
	return fields_parse(root, json, strlen(json), p) && params_read(out, use, *root, &o, p);
}

static void refuses(params_use use, const char *json, const char *param, const char *part)
{
	params o = {0};
	json_t *root;
	problem p;
	assert_false(read(&o, use, json, &root, &p));
	assert_int_equal(p.status, 400);
	assert_string_equal(p.param, param);
	if (!strstr(p.message, part))
		fail_msg("%s: '%s' is not in '%s'", json, part, p.message);
	params_free(&o);
	json_decref(root);
}

static void what_is_not_said_is_default(void **state)
{
	params o;
	json_t *root;
	problem p;
	(void)state;
	assert_true(read(&o, PARAMS_COMPLETION, "{\"prompt\": \"a\", \"temperature\": null}", &root, &p));
	evn_sample_options s = params_sampling(&o, 0);
	assert_true(s.temp == 0.5f);
	assert_int_equal(s.top_k, 40);
	assert_int_equal(s.seed, 11);
	assert_int_equal(params_sampling(&o, 3).seed, 14);
	assert_int_equal(o.n, 1);
	assert_int_equal(o.max_tokens, 0);
	assert_false(o.stream || o.logprobs || o.echo);
	params_free(&o);
	json_decref(root);
}

static void every_field_of_a_chat(void **state)
{
	static const char json[] =
		"{\"model\": \"m\", \"messages\": [{}], \"stream\": true, \"stream_options\": {\"include_usage\": true}, "
		"\"n\": 16,"
		"\"max_tokens\": 5, \"max_completion_tokens\": 7, \"stop\": [\"a\", \"b\"], \"seed\": 3, \"temperature\": 0, "
		"\"top_p\": 1,"
		"\"top_k\": -1, \"min_p\": 0.5, \"frequency_penalty\": -2, \"presence_penalty\": 2, \"repetition_penalty\": "
		"1.5,"
		"\"logit_bias\": {\"0\": -100, \"42\": 1.5}, \"logprobs\": true, \"top_logprobs\": 20, \"priority\": -7, "
		"\"tools\": [],"
		"\"tool_choice\": \"auto\", \"chat_template_kwargs\": {\"a\": 1}, \"response_format\": {\"type\": \"text\"}}";
	params o;
	json_t *root;
	problem p;
	(void)state;
	assert_true(read(&o, PARAMS_CHAT, json, &root, &p));
	evn_sample_options s = params_sampling(&o, 0);
	assert_string_equal(o.model, "m");
	assert_true(o.stream && o.include_usage && o.logprobs);
	assert_int_equal(o.n, 16);
	assert_int_equal(o.max_tokens, 7);
	assert_int_equal(o.n_stops, 2);
	assert_string_equal(o.stops[1], "b");
	assert_true(s.temp == 0 && s.top_p == 1 && s.min_p == 0.5f && s.repeat_penalty == 1.5f);
	assert_true(s.frequency_penalty == -2 && s.presence_penalty == 2);
	assert_int_equal(s.top_k, 0);
	assert_int_equal(o.n_bias, 2);
	assert_int_equal(o.bias[1].id, 42);
	assert_true(o.bias[1].bias == 1.5f);
	assert_int_equal(o.n_top, 20);
	assert_int_equal(o.priority, -7);
	assert_null(o.tools); /* an empty list is none */
	assert_non_null(o.template_values);
	params_free(&o);
	json_decref(root);
}

static void one_stop_and_old_logprobs(void **state)
{
	params o;
	json_t *root;
	problem p;
	(void)state;
	assert_true(read(&o, PARAMS_COMPLETION, "{\"prompt\": [1], \"stop\": \"x\", \"logprobs\": 0}", &root, &p));
	assert_int_equal(o.n_stops, 1);
	assert_true(o.logprobs);
	assert_int_equal(o.n_top, 0);
	params_free(&o);
	json_decref(root);
}

static void seeds_that_nobody_chose_differ(void **state)
{
	params a, b;
	json_t *first, *second;
	problem p;
	(void)state;
	assert_true(read(&a, PARAMS_COMPLETION, "{\"prompt\": \"a\", \"seed\": -1}", &first, &p));
	assert_true(read(&b, PARAMS_COMPLETION, "{\"prompt\": \"a\", \"seed\": -1}", &second, &p));
	assert_true(params_sampling(&a, 0).seed >= 0);
	assert_true(params_sampling(&a, 0).seed != params_sampling(&b, 0).seed);
	json_decref(first);
	json_decref(second);
}

static void wrong_values(void **state)
{
	static const struct {
		const char *field, *param, *part;
	} cases[] = {
		{"\"max_tokens\": -1", "max_tokens", "expected an integer from 1 to 2147483647, found -1"},
		{"\"max_tokens\": 2147483648", "max_tokens", "found 2147483648"},
		{"\"max_tokens\": 9223372036854775807", "max_tokens", "found 9223372036854775807"},
		{"\"n\": 1000000", "n", "expected an integer from 1 to 16, found 1000000"},
		{"\"n\": 0", "n", "found 0"},
		{"\"temperature\": \"warm\"", "temperature", "found the string \"warm\""},
		{"\"top_p\": 1.5", "top_p", "found 1.5"},
		{"\"seed\": 9007199254740992", "seed", "found 9007199254740992"},
		{"\"priority\": 4294967296", "priority", "found 4294967296"},
		{"\"frequency_penalty\": 3", "frequency_penalty", "from -2 to 2"},
		{"\"stop\": 5", "stop", "found 5"},
		{"\"stop\": [5]", "stop", "found 5"},
		{"\"stop\": \"\"", "stop", "not empty"},
		{"\"stop\": "
		 "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\"]",
		 "stop", "found an array of 17"},
		{"\"logit_bias\": []", "logit_bias", "found an array"},
		{"\"logit_bias\": {\"-1\": 0}", "logit_bias", "'-1'"},
		{"\"logit_bias\": {\"1x\": 0}", "logit_bias", "'1x'"},
		{"\"logit_bias\": {\"99999999999999999999\": 0}", "logit_bias", "'9999"},
		{"\"logit_bias\": {\"1\": 100.5}", "logit_bias", "found 100.5"},
		{"\"logit_bias\": {\"1\": \"5\"}", "logit_bias", "found the string"},
		{"\"stream\": 1", "stream", "expected true or false"},
		{"\"stream_options\": true", "stream_options", "expected an object"},
		{"\"stream_options\": {\"include_usage\": 1}", "include_usage", "expected true or false"},
		{"\"top_logprobs\": 5", "top_logprobs", "logprobs: true"},
		{"\"logprobs\": true, \"top_logprobs\": 21", "top_logprobs", "found 21"},
		{"\"tools\": {}", "tools", "an array of tools"},
		{"\"tool_choice\": \"required\"", "tool_choice", "expected tools beside it"},
		{"\"tool_choice\": {\"type\": \"function\"}", "tool_choice", "found an object"},
		{"\"tools\": [{}], \"regex\": \"a\"", "tools", "no form of the answer"},
		{"\"response_format\": {\"type\": \"json_schema\"}", "response_format.json_schema",
		 "an object with a schema"},
		{"\"response_format\": \"text\"", "response_format", "an object with a type"},
		{"\"chat_template_kwargs\": 3", "chat_template_kwargs", "expected an object"},
		{"\"model\": 3", "model", "expected a string"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char json[512];
		snprintf(json, sizeof json, "{\"messages\": [{}], %s}", cases[i].field);
		refuses(PARAMS_CHAT, json, cases[i].param, cases[i].part);
	}
	refuses(PARAMS_CHAT, "{}", "messages", "found nothing");
	refuses(PARAMS_CHAT, "{\"messages\": {}}", "messages", "found an object");
	refuses(PARAMS_COMPLETION, "{}", "prompt", "found nothing");
	refuses(PARAMS_COMPLETION, "{\"prompt\": []}", "prompt", "found an array of 0");
	refuses(PARAMS_COMPLETION, "{\"prompt\": \"a\", \"echo\": true, \"logprobs\": 1}", "echo", "no logprobs");
	refuses(PARAMS_COMPLETION, "{\"prompt\": \"a\", \"suffix\": \"b\"}", "suffix", "no suffix");
	refuses(PARAMS_COMPLETION, "{\"prompt\": \"a\", \"best_of\": 2}", "best_of", "found 2");
	refuses(PARAMS_COMPLETION, "{\"prompt\": \"a\", \"lora\": [{\"id\": 0, \"scale\": 1}]}", "lora", "--add-adapter");
	refuses(PARAMS_COMPLETION, "{\"prompt\": \"a\", \"logprobs\": true}", "logprobs", "found true");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_said_is_default),
		cmocka_unit_test(every_field_of_a_chat),
		cmocka_unit_test(one_stop_and_old_logprobs),
		cmocka_unit_test(seeds_that_nobody_chose_differ),
		cmocka_unit_test(wrong_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
