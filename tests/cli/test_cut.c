/* test_cut.c - texts cut into pieces: where units end, and what holds for every text, limit and kind of unit. */
#include "cli/batch/cut.h"
#include "base/base.h"
#include "cli/batch/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A token for each three bytes. Counts the work, too. */
static evn_status count_by_bytes(void *user, const char *text, size_t bytes, size_t *tokens, evn_error *err)
{
	(void)text, (void)err;
	size_t *n_bytes = user;
	*n_bytes += bytes;
	*tokens = (bytes + 2) / 3;
	return EVN_OK;
}

static void cut(cut_text *out, const char *text, size_t bytes, cut_units units, size_t limit)
{
	evn_error err = {0};
	size_t n_bytes = 0;
	token_counter counter = {count_by_bytes, &n_bytes};
	assert_int_equal(text_cut(out, text, bytes, units, limit, &counter, &err), EVN_OK);
	/* the work grows with the text, not with its square: long texts are not counted as a whole */
	assert_true(n_bytes <= 64 * (bytes + 1) * (limit < 32 ? 32 : 1));
}

/* expected: the pieces, with | between them. */
static void expect(cut_units units, size_t limit, const char *text, const char *expected)
{
	cut_text c;
	char got[4096] = "";
	cut(&c, text, strlen(text), units, limit);
	for (size_t i = 0; i < c.n; i++) {
		size_t used = strlen(got);
		snprintf(got + used, sizeof got - used, "%s%.*s", i ? "|" : "", (int)(c.pieces[i].end - c.pieces[i].begin),
				 text + c.pieces[i].begin);
	}
	assert_string_equal(got, expected);
	cut_text_free(&c);
}

static void test_lines_and_paragraphs(void **state)
{
	(void)state;
	expect(CUT_LINES, 0, "", "");
	expect(CUT_LINES, 0, " \n\t\n", "");
	expect(CUT_LINES, 0,
		   "one\n  two \r\n\r\nthree\rfour\xe2\x80\xa8"
		   "five",
		   "one|two|three|four|five");
	expect(CUT_PARAGRAPHS, 0, "one\ntwo\n\nthree\n \t\nfour\r\n\r\nfive\xe2\x80\xa9six",
		   "one\ntwo|three|four|five|six");
	expect(CUT_PARAGRAPHS, 0, "\xef\xbb\xbfone", "one");
	expect(CUT_WHOLE, 1, "\n one\n\ntwo. Three\n", "one\n\ntwo. Three");
}

static void test_sentences(void **state)
{
	(void)state;
	static const char *const kept[] = {
		"Mr. Smith met Dr. Jones.",
		"It costs 3.14 or 2.50 Euro.",
		"See e.g. Knuth or i.e. the other.",
		"The U.S. Army left at 5 p.m. Monday.",
		"J. R. R. Tolkien wrote it.",
		"So it was... and it went on.",
		"\"Why?\" he asked.",
		"Visit example.com or read a.b.c now.",
		"Am 3. Mai war es z.B. Ph.D. Maier.",
		"Fig. 3 and No. 5 on pp. 7.",
		"Well (really!) yes.",
		"Yahoo! is a name.",
		"no end at all",
	};
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		expect(CUT_SENTENCES, 0, kept[i], kept[i]);
	expect(CUT_SENTENCES, 0, "One. Two!  Three?\nFour", "One.|Two!|Three?|Four");
	expect(CUT_SENTENCES, 0, "A heading\n\nA text. (In brackets.) \xe2\x80\x9cQuoted.\xe2\x80\x9d Out.",
		   "A heading|A text.|(In brackets.)|\xe2\x80\x9cQuoted.\xe2\x80\x9d|Out.");
	expect(CUT_SENTENCES, 0, "What?! Really... Yes. No. I will not.", "What?!|Really...|Yes.|No.|I will not.");
	expect(CUT_SENTENCES, 0, "It was 1999. It is example.com. Next.", "It was 1999.|It is example.com.|Next.");
	expect(CUT_SENTENCES, 0, "a line\nthat goes on. It ends.", "a line\nthat goes on.|It ends.");
	expect(CUT_SENTENCES, 0,
		   "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82\xe2\x80\x9c\xe5\xa5\xbd\xef\xbc\x81\xe2\x80\x9d\xe6\x98\xaf",
		   "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82|\xe2\x80\x9c\xe5\xa5\xbd\xef\xbc\x81\xe2\x80\x9d|\xe6\x98\xaf");
	expect(CUT_SENTENCES, 0, "\xe0\xa4\x95\xe0\xa5\xa4 \xe0\xa4\x96\xe0\xa5\xa4",
		   "\xe0\xa4\x95\xe0\xa5\xa4|\xe0\xa4\x96\xe0\xa5\xa4");
	expect(CUT_SENTENCES, 0, "*Bold.* Next. 12. An item. IV. A chapter.",
		   "*Bold.*|Next.|12. An item.|IV.|A chapter.");
}

