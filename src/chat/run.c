/* run.c - the memory, the limits and the failure of a run. */
#include "chat/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (64u << 10)

struct jchunk {
	jchunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void evn_j_fail(jrun *r, evn_status code, const char *fmt, ...)
{
	char text[sizeof r->err->text];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	r->status = r->line > 0 ? evn_fail(r->err, code, "%s, line %u: %s", r->name, r->line, text)
							: evn_fail(r->err, code, "%s: %s", r->name, text);
	longjmp(r->failed, 1);
}

void *evn_j_alloc(jrun *r, size_t n, size_t size)
{
	uint64_t bytes;
	if (!evn_mul_u64(n, size, &bytes) || bytes > EVN_J_MAX_MEMORY - r->memory)
		evn_j_fail(r, EVN_ERR_LIMIT, "more than %u MiB of memory are needed", EVN_J_MAX_MEMORY >> 20);
	bytes = evn_round_up(bytes, 16);
	jchunk *c = r->chunks;
	if (!c || c->size - c->used < bytes) {
		size_t room = bytes > CHUNK_BYTES ? (size_t)bytes : CHUNK_BYTES;
		c = calloc(1, sizeof *c + room);
		if (!c)
			evn_j_fail(r, EVN_ERR_MEMORY, "out of memory (%zu bytes)", room);
		c->next = r->chunks;
		c->size = room;
		r->chunks = c;
	}
	void *p = c->data + c->used;
	c->used += (size_t)bytes;
	r->memory += (size_t)bytes;
	return p;
}

void evn_j_free(jrun *r)
{
	while (r->chunks) {
		jchunk *next = r->chunks->next;
		free(r->chunks);
		r->chunks = next;
	}
}

void evn_j_spend(jrun *r, size_t steps)
{
	if (steps > EVN_J_MAX_STEPS - r->steps)
		evn_j_fail(r, EVN_ERR_LIMIT, "more than %u steps are needed", EVN_J_MAX_STEPS);
	r->steps += steps;
}

void evn_j_enter(jrun *r)
{
	evn_j_spend(r, 1);
	if (r->depth == EVN_J_MAX_DEPTH)
		evn_j_fail(r, EVN_ERR_LIMIT, "nested more than %d levels deep", EVN_J_MAX_DEPTH);
	r->depth++;
}
