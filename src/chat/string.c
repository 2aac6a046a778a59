/* string.c - strings of characters in UTF-8. Each byte keeps its mark through every operation. Lengths and places are
 * those of characters, as in Python. */
#include "chat/jinja.h"

#include <string.h>

static void reserve(jrun *r, jout *o, size_t more)
{
	if (more > EVN_J_MAX_TEXT - o->n)
		evn_j_fail(r, EVN_ERR_LIMIT, "a text of more than %u MiB", EVN_J_MAX_TEXT >> 20);
	if (o->n + more <= o->capacity)
		return;
	size_t capacity = o->capacity < 64 ? 64 : 2 * o->capacity;
	capacity = capacity < o->n + more ? o->n + more : capacity;
	char *bytes = evn_j_alloc(r, capacity, 1);
	uint8_t *foreign = o->foreign ? evn_j_alloc(r, capacity, 1) : NULL;
	if (o->n > 0)
		memcpy(bytes, o->bytes, o->n);
	if (foreign)
		memcpy(foreign, o->foreign, o->n);
	o->bytes = bytes;
	o->foreign = foreign;
	o->capacity = capacity;
}

void evn_j_append(jrun *r, jout *o, const char *bytes, size_t n)
{
	const jstring s = {bytes, NULL, n};
	evn_j_append_part(r, o, &s, 0, n);
}

void evn_j_append_part(jrun *r, jout *o, const jstring *s, size_t begin, size_t end)
{
	if (begin >= end)
		return;
	size_t n = end - begin;
	evn_j_spend(r, n / 16);
	reserve(r, o, n);
	if (s->foreign && !o->foreign)
		o->foreign = evn_j_alloc(r, o->capacity, 1);
	memcpy(o->bytes + o->n, s->bytes + begin, n);
	if (s->foreign)
		memcpy(o->foreign + o->n, s->foreign + begin, n);
	else if (o->foreign)
		memset(o->foreign + o->n, 0, n);
	o->n += n;
}

const jstring *evn_j_finish(jrun *r, const jout *o)
{
	jstring *s = evn_j_alloc(r, 1, sizeof *s);
	*s = (jstring){o->n > 0 ? o->bytes : "", o->foreign, o->n};
	return s;
}

const jstring *evn_j_text(jrun *r, const char *text)
{
	jout o = {0};
	evn_j_append(r, &o, text, strlen(text));
	return evn_j_finish(r, &o);
}

const jstring *evn_j_part(jrun *r, const jstring *s, size_t begin, size_t end)
{
	if (begin == 0 && end == s->n)
		return s;
	jstring *part = evn_j_alloc(r, 1, sizeof *part);
	end = end < begin ? begin : end;
	*part = (jstring){s->bytes + begin, s->foreign ? s->foreign + begin : NULL, end - begin};
	return part;
}

bool evn_j_same(const jstring *a, const jstring *b) { return a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0; }

bool evn_j_is(const jstring *s, const char *text)
{
	return s->n == strlen(text) && memcmp(s->bytes, text, s->n) == 0;
}

/* The order of UTF-8 bytes is that of the characters. */
int evn_j_order(const jstring *a, const jstring *b)
{
	int order = memcmp(a->bytes, b->bytes, a->n < b->n ? a->n : b->n);
	return order ? order : (a->n > b->n) - (a->n < b->n);
}

uint32_t evn_j_character(const jstring *s, size_t at, size_t *length)
{
	const uint8_t *u = (const uint8_t *)s->bytes + at;
	*length = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	uint32_t c = *length == 1 ? u[0] : u[0] & (0xffu >> (*length + 1));
	for (size_t i = 1; i < *length; i++)
		c = c << 6 | (u[i] & 0x3f);
	return c;
}

static bool begins_character(const jstring *s, size_t at) { return ((uint8_t)s->bytes[at] & 0xc0) != 0x80; }

size_t evn_j_length(const jstring *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n; i++)
		n += begins_character(s, i);
	return n;
}

size_t evn_j_offset(const jstring *s, size_t character)
{
	size_t at = 0;
	for (; at < s->n; at++)
		if (begins_character(s, at) && character-- == 0)
			break;
	return at;
}

size_t evn_j_find(jrun *r, const jstring *s, const jstring *what, size_t from)
{
	if (from > s->n)
		return SIZE_MAX;
	evn_j_spend(r, (s->n - from) / 16 + 1);
	const char *hit = what->n ? memmem(s->bytes + from, s->n - from, what->bytes, what->n) : s->bytes + from;
	return hit ? (size_t)(hit - s->bytes) : SIZE_MAX;
}

