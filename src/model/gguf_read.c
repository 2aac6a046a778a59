/* gguf_read.c - typed reads of GGUF metadata. A value is read in its own type and converted if it fits. Otherwise the
 * message names both types. */
#include "model/gguf.h"
#include "base/utf8.h"

#include <float.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_ELEMENTS 8u /* the elements shown of an array */
#define SHOWN_TEXT 40u    /* the bytes shown of each of its strings */

/* The type's name as a scalar and as an array. */
static const char *const type_names[EVN_GGUF__COUNT][2] = {
	[EVN_GGUF_U8] = {"u8", "u8[]"},
	[EVN_GGUF_I8] = {"i8", "i8[]"},
	[EVN_GGUF_U16] = {"u16", "u16[]"},
	[EVN_GGUF_I16] = {"i16", "i16[]"},
	[EVN_GGUF_U32] = {"u32", "u32[]"},
	[EVN_GGUF_I32] = {"i32", "i32[]"},
	[EVN_GGUF_F32] = {"f32", "f32[]"},
	[EVN_GGUF_BOOL] = {"bool", "bool[]"},
	[EVN_GGUF_STRING] = {"string", "string[]"},
	[EVN_GGUF_ARRAY] = {"array", "array[]"},
	[EVN_GGUF_U64] = {"u64", "u64[]"},
	[EVN_GGUF_I64] = {"i64", "i64[]"},
	[EVN_GGUF_F64] = {"f64", "f64[]"},
};

const char *evn_gguf_value_type(const evn_gguf_value *v) { return type_names[v->element][v->type == EVN_GGUF_ARRAY]; }

/* A scalar of any number type. Integers keep sign and magnitude apart, so that u64 and i64 both fit. */
typedef struct {
	bool is_integer, negative;
	uint64_t magnitude;
	double real;
} number;

static number from_unsigned(uint64_t v) { return (number){true, false, v, (double)v}; }

static number from_signed(const uint8_t *p, size_t n)
{
	uint64_t v = evn_load_le(p, n);
	if (!(v >> (8 * n - 1)))
		return from_unsigned(v);
	uint64_t magnitude = ~(v | (n < 8 ? UINT64_MAX << 8 * n : 0)) + 1;
	return (number){true, true, magnitude, -(double)magnitude};
}

static number from_f32(const uint8_t *p)
{
	uint32_t bits = (uint32_t)evn_load_le(p, 4);
	float f;
	memcpy(&f, &bits, sizeof f);
	return (number){.real = (double)f};
}

static number from_f64(const uint8_t *p)
{
	uint64_t bits = evn_load_le(p, 8);
	double f;
	memcpy(&f, &bits, sizeof f);
	return (number){.real = f};
}

/* Element i of v. False for types that are no numbers. */
static bool read_number(const evn_gguf_value *v, uint64_t i, number *out)
{
	const size_t n = evn_gguf_type_bytes(v->element);
	const uint8_t *p = v->data + n * i;
	switch (v->element) {
	case EVN_GGUF_U8:
	case EVN_GGUF_U16:
	case EVN_GGUF_U32:
	case EVN_GGUF_U64:
		*out = from_unsigned(evn_load_le(p, n));
		return true;
	case EVN_GGUF_I8:
	case EVN_GGUF_I16:
	case EVN_GGUF_I32:
	case EVN_GGUF_I64:
		*out = from_signed(p, n);
		return true;
	case EVN_GGUF_F32:
		*out = from_f32(p);
		return true;
	case EVN_GGUF_F64:
		*out = from_f64(p);
		return true;
	default:
		return false;
	}
}

static evn_status wrong_type(const evn_gguf *g, const evn_gguf_value *v, const char *key, const char *expected,
							 evn_error *err)
{
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is of type %s, expected %s, at byte %" PRIu64, evn_gguf_name(g),
					key, evn_gguf_value_type(v), expected, evn_gguf_position(g, v));
}

/* Element i of v, if it is an integer from 0 to UINT32_MAX. */
static evn_status read_u32(const evn_gguf *g, const evn_gguf_value *v, uint64_t i, const char *key, uint32_t *out,
						   evn_error *err)
{
	number n;
	if (!read_number(v, i, &n) || !n.is_integer)
		return wrong_type(g, v, key, "u32", err);
	if (n.magnitude > (n.negative ? 0 : UINT32_MAX))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %s%" PRIu64 ", which no u32 holds, at byte %" PRIu64,
						evn_gguf_name(g), key, n.negative ? "-" : "", n.magnitude, evn_gguf_position(g, v));
	*out = (uint32_t)n.magnitude;
	return EVN_OK;
}

evn_status evn_gguf_u32(const evn_gguf *g, const char *key, uint32_t *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	if (!v)
		return EVN_OK;
	if (v->type == EVN_GGUF_ARRAY)
		return wrong_type(g, v, key, "u32", err);
	return read_u32(g, v, 0, key, out, err);
}

evn_status evn_gguf_uniform_u32(const evn_gguf *g, const char *key, uint32_t *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	if (!v || v->type != EVN_GGUF_ARRAY)
		return evn_gguf_u32(g, key, out, err);
	uint32_t first = *out, n = 0;
	for (uint64_t i = 0; i < v->count; i++) {
		EVN_TRY(read_u32(g, v, i, key, &n, err));
		if (i == 0)
			first = n;
		else if (n != first)
			return evn_fail(err, EVN_ERR_UNSUPPORTED,
							"%s: \"%s\" differs between layers (%u and %u), which evener does not run",
							evn_gguf_name(g), key, first, n);
	}
	*out = first;
	return EVN_OK;
}

