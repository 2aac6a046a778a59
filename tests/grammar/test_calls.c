/* test_calls.c - which calls of tools a grammar lets through, in the form of each family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "grammar/vocabulary.h"

static const char tools[] = "{\"tools\": [{\"name\": \"f\", \"parameters\": {\"properties\": {\"a\": {\"const\": "
							"1}}, \"required\": [\"a\"]}},"
							"{\"name\": \"any\", \"parameters\": {\"not\": {}}}], %s}";
#define CALL "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"
#define LLAMA "{\"name\": \"f\", \"parameters\": {\"a\": 1}}"

static const char *const hermes_texts[] = {CALL,
										   "",
										   "text <tool",
										   "text\n" CALL,
										   CALL "\n" CALL,
										   CALL "x",
										   "<tool_call>{\"name\": \"any\", \"arguments\": {\"x\": []}}</tool_call>",
										   "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
										   "<tool_call>"};
/* The whole answer is a call or a text. */
static const char *const llama_texts[] = {LLAMA, "\n" LLAMA, LLAMA LLAMA,  "{\"name\": \"f\", \"parameters\": {}}",
										  "",    "a {\n}",   " {\"a\": 1}"};

static const char *const tagged_texts[] = {"<|python_tag|>" LLAMA, "\xff<|python_tag|>" LLAMA, "<|python_tag|>"};

#define FIRST "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"
#define ID "{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcDEF123\"}"
/* \xff stands before a control token. */
static const char *const mistral_texts[] = {
	"[TOOL_CALLS] [" FIRST "]",
	"\xff[TOOL_CALLS][" ID "]",
	"[TOOL_CALLS][" FIRST ", " ID "]",
	"text [TOOL_CALLS]",
	"text",
	"",
	"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abc\"}]",
	"\xfftext"};
static const char *const named_texts[] = {"[TOOL_CALLS]f[ARGS]{\"a\": 1}",
										  "\xff[TOOL_CALLS]f\xff[CALL_ID]abcDEF123\xff[ARGS]{\"a\": 1}",
										  "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]any[ARGS]{}",
										  "[TOOL_CALLS]g[ARGS]{}",
										  "[TOOL_CALLS]f[ARGS]{}",
										  "text\xff[TOOL_CALLS]f\xff[ARGS]{\"a\": 1}"};
static const char *const harmony_texts[] = {
	"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}",
	"\xff<|channel|>analysis\xff<|message|>hm\xff<|end|>\xff<|start|>assistant "
	"to=functions.f\xff<|channel|>commentary json"
	"\xff<|message|>{\"a\": 1}",
	"<|channel|>commentary to=functions.f<|message|>{\"a\": 1}",
	("\xff<|channel|>analysis\xff<|message|>hm\xff<|end|>\xff<|start|>assistant\xff<|channel|>final\xff<|message|>"
	 "Yes."),
	"<|channel|>final<|message|>Yes.",
	"<|channel|>analysis<|message|>hm",
	"<|channel|>commentary to=functions.g<|message|>{}",
	"<|channel|>commentary to=functions.f<|message|>{}",
	"Yes."};

/* expected: 'y' for each text that is accepted. */
static void check_tools(evn_vocabulary *v, const char *settings, const char *const *texts, const char *expected)
{
	char text[512];
	snprintf(text, sizeof text, tools, settings);
	evn_grammar *g = make(v, EVN_GRAMMAR_TOOLS, text);
	for (size_t i = 0; expected[i]; i++)
		if (accepts(g, texts[i], strlen(texts[i])) != (expected[i] == 'y'))
			fail_msg("%s: '%s', expected %c", settings, texts[i], expected[i]);
	evn_grammar_free(g);
}

static void tools_are_called_by_their_schemas(void **state)
{
	check_tools(*state, "\"free\": false, \"parallel\": false", hermes_texts, "ynnnnnynn");
	check_tools(*state, "\"free\": false, \"parallel\": true", hermes_texts, "ynnnynynn");
	check_tools(*state, "\"free\": true, \"parallel\": true", hermes_texts, "yyyyynynn");
	check_tools(*state, "\"free\": true, \"parallel\": false", hermes_texts, "yyyynnynn");
	check_tools(*state, "\"form\": \"llama\", \"parallel\": true", llama_texts, "yynnnnn");
	check_tools(*state, "\"form\": \"llama\", \"free\": true", llama_texts, "yynnyyn");
	check_tools(*state, "\"form\": \"llama\"", tagged_texts, "yyn");
	check_tools(*state, "\"form\": \"mistral\"", mistral_texts, "yynnnnnn");
	check_tools(*state, "\"form\": \"mistral\", \"free\": true, \"parallel\": true", mistral_texts, "yyynyynn");
	check_tools(*state, "\"form\": \"mistral-args\"", named_texts, "yynnnn");
	check_tools(*state, "\"form\": \"mistral-args\", \"free\": true, \"parallel\": true", named_texts, "yyynny");
	check_tools(*state, "\"form\": \"harmony\"", harmony_texts, "yyynnnnnn");
	check_tools(*state, "\"form\": \"harmony\", \"free\": true", harmony_texts, "yyyyynnnn");
}

static int begin(void **state)
{
	*state = make_vocabulary();
	return 0;
}

static int end(void **state)
{
	evn_vocabulary_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tools_are_called_by_their_schemas)};
	return cmocka_run_group_tests(tests, begin, end);
}