bool evn_j_is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
		   (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool strips(const jstring *characters, const jstring *s, size_t at, size_t length)
{
	size_t ignored;
	if (!characters)
		return evn_j_is_space(evn_j_character(s, at, &ignored));
	for (size_t i = 0; i < characters->n; i++)
		if (begins_character(characters, i) && characters->n - i >= length &&
			memcmp(characters->bytes + i, s->bytes + at, length) == 0)
			return true;
	return false;
}

const jstring *evn_j_strip(jrun *r, const jstring *s, const jstring *characters, bool left, bool right)
{
	size_t begin = 0, end = s->n, length;
	evn_j_spend(r, s->n / 16 + 1);
	while (left && begin < end) {
		evn_j_character(s, begin, &length);
		if (!strips(characters, s, begin, length))
			break;
		begin += length;
	}
	while (right && end > begin) {
		size_t at = end - 1;
		while (!begins_character(s, at))
			at--;
		if (!strips(characters, s, at, end - at))
			break;
		end = at;
	}
	return evn_j_part(r, s, begin, end);
}

const jstring *evn_j_replace(jrun *r, const jstring *s, const jstring *old, const jstring *by, int64_t most)
{
	jout o = {0};
	size_t at = 0;
	while (most != 0) {
		size_t hit = evn_j_find(r, s, old, at);
		if (hit == SIZE_MAX)
			break;
		evn_j_append_part(r, &o, s, at, hit);
		evn_j_append_all(r, &o, by);
		most -= most > 0;
		at = hit + old->n;
		if (old->n == 0) { /* before each character, and at the end */
			size_t length = 0;
			if (at < s->n)
				evn_j_character(s, at, &length);
			evn_j_append_part(r, &o, s, at, at + length);
			at += length ? length : 1;
		}
	}
	if (at < s->n)
		evn_j_append_part(r, &o, s, at, s->n);
	return evn_j_finish(r, &o);
}

/* ---- upper and lower case: Latin, Greek and Cyrillic letters, which is what names of roles and tools are made of
 * ---- */

typedef struct {
	uint16_t first, last; /* small letters */
	int16_t up;           /* to the capital; 0: capital and small letters alternate, the small ones are odd or even */
} case_range;

static const case_range ranges[] = {
	{'a', 'z', -32},     {0xe0, 0xf6, -32},   {0xf8, 0xfe, -32},   {0xff, 0xff, 121},   {0x101, 0x12f, 0},
	{0x133, 0x137, 0},   {0x13a, 0x148, 0},   {0x14b, 0x177, 0},   {0x17a, 0x17e, 0},   {0x3ac, 0x3ac, -38},
	{0x3ad, 0x3af, -37}, {0x3b1, 0x3c1, -32}, {0x3c3, 0x3cb, -32}, {0x3cc, 0x3cc, -64}, {0x3cd, 0x3ce, -63},
	{0x430, 0x44f, -32}, {0x450, 0x45f, -80}, {0x461, 0x481, 0},   {0x48b, 0x4bf, 0},   {0x1e01, 0x1e95, 0},
	{0x1ea1, 0x1eff, 0},
};

static const case_range *range_of(uint32_t c, bool small)
{
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		const case_range *x = &ranges[i];
		uint32_t by = (uint32_t)(x->up ? x->up : -1); /* wraps */
		uint32_t from = small ? x->first : x->first + by, to = small ? x->last : x->last + by;
		if (c >= from && c <= to && (x->up || (c - from) % 2 == 0))
			return x;
	}
	return NULL;
}

static uint32_t to_upper(uint32_t c)
{
	const case_range *x = range_of(c, true);
	return x ? (uint32_t)((int32_t)c + (x->up ? x->up : -1)) : c == 0x3c2 ? 0x3a3 : c;
}

static uint32_t to_lower(uint32_t c)
{
	const case_range *x = range_of(c, false);
	return x ? (uint32_t)((int32_t)c - (x->up ? x->up : -1)) : c;
}

bool evn_j_has_case(uint32_t c) { return range_of(c, true) || range_of(c, false) || c == 0xdf || c == 0x3c2; }

/* Appends c, which stands for the character of s at this byte. */
static void append_character(jrun *r, jout *o, const jstring *s, size_t at, uint32_t c)
{
	char text[4];
	uint8_t foreign[4] = {0};
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		text[i] = (char)(0x80 | (c & 0x3f));
	text[0] = (char)(first[n] | c);
	if (s->foreign)
		memset(foreign, s->foreign[at], sizeof foreign);
	const jstring one = {text, s->foreign ? foreign : NULL, n};
	evn_j_append_all(r, o, &one);
}

static bool splits_words(uint32_t c)
{
	return evn_j_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

const jstring *evn_j_recase(jrun *r, const jstring *s, jcase to)
{
	jout o = {0};
	bool begins = true; /* the next letter begins a word */
	for (size_t at = 0, length; at < s->n; at += length) {
		uint32_t c = evn_j_character(s, at, &length);
		bool upper = to == CASE_UPPER || (begins && to != CASE_LOWER);
		if (c == 0xdf && upper) { /* sharp s */
			append_character(r, &o, s, at, 'S');
			append_character(r, &o, s, at, to == CASE_UPPER ? 'S' : 's');
		} else {
			append_character(r, &o, s, at, upper ? to_upper(c) : to_lower(c));
		}
		begins = to == CASE_TITLE ? !evn_j_has_case(c) : to == CASE_WORDS && splits_words(c);
	}
	return evn_j_finish(r, &o);
}

size_t evn_j_line_end(const jstring *s, size_t from, size_t *next)
{
	size_t at = from, length;
	for (; at < s->n; at += length) {
		uint32_t c = evn_j_character(s, at, &length);
		if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029) {
			*next = at + length;
			if (c == '\r' && *next < s->n && s->bytes[*next] == '\n')
				++*next;
			return at;
		}
	}
	*next = s->n;
	return s->n;
}