evn_status evn_gguf_layer_u32(const evn_gguf *g, const char *key, uint32_t layer, uint32_t *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	if (!v || v->type != EVN_GGUF_ARRAY)
		return evn_gguf_u32(g, key, out, err);
	if (layer >= v->count)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: \"%s\" has %" PRIu64 " entries, expected one for layer %" PRIu32 " too",
						evn_gguf_name(g), key, v->count, layer);
	return read_u32(g, v, layer, key, out, err);
}

evn_status evn_gguf_f32(const evn_gguf *g, const char *key, float *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	number n;
	if (!v)
		return EVN_OK;
	if (v->type == EVN_GGUF_ARRAY || !read_number(v, 0, &n))
		return wrong_type(g, v, key, "f32", err);
	if (n.real > FLT_MAX || n.real < -FLT_MAX || n.real != n.real)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %g, expected a finite f32, at byte %" PRIu64,
						evn_gguf_name(g), key, n.real, evn_gguf_position(g, v));
	*out = (float)n.real;
	return EVN_OK;
}

evn_status evn_gguf_bool(const evn_gguf *g, const char *key, bool *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	if (!v)
		return EVN_OK;
	if (v->type != EVN_GGUF_BOOL)
		return wrong_type(g, v, key, "bool", err);
	*out = v->data[0] != 0;
	return EVN_OK;
}

evn_status evn_gguf_string(const evn_gguf *g, const char *key, evn_str *out, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, key);
	if (!v)
		return EVN_OK;
	if (v->type != EVN_GGUF_STRING)
		return wrong_type(g, v, key, "string", err);
	*out = v->strings[0];
	return EVN_OK;
}

evn_status evn_gguf_array(const evn_gguf *g, const char *key, evn_gguf_type element, const evn_gguf_value **out,
						  evn_error *err)
{
	const evn_gguf_value *v = *out = evn_gguf_find(g, key);
	if (!v || (v->type == EVN_GGUF_ARRAY && v->element == element))
		return EVN_OK;
	*out = NULL;
	return wrong_type(g, v, key, type_names[element][1], err);
}

bool evn_gguf_number(const evn_gguf_value *v, double *out)
{
	number n;
	if (v->type == EVN_GGUF_ARRAY)
		return false;
	if (v->type == EVN_GGUF_BOOL)
		n.real = v->data[0];
	else if (!read_number(v, 0, &n))
		return false;
	*out = n.real;
	return true;
}

bool evn_str_is(evn_str s, const char *text) { return s.length == strlen(text) && !memcmp(s.text, text, s.length); }

/* ---- values as text ------------------------------------------------------------------------------------------- */

typedef struct {
	char *at;
	size_t left; /* including the terminating NUL */
} writer;

static void put(writer *w, const char *fmt, ...) EVN_PRINTF(2, 3);

static void put(writer *w, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(w->at, w->left, fmt, args);
	va_end(args);
	size_t used = n < 0 ? 0 : (size_t)n < w->left ? (size_t)n : w->left - 1;
	w->at += used;
	w->left -= used;
}

/* The text is UTF-8 without control characters, whatever the file holds, so that it cannot control a terminal. */
static void put_string(writer *w, evn_str s, uint64_t max)
{
	uint64_t i = 0;
	put(w, "\"");
	while (i < s.length && i < max && w->left > 4) { /* room for the longest character or escape */
		const unsigned char *p = (const unsigned char *)s.text + i;
		size_t whole, n = evn_utf8_prefix(s.text + i, (size_t)(s.length - i), &whole);
		bool escape = n == 0 || n < whole || *p < ' ' || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
		if (*p == '\n')
			put(w, "\\n");
		else if (escape)
			put(w, "\\x%02x", *p);
		else
			put(w, "%.*s", (int)n, (const char *)p);
		i += escape ? 1 : n;
	}
	put(w, i < s.length ? "\"..." : "\"");
}

static void put_element(writer *w, const evn_gguf_value *v, uint64_t i, uint64_t max_text)
{
	number n;
	if (v->element == EVN_GGUF_STRING)
		put_string(w, v->strings[i], max_text);
	else if (v->element == EVN_GGUF_BOOL)
		put(w, "%s", v->data[i] ? "true" : "false");
	else if (read_number(v, i, &n) && n.is_integer)
		put(w, "%s%" PRIu64, n.negative ? "-" : "", n.magnitude);
	else
		put(w, "%g", n.real);
}

void evn_gguf_describe(const evn_gguf_value *v, char *out, size_t size)
{
	writer w = {out, size};
	if (size == 0)
		return;
	*out = '\0';
	if (v->type != EVN_GGUF_ARRAY) {
		put_element(&w, v, 0, UINT64_MAX);
		return;
	}
	put(&w, "[");
	for (uint64_t i = 0; i < v->count && i < SHOWN_ELEMENTS; i++) {
		put(&w, "%s", i ? ", " : "");
		put_element(&w, v, i, SHOWN_TEXT);
	}
	put(&w, v->count > SHOWN_ELEMENTS ? ", ...] (%" PRIu64 ")" : "] (%" PRIu64 ")", v->count);
}
