/* reply.c - see reply.h. */
#include "serve/reply.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_S 1

bool problem_set(problem *p, unsigned status, const char *code, const char *param, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->message, sizeof p->message, fmt, args);
	va_end(args);
	p->status = status;
	p->code = code;
	snprintf(p->param, sizeof p->param, "%s", param ? param : "");
	return false;
}

bool problem_from(problem *p, const char *param, const evn_error *e)
{
	bool client = e->code == EVN_ERR_USAGE || e->code == EVN_ERR_LIMIT;
	return problem_set(p, client ? 400 : 500, NULL, client ? param : NULL, "%s", e->text);
}

static const char *type_of(unsigned status)
{
	static const struct {
		unsigned status;
		const char *type;
	} types[] = {{401, "authentication_error"},
				 {403, "permission_error"},
				 {404, "not_found_error"},
				 {429, "rate_limit_error"},
				 {503, "unavailable_error"}};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (types[i].status == status)
			return types[i].type;
	return status < 500 ? "invalid_request_error" : "server_error";
}

json_t *problem_json(const problem *p)
{
	json_t *message = reply_text(p->message, strlen(p->message));
	json_t *param = *p->param ? reply_text(p->param, strlen(p->param)) : json_null();
	return json_pack("{s:{s:o, s:s, s:o, s:s?}}", "error", "message", message, "type", type_of(p->status), "param",
					 param, "code", p->code);
}

void reply_copy(reply *r, const char *type, const void *body, size_t bytes)
{
	free(r->body);
	r->type = type;
	r->body = malloc(bytes + 1);
	r->bytes = r->body ? bytes : 0;
	if (r->body)
		memcpy(r->body, body, bytes);
	else
		r->status = 500;
}

void reply_json(reply *r, unsigned status, json_t *root)
{
	/* nine digits distinguish any two floats */
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(root);
	r->status = status;
	if (!text) {
		r->status = 500;
		reply_copy(r, "application/json", OUT_OF_MEMORY, sizeof OUT_OF_MEMORY - 1);
		return;
	}
	free(r->body);
	r->type = "application/json";
	r->body = text;
	r->bytes = strlen(text);
}

void reply_problem(reply *r, const problem *p)
{
	reply_json(r, p->status, problem_json(p));
	r->retry_after_s = p->status == 429 || p->status == 503 ? RETRY_AFTER_S : 0;
}

void reply_event(buffer *b, json_t *event)
{
	char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	buffer_text(b, "data: ");
	buffer_text(b, text ? text : OUT_OF_MEMORY);
	buffer_text(b, "\n\n");
	free(text);
	json_decref(event);
}

json_t *reply_text(const char *text, size_t n)
{
	size_t bytes;
	char *clean = evn_utf8_clean(text, n, &bytes);
	json_t *string = clean ? json_stringn_nocheck(clean, bytes) : NULL;
	free(clean);
	return string;
}

json_t *reply_logprob(float value)
{
	/* the number that OpenAI's API has for a token that cannot come */
	return json_real(isfinite(value) ? (double)value : -9999.0);
}
