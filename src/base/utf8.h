/* utf8.h - counts the bytes that form or begin a character, to distinguish a cut character from a broken one; makes
 * text of bytes. */
#ifndef EVN_UTF8_H
#define EVN_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the longest beginning of a valid character at p (n > 0 bytes); 0 if p[0] begins none. *whole is the
 * full length of that character. The two are equal if the character is complete. */
static inline size_t evn_utf8_prefix(const char *p, size_t n, size_t *whole)
{
	const uint8_t *u = (const uint8_t *)p;
	uint8_t first = u[0], low = 0x80,
			high = 0xbf; /* range of the second byte: excludes overlong forms, surrogates and > U+10FFFF */
	*whole = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (*whole == 0)
		return 0;
	size_t length = 1;
	for (; length < *whole && length < n && u[length] >= low && u[length] <= high; length++) {
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

/* The text with U+FFFD in place of each byte that is no UTF-8, malloc'd and NUL-terminated. NULL: out of memory. */
char *evn_utf8_clean(const char *text, size_t n, size_t *bytes);

#endif
