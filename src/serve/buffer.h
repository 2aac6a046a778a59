/* buffer.h - bytes that grow. After memory has run out a buffer is empty and stays so; `failed` tells. */
#ifndef EVN_SERVE_BUFFER_H
#define EVN_SERVE_BUFFER_H

#include "base/base.h"

typedef struct {
	char *data; /* NUL-terminated, or NULL while nothing was added */
	size_t used, size;
	bool failed;
} buffer;

void buffer_add(buffer *b, const void *data, size_t n);
void buffer_text(buffer *b, const char *text);
void buffer_print(buffer *b, const char *fmt, ...) EVN_PRINTF(2, 3); /* at most 1023 bytes */
void buffer_remove(buffer *b, size_t n);                             /* the first n bytes */
size_t buffer_take(buffer *b, char *to, size_t n);                   /* at most the first n; how many */
void buffer_free(buffer *b);

#endif
