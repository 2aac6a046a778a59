/* test_unicode.c - the classes of tokenizer patterns over all code points, compared with utf8proc's categories, with
 * Unicode's list of White_Space, and with the numbers of members that Oniguruma finds (Unicode 16.0), the regular
 * expressions of Hugging Face's tokenizers. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/pretokenizer.h"
#include "model/unicode.h"

#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

#define N_CODES 0x110000u

static bool is_surrogate(uint32_t c) { return c >= 0xd800 && c < 0xe000; }

/* The code points that a pattern of one class matches. */
static bool *members_of(const char *class)
{
	char *pattern;
	evn_error err = {0};
	if (evn_unicode_pattern(&pattern, class, &err) != EVN_OK)
		fail_msg("%s", err.text);
	int code;
	PCRE2_SIZE at;
	pcre2_code *compiled =
		pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
	free(pattern);
	assert_non_null(compiled);
	pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
	pcre2_match_data *match = pcre2_match_data_create(1, NULL);
	bool *members = calloc(N_CODES, sizeof *members);
	assert_true(match && members);
	for (uint32_t c = 0; c < N_CODES; c++) {
		utf8proc_uint8_t text[4];
		utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, text);
		members[c] = !is_surrogate(c) && pcre2_match(compiled, text, (PCRE2_SIZE)n, 0, 0, match, NULL) >= 0;
	}
	pcre2_match_data_free(match);
	pcre2_code_free(compiled);
	return members;
}

static bool is_white_space(uint32_t c)
{
	return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
		   (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static void white_space(void **state)
{
	(void)state;
	bool *space = members_of("\\s"), *bracketed = members_of("[\\s]"), *others = members_of("\\S"),
		 *excluded = members_of("[^\\s]");
	for (uint32_t c = 0; c < N_CODES; c++)
		if (!is_surrogate(c) && (space[c] != is_white_space(c) || bracketed[c] != space[c] || others[c] == space[c] ||
								 excluded[c] == space[c]))
			fail_msg("U+%04X: white space %d", c, space[c]);
	free(space);
	free(bracketed);
	free(others);
	free(excluded);
}

/* Code points that this utf8proc does not know are left to the numbers. */
static void categories(void **state)
{
	static const char *const names[] = {"L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "P"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char class[8];
		snprintf(class, sizeof class, "\\p{%s}", names[i]);
		bool *members = members_of(class);
		for (uint32_t c = 0; c < N_CODES; c++) {
			const char *category = utf8proc_category_string((utf8proc_int32_t)c);
			bool expected = strncmp(category, names[i], strlen(names[i])) == 0;
			if (!is_surrogate(c) && strcmp(category, "Cn") != 0 && members[c] != expected)
				fail_msg("U+%04X is %s, in %s: %d", c, category, class, members[c]);
		}
		free(members);
	}
}

static void numbers_of_unicode_16(void **state)
{
	static const struct {
		const char *class;
		unsigned n;
	} classes[] = {{"\\s", 25},        {"\\S", 1112039},   {"\\p{L}", 141028}, {"\\p{Lu}", 1858},
				   {"\\p{Ll}", 2258},  {"\\p{Lt}", 31},    {"\\p{Lm}", 404},   {"\\p{Lo}", 136477},
				   {"[\\p{M}]", 2501}, {"[\\p{N}]", 1911}, {"[\\p{P}]", 855}};
	(void)state;
	char version[64];
	pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
	if (atoi(version) > 16)
		skip();
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
		bool *members = members_of(classes[i].class);
		unsigned n = 0;
		for (uint32_t c = 0; c < N_CODES; c++)
			n += members[c];
		if (n != classes[i].n)
			fail_msg("%s has %u members, expected %u", classes[i].class, n, classes[i].n);
		free(members);
	}
}

/* No pattern can use what PCRE2's version decides. */
static void other_classes_are_refused(void **state)
{
	static const char *const patterns[] = {"\\h", "\\d+", "a\\w", "\\p{Han}", "[\\S]", "x\\b", "\\P{L}", "\\"};
	(void)state;
	for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
		char *out;
		evn_error err = {0};
		assert_int_equal(evn_unicode_pattern(&out, patterns[i], &err), EVN_ERR_UNSUPPORTED);
		assert_null(out);
		assert_non_null(strstr(err.text, patterns[i]));
	}
}

static void vowel_separator_is_no_white_space(void **state)
{
	/* DeepSeek's patterns have it in a range of their own. */
	static const char *const families[] = {"llama-bpe", "dbrx",  "glm4",   "qwen2",  "qwen35",
										   "tekken",    "gpt-2", "smollm", "falcon", ""};
	static const char text[] = " \xe1\xa0\x8e" /* U+180E */
							   "f";
	(void)state;
	for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
		evn_pretokenizer *p;
		evn_words words = {0};
		evn_error err = {0};
		evn_str name = {families[i], strlen(families[i])};
		if (evn_pretokenizer_create(&p, name, "tiny.gguf", &err) != EVN_OK ||
			evn_pretokenizer_split(p, text, sizeof text - 1, &words, &err) != EVN_OK)
			fail_msg("%s: %s", families[i], err.text);
		if (words.n != 2 || words.ends[0] != 4)
			fail_msg("%s: %zu words, the first of %u bytes", families[i], words.n, words.ends[0]);
		evn_words_clear(&words);
		evn_pretokenizer_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(white_space),
		cmocka_unit_test(categories),
		cmocka_unit_test(numbers_of_unicode_16),
		cmocka_unit_test(other_classes_are_refused),
		cmocka_unit_test(vowel_separator_is_no_white_space),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