static void test_packing(void **state)
{
	(void)state;
	expect(CUT_LINES, 2, "ab\ncd\nef\ngh", "ab\ncd|ef\ngh");
	expect(CUT_LINES, 100, "ab\n\ncd\n", "ab\n\ncd");
	/* a long unit is cut between words; what is left of it is packed with the next */
	expect(CUT_LINES, 4, "aaaa bbbb cccc dddd\nefg", "aaaa bbbb|cccc dddd|efg");
	expect(CUT_LINES, 4, "aaaa bbbb cccc\nef", "aaaa bbbb|cccc\nef");
	/* a long word is cut between characters, which stay whole: a letter and its accent, a flag */
	expect(CUT_LINES, 1, "abcdefgh", "abc|def|gh");
	expect(CUT_LINES, 1,
		   "xa\xcc\x88"
		   "b",
		   "x|a\xcc\x88|b");
	expect(CUT_LINES, 1,
		   "a\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa"
		   "b",
		   "a|\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa|b");
}

static evn_random numbers = {2024};

/* Text of what is hard to cut, with some bytes that are no UTF-8. */
static size_t random_text(char *text, size_t size)
{
	static const char *const parts[] = {"a",
										"word",
										"Longer",
										" ",
										"  ",
										"\n",
										"\n\n",
										"\r\n",
										".",
										"...",
										"?!",
										"Mr.",
										"e.g.",
										"3.14",
										"\xc2\xa0",
										"\t",
										"\"",
										"\xe3\x80\x82",
										"\xff",
										"\xe2\x82",
										"\xe2\x80\xa9",
										"e\xcc\x81",
										"(",
										")",
										"\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
										"-",
										"X",
										"\xe3\x80\x80"};
	size_t n = 0;
	for (uint32_t i = evn_random_below(&numbers, 200); i > 0; i--) {
		const char *part = parts[evn_random_below(&numbers, sizeof parts / sizeof *parts)];
		if (n + strlen(part) >= size)
			break;
		memcpy(text + n, part, strlen(part));
		n += strlen(part);
	}
	return n;
}

static bool is_blank(const char *text, size_t from, size_t to) { return skip_space(text, to, from) == to; }

static void check_pieces(const cut_text *c, const char *text, size_t bytes, cut_units units, size_t limit)
{
	size_t at = 0, length;
	for (size_t i = 0; i < c->n; i++) {
		text_range r = c->pieces[i];
		size_t n_tokens = (r.end - r.begin + 2) / 3;
		/* in order, with white space between them only: with the gaps they are the text */
		assert_true(r.begin >= at && r.end > r.begin && r.end <= bytes);
		assert_true(is_blank(text, at, r.begin));
		/* trimmed */
		assert_false(is_space(character_at(text, bytes, r.begin, &length)));
		size_t last = r.end - 1;
		while (last > r.begin && ((unsigned char)text[last] & 0xc0) == 0x80)
			last--;
		assert_false(is_space(character_at(text, bytes, last, &length)));
		/* only a single character may be larger than the limit */
		size_t *ends, n;
		assert_true(find_ends(&ends, &n, text, r, false));
		assert_true(limit == 0 || units == CUT_WHOLE || n_tokens <= limit || n == 1);
		free(ends);
		at = r.end;
	}
	assert_true(is_blank(text, at, bytes));
}

static void test_every_text(void **state)
{
	(void)state;
	static const size_t limits[] = {0, 1, 2, 3, 7, 40, 1000};
	char text[1024];
	for (int round = 0; round < 3000; round++) {
		size_t bytes = random_text(text, sizeof text);
		for (cut_units units = CUT_LINES; units <= CUT_WHOLE; units++) {
			cut_text c;
			size_t limit = limits[evn_random_below(&numbers, sizeof limits / sizeof *limits)];
			cut(&c, text, bytes, units, limit);
			check_pieces(&c, text, bytes, units, limit);
			assert_true(units != CUT_WHOLE || c.n <= 1);
			cut_text_free(&c);
		}
	}
}

/* A book without an end of line, and one without white space. */
static void test_long_text(void **state)
{
	(void)state;
	size_t bytes = 2u << 20;
	char *text = malloc(bytes);
	assert_non_null(text);
	for (int words = 0; words < 2; words++) {
		cut_text c;
		for (size_t i = 0; i < bytes; i++)
			text[i] = words && i % 7 == 6 ? ' ' : 'x';
		cut(&c, text, bytes, CUT_SENTENCES, 256);
		check_pieces(&c, text, bytes, CUT_SENTENCES, 256);
		assert_int_equal(c.n_long, 1);
		assert_in_range(c.n, bytes / 768, bytes / 768 + bytes / 70000);
		cut_text_free(&c);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_and_paragraphs), cmocka_unit_test(test_sentences), cmocka_unit_test(test_packing),
		cmocka_unit_test(test_every_text),           cmocka_unit_test(test_long_text),
	};
	return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
