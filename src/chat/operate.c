/* operate.c - operators, with the types and the rounding of Python. Integers have 64 bits. */
#include "chat/jinja.h"

#include <math.h>

static const char *const symbols[] = {
	[OP_ADD] = "+",  [OP_SUB] = "-",    [OP_MUL] = "*", [OP_DIV] = "/", [OP_FLOOR_DIV] = "//", [OP_MOD] = "%",
	[OP_POW] = "**", [OP_CONCAT] = "~", [OP_LT] = "<",  [OP_LE] = "<=", [OP_GT] = ">",         [OP_GE] = ">="};

static jvalue floor_divide(jrun *r, int64_t a, int64_t b, bool remainder)
{
	if (b == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "division by zero");
	if (b == -1) /* INT64_MIN / -1 does not fit */
		return remainder ? j_int(0) : evn_j_operate(r, OP_SUB, j_int(0), j_int(a));
	int64_t quotient = a / b, rest = a % b;
	if (rest != 0 && (rest < 0) != (b < 0)) {
		quotient--;
		rest += b;
	}
	return j_int(remainder ? rest : quotient);
}

static jvalue power(jrun *r, int64_t a, int64_t b)
{
	int64_t result = 1;
	if (b < 0)
		return j_float(pow((double)a, (double)b));
	if (a == 0 || a == 1)
		return j_int(b == 0 ? 1 : a);
	if (a == -1)
		return j_int(b % 2 ? -1 : 1);
	for (; b > 0; b--)
		if (__builtin_mul_overflow(result, a, &result))
			evn_j_fail(r, EVN_ERR_LIMIT, "an integer of more than 64 bits");
	return j_int(result);
}

static jvalue operate_whole(jrun *r, jop op, int64_t a, int64_t b)
{
	int64_t result = 0;
	bool overflow = false;
	switch (op) {
	case OP_ADD:
		overflow = __builtin_add_overflow(a, b, &result);
		break;
	case OP_SUB:
		overflow = __builtin_sub_overflow(a, b, &result);
		break;
	case OP_MUL:
		overflow = __builtin_mul_overflow(a, b, &result);
		break;
	case OP_POW:
		return power(r, a, b);
	default:
		return floor_divide(r, a, b, op == OP_MOD);
	}
	if (overflow)
		evn_j_fail(r, EVN_ERR_LIMIT, "an integer of more than 64 bits");
	return j_int(result);
}

static jvalue operate_float(jrun *r, jop op, double a, double b)
{
	if (b == 0.0 && (op == OP_DIV || op == OP_FLOOR_DIV || op == OP_MOD))
		evn_j_fail(r, EVN_ERR_FORMAT, "division by zero");
	double rest;
	switch (op) {
	case OP_ADD:
		return j_float(a + b);
	case OP_SUB:
		return j_float(a - b);
	case OP_MUL:
		return j_float(a * b);
	case OP_DIV:
		return j_float(a / b);
	case OP_POW:
		return j_float(pow(a, b));
	default:
		rest = fmod(a, b);
		if (rest != 0.0 && (rest < 0.0) != (b < 0.0))
			rest += b;
		return j_float(op == OP_MOD ? rest : floor((a - rest) / b + 0.5));
	}
}

static jvalue repeat(jrun *r, jvalue v, int64_t times)
{
	if (v.kind == J_STRING) {
		jout o = {0};
		for (int64_t i = 0; i < times && v.string->n > 0; i++) {
			evn_j_spend(r, 1);
			evn_j_append_all(r, &o, v.string);
		}
		return j_string(evn_j_finish(r, &o));
	}
	jlist *l = evn_j_new_list(r, 0);
	l->tuple = v.list->tuple;
	for (int64_t i = 0; i < times && v.list->n > 0; i++)
		for (size_t k = 0; k < v.list->n; k++)
			evn_j_push(r, l, v.list->items[k]);
	return j_list(l);
}

static jvalue join_lists(jrun *r, const jlist *a, const jlist *b)
{
	jlist *l = evn_j_new_list(r, a->n + b->n);
	l->tuple = a->tuple;
	for (size_t i = 0; i < a->n; i++)
		evn_j_push(r, l, a->items[i]);
	for (size_t i = 0; i < b->n; i++)
		evn_j_push(r, l, b->items[i]);
	return j_list(l);
}

static jvalue join_strings(jrun *r, const jstring *a, const jstring *b)
{
	jout o = {0};
	evn_j_append_all(r, &o, a);
	evn_j_append_all(r, &o, b);
	return j_string(evn_j_finish(r, &o));
}

_Noreturn static void refuse(jrun *r, jop op, jvalue a, jvalue b)
{
	const jvalue *undefined = a.kind == J_UNDEFINED ? &a : b.kind == J_UNDEFINED ? &b : NULL;
	if (undefined)
		evn_j_fail_undefined(r, *undefined);
	evn_j_fail(r, EVN_ERR_FORMAT, "unsupported operand types for %s: '%s' and '%s'", symbols[op], evn_j_type(a),
			   evn_j_type(b));
}

static bool repeats(jvalue v) { return v.kind == J_STRING || v.kind == J_LIST; }

jvalue evn_j_operate(jrun *r, jop op, jvalue a, jvalue b)
{
	if (op == OP_CONCAT)
		return join_strings(r, evn_j_str(r, a), evn_j_str(r, b));
	if (j_is_whole(a) && j_is_whole(b) && op != OP_DIV)
		return operate_whole(r, op, j_whole(a), j_whole(b));
	if (j_is_number(a) && j_is_number(b))
		return operate_float(r, op, j_number(a), j_number(b));
	if (op == OP_ADD && a.kind == J_STRING && b.kind == J_STRING)
		return join_strings(r, a.string, b.string);
	if (op == OP_ADD && a.kind == J_LIST && b.kind == J_LIST && a.list->tuple == b.list->tuple)
		return join_lists(r, a.list, b.list);
	if (op == OP_MUL && repeats(a) && j_is_whole(b))
		return repeat(r, a, j_whole(b));
	if (op == OP_MUL && j_is_whole(a) && repeats(b))
		return repeat(r, b, j_whole(a));
	refuse(r, op, a, b);
}

bool evn_j_compare_by(jrun *r, jop op, jvalue a, jvalue b)
{
	switch (op) {
	case OP_EQ:
		return evn_j_equal(r, a, b);
	case OP_NE:
		return !evn_j_equal(r, a, b);
	case OP_IN:
		return evn_j_contains(r, b, a);
	case OP_NOT_IN:
		return !evn_j_contains(r, b, a);
	default:
		break;
	}
	int order = evn_j_compare(r, a, b, symbols[op]);
	return op == OP_LT ? order < 0 : op == OP_LE ? order <= 0 : op == OP_GT ? order > 0 : order >= 0;
}
