/* utf8.c - see utf8.h. */
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

char *evn_utf8_clean(const char *text, size_t n, size_t *bytes)
{
	*bytes = 0;
	char *clean = n <= (SIZE_MAX - 1) / 3 ? malloc(3 * n + 1) : NULL; /* U+FFFD takes three bytes */
	if (!clean)
		return NULL;
	size_t used = 0;
	for (size_t i = 0; i < n;) {
		size_t whole, length = evn_utf8_prefix(text + i, n - i, &whole);
		bool valid = length > 0 && length == whole;
		memcpy(clean + used, valid ? text + i : "\xef\xbf\xbd", valid ? length : 3);
		used += valid ? length : 3;
		i += valid ? length : 1;
	}
	clean[used] = 0;
	*bytes = used;
	return clean;
}
