/* schema_number.c - integers and numbers, also between limits. Limits are of at most 15 digits, so that they are
 * exact. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "grammar/regex.h"
#include "grammar/schema.h"

#define MOST_DIGITS 16
#define LARGEST 999999999999999LL /* in size, where there are limits */
#define FRACTION_DIGITS 6
#define MAX_LITERALS 1000

/* ---- digits between limits ------------------------------------------------------------------------------------- */

static bool all_are(const char *digits, size_t n, char value)
{
	for (size_t i = 0; i < n; i++)
		if (digits[i] != value)
			return false;
	return true;
}

static void any_digits(evn_net *n, uint32_t from, size_t count, uint32_t to)
{
	for (; count > 0; count--) {
		const uint32_t next = count == 1 ? to : evn_net_state(n);
		evn_net_bytes(n, from, '0', '9', next);
		from = next;
	}
}

/* A first digit from a to b, and then any. */
static void first_digit(evn_net *n, uint32_t from, char a, char b, size_t rest, uint32_t to)
{
	const uint32_t middle = rest ? evn_net_state(n) : to;
	if (a > b)
		return;
	evn_net_bytes(n, from, (uint8_t)a, (uint8_t)b, middle);
	any_digits(n, middle, rest, to);
}

/* Numbers of n digits from lo to hi: along the common digits, then along each of the limits. */
static void same_length(evn_net *n, uint32_t from, const char *lo, const char *hi, size_t length, uint32_t to)
{
	size_t at = 0;
	for (; at < length && lo[at] == hi[at]; at++) {
		const uint32_t next = at + 1 == length ? to : evn_net_state(n);
		evn_net_bytes(n, from, (uint8_t)lo[at], (uint8_t)lo[at], next);
		from = next;
	}
	if (at == length)
		return;
	const bool whole_low = all_are(lo + at + 1, length - at - 1, '0'),
			   whole_high = all_are(hi + at + 1, length - at - 1, '9');
	first_digit(n, from, (char)(lo[at] + !whole_low), (char)(hi[at] - !whole_high), length - at - 1, to);
	for (int high = 0; high < 2; high++) {
		const char *digits = high ? hi : lo;
		if (high ? whole_high : whole_low)
			continue;
		uint32_t state = from;
		for (size_t i = at; i < length; i++) {
			const char digit = digits[i];
			if (i > at && high)
				first_digit(n, state, '0', (char)(digit - 1), length - i - 1, to);
			else if (i > at)
				first_digit(n, state, (char)(digit + 1), '9', length - i - 1, to);
			const uint32_t next = i + 1 == length ? to : evn_net_state(n);
			evn_net_bytes(n, state, (uint8_t)digit, (uint8_t)digit, next);
			state = next;
		}
	}
}

/* Whole numbers without a sign, 0 <= lo <= hi <= LARGEST. */
static void natural(evn_net *n, uint32_t from, long long lo, long long hi, uint32_t to)
{
	char low[24], high[24];
	long long smallest = 0, largest = 9;
	for (int length = 1; length <= MOST_DIGITS && lo <= hi; length++) {
		const long long a = lo > smallest ? lo : smallest, b = hi < largest ? hi : largest;
		snprintf(low, sizeof low, "%lld", a);
		snprintf(high, sizeof high, "%lld", b);
		if (a <= b)
			same_length(n, from, low, high, (size_t)length, to);
		smallest = largest + 1;
		largest = largest * 10 + 9;
	}
}

static void whole(evn_net *n, uint32_t from, long long lo, long long hi, uint32_t to)
{
	if (hi >= 0)
		natural(n, from, lo > 0 ? lo : 0, hi, to);
	if (lo < 0)
		natural(n, evn_net_text(n, from, "-", 1), hi < 0 ? -hi : 1, -lo, to);
}

/* ---- limits ---------------------------------------------------------------------------------------------------- */

typedef struct {
	double min, max;   /* infinite: none */
	bool above, below; /* the limits themselves are excluded */
} limits;

