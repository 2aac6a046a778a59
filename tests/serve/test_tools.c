/* test_tools.c - calls in an answer are told from its text, however it is cut into pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "serve/tools.h"

#define CALL "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"<b>\"}}\n</tool_call>"

typedef struct {
	const char *text, *content;
	size_t n_calls;
} example;

static const example cases[] = {{"", "", 0},
								{"a < b <tool> c", "a < b <tool> c", 0},
								{"a <tool_cal", "a <tool_cal", 0},
								{CALL, "", 1},
								{"Let me see. \n" CALL, "Let me see.", 1},
								{CALL "\n" CALL "\n", "", 2},
								{"a" CALL " b", "a b", 1},
								{"a <tool_call>{\"name\": \"f\"", "a<tool_call>{\"name\": \"f\"", 0},
								{"<tool_call>no JSON</tool_call>", "", 0}};

#define LLAMA "{\"name\": \"f\", \"parameters\": {\"a\": \"<b>\"}}"

static const example llama[] = {{"", "", 0},
								{" a {", " a {", 0},
								{LLAMA, "", 1},
								{" \n" LLAMA "\n", "", 1},
								{"{\"name\": \"f\", \"para", "{\"name\": \"f\", \"para", 0},
								{"{\"a\": 1}", "{\"a\": 1}", 0},
								{"<|python_tag|>" LLAMA, "", 1},
								{"<|python", "<|python", 0},
								{"It is " LLAMA, "It is " LLAMA, 0}};

#define ARGUMENTS "{\"a\": \"<b>\"}"
#define LISTED "{\"name\": \"f\", \"arguments\": " ARGUMENTS "}"

static const example mistral[] = {
	{"", "", 0},
	{" a [TOOL", " a [TOOL", 0},
	{"[TOOL_CALLS] [" LISTED "]", "", 1},
	{"Let me see. \n[TOOL_CALLS][" LISTED ", " LISTED "]\n", "Let me see.", 2},
	{"[TOOL_CALLS]f[ARGS]" ARGUMENTS, "", 1},
	{"[TOOL_CALLS]f[CALL_ID]123456789[ARGS]" ARGUMENTS "\n[TOOL_CALLS]f[ARGS]" ARGUMENTS, "", 2},
	{"a [TOOL_CALLS] [{\"name\": \"f\"", "a[TOOL_CALLS] [{\"name\": \"f\"", 0},
	{"[TOOL_CALLS]f[ARGS]{\"a\"", "[TOOL_CALLS]f[ARGS]{\"a\"", 0},
	{"[TOOL_CALLS]", "[TOOL_CALLS]", 0}};

static void check(const example *e, evn_tool_style style, size_t piece)
{
	tool_splitter s = {.style = style};
	buffer content = {0};
	const size_t n = strlen(e->text);
	char part[256];
	for (size_t at = 0; at < n; at += piece) {
		const size_t length = n - at < piece ? n - at : piece;
		memcpy(part, e->text + at, length);
		part[length] = '\0';
		tools_split(&s, part, false, &content);
	}
	tools_split(&s, "", true, &content);
	assert_string_equal(content.data ? content.data : "", e->content);
	json_t *calls = tools_take(&s);
	assert_int_equal(json_array_size(calls), e->n_calls);
	for (size_t k = 0; k < e->n_calls; k++) {
		json_t *function = json_object_get(json_array_get(calls, k), "function");
		assert_string_equal(json_string_value(json_object_get(function, "name")), "f");
		assert_string_equal(json_string_value(json_object_get(function, "arguments")), "{\"a\":\"<b>\"}");
	}
	json_decref(calls);
	buffer_free(&content);
	tools_free(&s);
}

static void pieces_do_not_matter(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t piece = 1; piece < 100; piece++)
			check(&cases[i], EVN_TOOLS_HERMES, piece);
	for (size_t i = 0; i < sizeof llama / sizeof *llama; i++)
		for (size_t piece = 1; piece < 100; piece++)
			check(&llama[i], EVN_TOOLS_LLAMA, piece);
	for (size_t i = 0; i < sizeof mistral / sizeof *mistral; i++)
		for (size_t piece = 1; piece < 100; piece++) {
			check(&mistral[i], EVN_TOOLS_MISTRAL, piece);
			check(&mistral[i], EVN_TOOLS_MISTRAL_ARGS, piece);
		}
}

/* The templates of Mistral refuse other ids than those of nine characters. */
static void ids_are_as_templates_want_them(void **state)
{
	static const char *const texts[] = {"[TOOL_CALLS]f[CALL_ID]aB3456789[ARGS]{}", "[TOOL_CALLS]f[CALL_ID]x[ARGS]{}"};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		tool_splitter s = {.style = EVN_TOOLS_MISTRAL_ARGS};
		buffer content = {0};
		tools_split(&s, texts[i], true, &content);
		json_t *calls = tools_take(&s);
		const char *id = json_string_value(json_object_get(json_array_get(calls, 0), "id"));
		assert_non_null(id);
		assert_int_equal(strlen(id), 9);
		assert_int_equal(strcmp(id, "aB3456789") == 0, i == 0);
		json_decref(calls);
		buffer_free(&content);
		tools_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_do_not_matter),
									   cmocka_unit_test(ids_are_as_templates_want_them)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
