/* buffer.c - see buffer.h. */
#include "serve/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(buffer *b, size_t n)
{
	if (b->failed || n > SIZE_MAX / 4 - b->used)
		return false;
	if (b->used + n < b->size)
		return true;
	size_t size = b->size ? b->size : 256;
	while (size <= b->used + n)
		size *= 2;
	char *data = realloc(b->data, size);
	if (!data) {
		buffer_free(b);
		b->failed = true;
		return false;
	}
	b->data = data;
	b->size = size;
	return true;
}

void buffer_add(buffer *b, const void *data, size_t n)
{
	if (n == 0 || !make_room(b, n))
		return;
	memcpy(b->data + b->used, data, n);
	b->used += n;
	b->data[b->used] = 0;
}

void buffer_text(buffer *b, const char *text) { buffer_add(b, text, strlen(text)); }

void buffer_print(buffer *b, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (n > 0)
		buffer_add(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void buffer_remove(buffer *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->used - n + 1);
	b->used -= n;
}

size_t buffer_take(buffer *b, char *to, size_t n)
{
	const size_t taken = n < b->used ? n : b->used;
	if (taken)
		memcpy(to, b->data, taken);
	buffer_remove(b, taken);
	return taken;
}

void buffer_free(buffer *b)
{
	free(b->data);
	*b = (buffer){0};
}