static evn_status read_limit(evn_schema *s, json_t *schema, const char *keyword, double *value, bool *is_true)
{
	const json_t *v = json_object_get(schema, keyword);
	*value = NAN;
	*is_true = json_is_true(v);
	if (v && !json_is_boolean(v) && !json_is_number(v))
		return evn_schema_fail(s, keyword, "a number", v);
	if (json_is_number(v))
		*value = json_number_value(v);
	return EVN_OK;
}

/* In draft 4 exclusiveMinimum says of minimum that it is exclusive. */
static evn_status read_limits(evn_schema *s, json_t *schema, limits *l)
{
	double min, max, above, below;
	bool unused, min_excluded, max_excluded;
	EVN_TRY(read_limit(s, schema, "minimum", &min, &unused));
	EVN_TRY(read_limit(s, schema, "maximum", &max, &unused));
	EVN_TRY(read_limit(s, schema, "exclusiveMinimum", &above, &min_excluded));
	EVN_TRY(read_limit(s, schema, "exclusiveMaximum", &below, &max_excluded));
	*l = (limits){isnan(min) ? -INFINITY : min, isnan(max) ? INFINITY : max, min_excluded, max_excluded};
	if (!isnan(above) && above >= l->min) {
		l->min = above;
		l->above = true;
	}
	if (!isnan(below) && below <= l->max) {
		l->max = below;
		l->below = true;
	}
	return EVN_OK;
}

/* The integers within. False: none. */
static bool integers(const limits *l, long long *lo, long long *hi)
{
	double low = ceil(l->min), high = floor(l->max);
	low += l->above && low == l->min;
	high -= l->below && high == l->max;
	*lo = low > -(double)LARGEST ? (long long)(low < (double)LARGEST ? low : (double)LARGEST + 1) : -LARGEST;
	*hi = high < (double)LARGEST ? (long long)(high > -(double)LARGEST ? high : -(double)LARGEST - 1) : LARGEST;
	return *lo <= *hi && *lo <= LARGEST && *hi >= -LARGEST;
}

/* ---- numbers with a fraction ----------------------------------------------------------------------------------- */

/* A point and digits; nonzero: not all of them 0. */
static uint32_t fraction(evn_net *n, uint32_t from, bool nonzero)
{
	const uint32_t out = evn_net_state(n);
	from = evn_net_text(n, from, ".", 1);
	for (int i = 0; i < FRACTION_DIGITS; i++) {
		const uint32_t next = evn_net_state(n);
		evn_net_bytes(n, from, nonzero ? '1' : '0', '9', out);
		evn_net_bytes(n, from, '0', '9', next);
		from = next;
	}
	return out;
}

/* Numbers n.f with n from lo to hi, which lie between n and n + 1. first_excluded: lo itself does not count. */
static void natural_fraction(evn_net *n, uint32_t from, long long lo, long long hi, bool first_excluded, uint32_t to)
{
	uint32_t end = evn_net_state(n);
	if (lo > hi)
		return;
	if (first_excluded) {
		natural(n, from, lo, lo, end);
		evn_net_empty(n, fraction(n, end, true), to);
		end = evn_net_state(n);
		lo++;
	}
	if (lo > hi)
		return;
	natural(n, from, lo, hi, end);
	evn_net_empty(n, fraction(n, end, false), to);
}

/* Between two neighbouring integers: decimals of the fewest digits, up to 6, that give more than a few. */
static void few(evn_net *n, uint32_t from, const limits *l, uint32_t to)
{
	for (int digits = 1; digits <= FRACTION_DIGITS; digits++) {
		const double unit = pow(10, digits);
		const long long lo = (long long)floor(l->min * unit), hi = (long long)ceil(l->max * unit);
		int found = 0;
		for (long long i = lo; i <= hi && i - lo <= MAX_LITERALS; i++) {
			char text[48];
			snprintf(text, sizeof text, "%.*f", digits, (double)i / unit);
			double value = 0;
			sscanf(text, "%lf", &value);
			if (value < l->min || value > l->max || (l->above && value == l->min) || (l->below && value == l->max))
				continue;
			evn_net_empty(n, evn_net_text(n, from, text, strlen(text)), to);
			found++;
		}
		if (found > 8)
			return;
	}
}

