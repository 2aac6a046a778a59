/* test_answer.c - the text of answers: whole characters, stop strings, reasoning. Each answer is pushed byte by byte,
 * which is the finest cut into tokens, and in larger pieces; what comes out must be the same. */
#include "evener/chat.h"
#include "model/model.h"
#include "model/tiny_vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* 256 bytes, then these. */
static const tiny_token tokens[] = {{"<unk>", 2, 0},    {"<s>", 3, 0},    {"</s>", 3, 0},    {"<think>", 3, 0},
									{"</think>", 3, 0}, {"reason", 1, 0}, {"ing</th", 1, 0}, {"ink>", 1, 0},
									{"<thi", 1, 0},     {"nk>", 1, 0},    {"END", 1, 0},     {NULL, 0, 0}};
enum { N_BYTES = 256, THINK = N_BYTES + 3, END_THINK };
static const tiny_vocab vocabulary = {.model = "llama", .tokens = tokens, .all_bytes = true};
static evn_model *model;

static int open_model(void **state)
{
	(void)state;
	gguf_writer w = tiny_file(&vocabulary);
	return evn_model_from_memory(&model, "tiny", w.data, w.size, NULL) == EVN_OK ? 0 : -1;
}

static int close_model(void **state)
{
	(void)state;
	evn_model_close(model);
	return 0;
}

typedef struct {
	char content[4096], reasoning[4096];
	bool stopped;
	size_t n_pieces; /* that had text */
} collected;

static void collect(collected *c, evn_answer_piece piece)
{
	strcat(c->content, piece.content);
	strcat(c->reasoning, piece.reasoning);
	c->stopped |= piece.stopped;
	c->n_pieces += *piece.content || *piece.reasoning;
}

/* The longest token that the text begins with, of at most `most` bytes. */
static int32_t next_id(const char *text, size_t most, size_t *length)
{
	int32_t id = (uint8_t)*text;
	*length = 1;
	for (size_t i = 0; tokens[i].text; i++) {
		size_t n = strlen(tokens[i].text);
		if (tokens[i].type == 1 && n <= most && n > *length && strncmp(text, tokens[i].text, n) == 0) {
			id = N_BYTES + (int32_t)i;
			*length = n;
		}
	}
	return id;
}

static collected answer(const char *text, size_t most, const evn_answer_options *o)
{
	collected c = {0};
	evn_answer *a;
	assert_int_equal(evn_answer_create(&a, model, o, NULL), EVN_OK);
	for (size_t n; *text; text += n)
		collect(&c, evn_answer_push(a, next_id(text, most, &n)));
	collect(&c, evn_answer_end(a));
	evn_answer_free(a);
	return c;
}

static void expect(const char *text, const evn_answer_options *o, const char *content, const char *reasoning,
				   bool stopped)
{
	for (size_t most = 1; most < 9; most++) {
		collected c = answer(text, most, o);
		assert_string_equal(c.content, content);
		assert_string_equal(c.reasoning, reasoning);
		assert_int_equal(c.stopped, stopped);
	}
}

static void test_without_options_all_is_content(void **state)
{
	(void)state;
	expect("", NULL, "", "", false);
	expect("<think>a</think>b \xe2\x82\xac\xf0\x9f\x99\x82", NULL, "<think>a</think>b \xe2\x82\xac\xf0\x9f\x99\x82",
		   "", false);
	expect("broken \xe2\x82", NULL, "broken \xef\xbf\xbd", "", false);
}

