/* sentences.c - ends of sentences by plain rules, after Unicode's UAX #29. A missed end makes a longer unit, which
 * does little harm; a wrong one tears a sentence apart. So every doubt is a reason not to end it. */
#include "cli/batch/units.h"

#include <string.h>
#include <strings.h>
#include <utf8proc.h>

typedef enum {
	NO_TERMINATOR,
	FULL_STOP, /* also ends abbreviations, numbers and initials */
	SPACED,    /* ends a sentence if white space follows */
	UNSPACED,  /* of scripts that write no space there */
} terminator;

static terminator terminator_of(int32_t c)
{
	static const int32_t spaced[] = {'!',    '?',    0x589,  0x61e,  0x61f,  0x6d4,  0x700,  0x701,  0x702,
									 0x7f9,  0x964,  0x965,  0x104a, 0x104b, 0x1362, 0x1367, 0x1368, 0x1803,
									 0x1809, 0x203c, 0x203d, 0x2047, 0x2048, 0x2049, 0x2e2e, 0x17d4, 0x17d5};
	if (c == '.' || c == 0x2024 || c == 0x2026 || c == 0xfe52)
		return FULL_STOP;
	if (c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f || c == 0xff61 || c == 0xfe56 || c == 0xfe57)
		return UNSPACED;
	for (size_t i = 0; i < sizeof spaced / sizeof *spaced; i++)
		if (c == spaced[i])
			return SPACED;
	return NO_TERMINATOR;
}

static bool is_closing(int32_t c)
{
	utf8proc_category_t category = utf8proc_category(c);
	return category == UTF8PROC_CATEGORY_PE || category == UTF8PROC_CATEGORY_PF;
}

/* Also opens in some languages: "quotes" and *emphasis*. In front of white space it closes. */
static bool is_either(int32_t c)
{
	return c == '"' || c == '\'' || c == '*' || c == '_' || utf8proc_category(c) == UTF8PROC_CATEGORY_PI;
}

static bool is_opening(int32_t c)
{
	return is_either(c) || is_closing(c) || utf8proc_category(c) == UTF8PROC_CATEGORY_PS;
}

/* The first character behind white space and opening quotes or brackets; 0 at the end of the text. */
static int32_t first_of_next(const char *text, size_t bytes, size_t at)
{
	size_t length;
	for (; at < bytes; at += length) {
		int32_t c = character_at(text, bytes, at, &length);
		if (c < 0 || !(is_space(c) || is_opening(c)))
			return c;
	}
	return 0;
}

/* The word in front of text[at], without what opens it. */
static text_range word_before(const char *text, size_t begin, size_t at)
{
	text_range word = {at, at};
	size_t length;
	while (word.begin > begin) {
		size_t before = word.begin - 1;
		while (before > begin && ((unsigned char)text[before] & 0xc0) == 0x80)
			before--;
		if (is_space(character_at(text, at, before, &length)))
			break;
		word.begin = before;
	}
	while (word.begin < at) {
		int32_t c = character_at(text, at, word.begin, &length);
		if (c < 0 || !is_opening(c))
			break;
		word.begin += length;
	}
	return word;
}

static bool is_listed(const char *word, size_t bytes, const char *list)
{
	for (const char *item = list; *item;) {
		size_t n = strcspn(item, " ");
		if (n == bytes && strncasecmp(item, word, n) == 0)
			return true;
		item += n + (item[n] == ' ');
	}
	return false;
}

/* Letters and periods in turn, at most two letters at a time: U.S, e.g, z.B, Ph.D; also a single letter. */
static bool is_spelt(const char *word, size_t bytes)
{
	size_t n_letters = 0, n_parts = 1, longest = 0, length;
	for (size_t at = 0; at < bytes; at += length) {
		int32_t c = character_at(word, bytes, at, &length);
		utf8proc_category_t category = c < 0 ? UTF8PROC_CATEGORY_CN : utf8proc_category(c);
		if (c == '.') {
			n_parts++;
			n_letters = 0;
		} else if (category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL) {
			n_letters++;
		} else {
			return false;
		}
		longest = n_letters > longest ? n_letters : longest;
	}
	return longest == 1 || (n_parts > 1 && longest == 2);
}

/* Whether the full stop behind the word is likely to be a part of it. next: the first character behind it. */
static bool is_abbreviation(const char *word, size_t bytes, int32_t next)
{
	static const char always[] =
		"mr mrs ms mx dr prof st sr jr rev hon gen col maj capt lt sgt cpl cmdr adm gov sen rep pres supt messrs "
		"mme mlle mm vs viz cf al etc approx dept est inc ltd co corp bros univ assn "
		"jan feb mar apr jun jul aug sept sep oct nov dec "
		"bzw ca evtl ggf usw vgl str hr fr sog inkl exkl zzgl bsp mio mrd sra srta ud uds env";
	static const char before_number[] = "no nos nr fig figs pp vol vols ch chap sec art eq eqs ref refs abs tab";
	if (bytes > 0 && bytes <= 2 && strspn(word, "0123456789") >= bytes)
		return true; /* a list's number, an ordinal */
	if (next >= '0' && next <= '9' && is_listed(word, bytes, before_number))
		return true;
	return is_listed(word, bytes, always) || is_spelt(word, bytes);
}

size_t sentence_end(const char *text, size_t bytes, size_t begin, size_t at, bool *ends)
{
	size_t end = at, length = 0, n_marks = 0;
	bool stops_only = true, unspaced = false;
	int32_t c = 0;
	*ends = false;
	for (; end < bytes; end += length, n_marks++) {
		terminator t = terminator_of(c = character_at(text, bytes, end, &length));
		if (t == NO_TERMINATOR)
			break;
		stops_only = stops_only && t == FULL_STOP;
		unspaced = unspaced || t == UNSPACED;
	}
	if (n_marks == 0)
		return at;
	size_t behind_marks = end;
	for (; end < bytes; end += length) {
		c = character_at(text, bytes, end, &length);
		if (c < 0 || !(is_closing(c) || (is_either(c) && !unspaced)))
			break;
	}
	if (end == bytes || unspaced) {
		*ends = true;
		return end;
	}
	if (!is_space(c))
		return behind_marks;
	int32_t next = first_of_next(text, bytes, end);
	text_range word = word_before(text, begin, at);
	*ends = !(next > 0 && utf8proc_category(next) == UTF8PROC_CATEGORY_LL) &&
			!(stops_only && n_marks == 1 && is_abbreviation(text + word.begin, word.end - word.begin, next));
	return end;
}