/* Integers within the limits, and what lies between two of them. */
static void between(evn_net *n, uint32_t from, const limits *l, uint32_t to)
{
	limits closed = {l->min, l->max, false, false};
	long long lo, hi;
	if (integers(l, &lo, &hi))
		whole(n, from, lo, hi, to);
	if (!integers(&closed, &lo, &hi) || (lo == hi && l->min < l->max)) {
		few(n, from, l, to);
		return;
	}
	const bool lo_excluded = l->above && (double)lo == l->min, hi_excluded = l->below && (double)hi == l->max;
	if (hi > 0)
		natural_fraction(n, from, lo > 0 ? lo : 0, hi - 1, lo >= 0 && lo_excluded, to);
	if (lo < 0)
		natural_fraction(n, evn_net_text(n, from, "-", 1), hi < 0 ? -hi : 0, -lo - 1, hi <= 0 && hi_excluded, to);
}

/* ---- multiples ------------------------------------------------------------------------------------------------- */

/* Whole multiples without a sign: states are remainders. */
static void multiples(evn_net *n, uint32_t from, uint32_t of, uint32_t to)
{
	const uint32_t first = (uint32_t)n->n_states;
	for (uint32_t i = 0; i < of; i++)
		evn_net_state(n);
	if (n->status != EVN_OK)
		return;
	for (uint32_t r = 0; r < of; r++)
		for (uint32_t digit = 0; digit < 10; digit++) {
			const uint32_t next = first + (r * 10 + digit) % of;
			evn_net_bytes(n, first + r, (uint8_t)('0' + digit), (uint8_t)('0' + digit), next);
		}
	for (uint32_t digit = 1; digit < 10; digit++)
		evn_net_bytes(n, from, (uint8_t)('0' + digit), (uint8_t)('0' + digit), first + digit % of);
	evn_net_bytes(n, from, '0', '0', to);
	evn_net_empty(n, first, to);
}

static evn_status add_multiples(evn_schema *s, const json_t *of, const limits *l, uint32_t from, uint32_t to)
{
	const double m = json_number_value(of);
	if (!json_is_number(of) || m < 1 || m > 1000 || m != floor(m))
		return evn_fail(s->err, EVN_ERR_UNSUPPORTED,
						"schema: multipleOf: expected an integer from 1 to 1000, found %g", m);
	if (isinf(l->min) && isinf(l->max)) {
		multiples(s->net, from, (uint32_t)m, to);
		multiples(s->net, evn_net_text(s->net, from, "-", 1), (uint32_t)m, to);
		return EVN_OK;
	}
	if (l->min == 0 && !l->above && isinf(l->max)) {
		multiples(s->net, from, (uint32_t)m, to);
		return EVN_OK;
	}
	long long lo, hi;
	if (!integers(l, &lo, &hi))
		return EVN_OK;
	long long i = (long long)(ceil((double)lo / m) * m);
	if ((double)(hi - lo) / m > MAX_LITERALS)
		return evn_fail(s->err, EVN_ERR_UNSUPPORTED,
						"schema: multipleOf: expected at most %d multiples between the limits", MAX_LITERALS);
	for (; i <= hi; i += (long long)m)
		whole(s->net, from, i, i, to);
	return EVN_OK;
}

evn_status evn_schema_number(evn_schema *s, json_t *schema, bool integer, uint32_t from, uint32_t *to)
{
	static const char plain_integer[] = "-?(0|[1-9][0-9]{0,15})",
					  plain_number[] = "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,16})?([eE][+-]?[0-9]{1,2})?";
	const json_t *multiple = json_object_get(schema, "multipleOf");
	limits l;
	long long lo, hi;
	EVN_TRY(read_limits(s, schema, &l));
	if (!multiple && isinf(l.min) && isinf(l.max)) {
		const char *regex = integer ? plain_integer : plain_number;
		return evn_regex_add(s->net, from, regex, strlen(regex), false, to, s->err);
	}
	*to = evn_net_state(s->net);
	if (multiple)
		return add_multiples(s, multiple, &l, from, *to);
	if (!integer)
		between(s->net, from, &l, *to);
	else if (integers(&l, &lo, &hi))
		whole(s->net, from, lo, hi, *to);
	return EVN_OK;
}