static void test_stop_strings(void **state)
{
	(void)state;
	static const struct {
		const char *stops[4], *text, *content;
		bool stopped;
	} cases[] = {
		{{"END"}, "one END two", "one ", true},
		{{"END"}, "one EN", "one EN", false},
		{{"END"}, "END", "", true},
		{{"END"}, "EENND EEND", "EENND E", true},
		{{"abab"}, "xababab", "x", true},
		{{"aab"}, "aaaab", "aa", true},
		{{"\n\n", "\nUser:"}, "hi\nUser", "hi\nUser", false},
		{{"\n\n", "\nUser:"}, "hi\nUser: what", "hi", true},
		{{"abcde", "cd"}, "abcdefg", "ab", true}, /* "cd" ends first */
		{{"bcd", "abcd"}, "xabcd", "x", true},    /* both end there: the longer one */
		{{"\xe2\x82\xac"}, "5 \xe2\x82\xac", "5 ", true},
		{{"nowhere"}, "nowher\xe2\x82\xac", "nowher\xe2\x82\xac", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_answer_options o = {.stops = cases[i].stops};
		while (o.n_stops < 4 && cases[i].stops[o.n_stops])
			o.n_stops++;
		expect(cases[i].text, &o, cases[i].content, "", cases[i].stopped);
	}
}

static void test_reasoning(void **state)
{
	(void)state;
	static const evn_answer_options apart = {.reasoning_apart = true};
	static const evn_answer_options begun = {.reasoning_apart = true, .starts_reasoning = true};
	static const char *const stops[] = {"END"};
	static const evn_answer_options stop = {.stops = stops, .n_stops = 1, .reasoning_apart = true};
	expect("<think>\nreasoning\n</think>\n\nanswer\n", &apart, "answer\n", "reasoning", false);
	expect("\n <think>a</think>b", &apart, "b", "a", false);
	expect("<think></think>b", &apart, "b", "", false);
	expect("a <think>b</think>", &apart, "a <think>b</think>", "", false);
	expect("  <thinner", &apart, "  <thinner", "", false);
	expect("  <think", &apart, "  <think", "", false);
	expect("<think>a </thin b", &apart, "", "a </thin b", false);
	expect("reasoning \n</think> answer", &begun, "answer", "reasoning", false);
	expect("reasoning </think", &begun, "", "reasoning </think", false);
	expect("<think>a END b</think>c", &stop, "", "a ", true);
	expect("<think>a</think>c END d", &stop, "c ", "a", true);
}

static void test_tags_may_be_control_tokens(void **state)
{
	(void)state;
	static const evn_answer_options apart = {.reasoning_apart = true};
	static const int32_t ids[] = {THINK, 'a', '\n', END_THINK, 'b', THINK};
	collected c = {0};
	evn_answer *a;
	assert_int_equal(evn_answer_create(&a, model, &apart, NULL), EVN_OK);
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		collect(&c, evn_answer_push(a, ids[i]));
	evn_answer_free(a);
	assert_string_equal(c.content, "b<think>");
	assert_string_equal(c.reasoning, "a");
}

static void test_text_comes_as_soon_as_it_can(void **state)
{
	(void)state;
	static const char *const stops[] = {"END"};
	static const evn_answer_options o = {.stops = stops, .n_stops = 1};
	evn_answer *a;
	assert_int_equal(evn_answer_create(&a, model, &o, NULL), EVN_OK);
	assert_string_equal(evn_answer_push(a, 'a').content, "a");
	assert_string_equal(evn_answer_push(a, 'E').content, "");
	assert_string_equal(evn_answer_push(a, 'N').content, "");
	assert_string_equal(evn_answer_push(a, 'E').content, "EN");
	assert_string_equal(evn_answer_push(a, 'x').content, "Ex");
	assert_false(evn_answer_push(a, 'E').stopped);
	assert_false(evn_answer_push(a, 'N').stopped);
	assert_true(evn_answer_push(a, 'D').stopped);
	assert_true(evn_answer_push(a, 'x').stopped);
	assert_string_equal(evn_answer_push(a, 'x').content, "");
	assert_true(evn_answer_end(a).stopped);
	evn_answer_free(a);
}

static void refuse(const char *const *stops, size_t n, const char *why)
{
	evn_error err = {0};
	evn_answer *a;
	assert_int_equal(evn_answer_create(&a, model, &(evn_answer_options){.stops = stops, .n_stops = n}, &err),
					 EVN_ERR_USAGE);
	assert_null(a);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in: %s", why, err.text);
}

static void test_wrong_stop_strings_are_refused(void **state)
{
	(void)state;
	static const char *const empty[] = {"a", ""}, *const broken[] = {"a\x80"}, *const many[17] = {"a", "b"};
	static char big[5000];
	const char *const longs[] = {big};
	memset(big, 'x', sizeof big - 1);
	refuse(empty, 2, "a stop string has 0 bytes, expected 1 to 4096");
	refuse(longs, 1, "a stop string has 4999 bytes");
	refuse(broken, 1, "not UTF-8: byte 0x80 at offset 1");
	refuse(many, 17, "17 stop strings, expected at most 16");
}

static void test_much_white_space_is_not_held_for_ever(void **state)
{
	(void)state;
	static const evn_answer_options begun = {.reasoning_apart = true, .starts_reasoning = true};
	char text[3000] = "a", expected[3000] = "a";
	memset(text + 1, ' ', 2000);
	memset(expected + 1, ' ', 2000);
	strcat(text, "b</think>c");
	strcat(expected, "b");
	expect(text, &begun, "c", expected, false);
	memset(text, ' ', 2000);
	text[2000] = 'x';
	text[2001] = '\0';
	expect(text, &(evn_answer_options){.reasoning_apart = true}, text, "", false);
}

/* ---- channels -------------------------------------------------------------------------------------------------- */

#define ANALYSIS "<|channel|>analysis<|message|>I think.<|end|><|start|>assistant"
#define CALL "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>"

static void test_channels(void **state)
{
	(void)state;
	static const evn_answer_options o = {.marks = true, .channels = true};
	expect(ANALYSIS "<|channel|>final<|message|>Yes.", &o, "Yes.", "I think.", false);
	expect(ANALYSIS "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"a\": 1}", &o, CALL,
		   "I think.", false);
	expect(" to=functions.add<|channel|>commentary json<|message|>{\"a\": 1}", &o, CALL, "", false);
	expect(
		"<|channel|>commentary<|message|>First this.<|end|><|start|>assistant to=functions.add<|channel|>commentary "
		"<|constrain|>json<|message|>{\"a\": 1}<|end|>",
		&o, "First this." CALL, "", false);
	expect("<|channel|>final<|message|>a <|en b <|end", &o, "a <|en b <|end", "", false);
	expect("<|channel|>anal", &o, "", "", false);
	expect("No channels <|message|>", &o, "No channels <|message|>", "", false);
	expect(" t", &o, " t", "", false);
}

/* As gpt-oss has them: the marks are control tokens, which have no text. */
static void test_channels_of_control_tokens(void **state)
{
	static const tiny_token own[] = {{"<unk>", 2, 0},       {"<s>", 3, 0},         {"</s>", 3, 0},
									 {"<|channel|>", 3, 0}, {"<|message|>", 3, 0}, {"<|start|>", 3, 0},
									 {"<|end|>", 3, 0},     {"analysis", 1, 0},    {"final", 1, 0},
									 {"assistant", 1, 0},   {"hm", 1, 0},          {NULL, 0, 0}};
	static const tiny_vocab of_channels = {.model = "llama", .tokens = own, .all_bytes = true};
	static const int ids[] = {3, 7, 4, 10, 6, 5, 9, 3, 8, 4, 10};
	static const evn_answer_options apart = {.reasoning_apart = true};
	collected c = {0};
	evn_model *m;
	evn_answer *a;
	(void)state;
	gguf_writer w = tiny_file(&of_channels);
	assert_int_equal(evn_model_from_memory(&m, "tiny", w.data, w.size, NULL), EVN_OK);
	assert_int_equal(evn_answer_create(&a, m, &apart, NULL), EVN_OK);
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		collect(&c, evn_answer_push(a, N_BYTES + ids[i]));
	collect(&c, evn_answer_end(a));
	assert_string_equal(c.content, "hm");
	assert_string_equal(c.reasoning, "hm");
	evn_answer_free(a);
	evn_model_close(m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_options_all_is_content),
		cmocka_unit_test(test_stop_strings),
		cmocka_unit_test(test_reasoning),
		cmocka_unit_test(test_tags_may_be_control_tokens),
		cmocka_unit_test(test_text_comes_as_soon_as_it_can),
		cmocka_unit_test(test_wrong_stop_strings_are_refused),
		cmocka_unit_test(test_much_white_space_is_not_held_for_ever),
		cmocka_unit_test(test_channels),
		cmocka_unit_test(test_channels_of_control_tokens),
	};
	return cmocka_run_group_tests(tests, open_model, close_model);
}
