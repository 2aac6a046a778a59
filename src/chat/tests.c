/* tests.c - what may stand behind `is`. */
#include "chat/jinja.h"

static void no_arguments(jrun *r, const jargs *a, const char *name)
{
	evn_j_bind(r, a, &(jparameters){name, {0}}, NULL);
}

static jvalue argument(jrun *r, const jargs *a, const char *name)
{
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){name, {"other"}}, given);
	return given[0];
}

#define TEST(name, condition)                                                                                        \
	static jvalue test_##name(jrun *r, jvalue v, const jargs *a)                                                     \
	{                                                                                                                \
		no_arguments(r, a, #name);                                                                                   \
		return j_bool(condition);                                                                                    \
	}

TEST(defined, v.kind != J_UNDEFINED)
TEST(undefined, v.kind == J_UNDEFINED)
TEST(none, v.kind == J_NONE)
TEST(boolean, v.kind == J_BOOL)
TEST(true, v.kind == J_BOOL && v.b)
TEST(false, v.kind == J_BOOL && !v.b)
TEST(integer, v.kind == J_INT)
TEST(float, v.kind == J_FLOAT)
TEST(number, j_is_number(v))
TEST(string, v.kind == J_STRING)
TEST(mapping, v.kind == J_DICT)
TEST(sequence, v.kind == J_LIST || v.kind == J_STRING || v.kind == J_DICT || v.kind == J_UNDEFINED)
TEST(iterable,
	 v.kind == J_LIST || v.kind == J_STRING || v.kind == J_DICT || v.kind == J_UNDEFINED || v.kind == J_LOOP)
TEST(callable, v.kind == J_CALLABLE)
TEST(even, evn_j_need_int(r, v, "even") % 2 == 0)
TEST(odd, evn_j_need_int(r, v, "odd") % 2 != 0)

#define COMPARISON(name, op)                                                                                         \
	static jvalue test_##name(jrun *r, jvalue v, const jargs *a)                                                     \
	{                                                                                                                \
		return j_bool(evn_j_compare_by(r, op, v, argument(r, a, #name)));                                            \
	}

COMPARISON(eq, OP_EQ)
COMPARISON(ne, OP_NE)
COMPARISON(lt, OP_LT)
COMPARISON(le, OP_LE)
COMPARISON(gt, OP_GT)
COMPARISON(ge, OP_GE)
COMPARISON(in, OP_IN)

/* Has letters with two cases, and all of them are of this one. */
static bool all_of_case(jrun *r, jvalue v, jcase wanted)
{
	const jstring *s = evn_j_str(r, v);
	bool any = false;
	for (size_t at = 0, length; at < s->n; at += length)
		any |= evn_j_has_case(evn_j_character(s, at, &length));
	return any && evn_j_same(s, evn_j_recase(r, s, wanted));
}

TEST(lower, all_of_case(r, v, CASE_LOWER))
TEST(upper, all_of_case(r, v, CASE_UPPER))

static jvalue test_divisibleby(jrun *r, jvalue v, const jargs *a)
{
	jvalue rest = evn_j_operate(r, OP_MOD, v, argument(r, a, "divisibleby"));
	return j_bool(!evn_j_true(rest));
}

/* The same object. Values that are not shared are compared. */
static jvalue test_sameas(jrun *r, jvalue v, const jargs *a)
{
	jvalue other = argument(r, a, "sameas");
	if (v.kind != other.kind)
		return j_bool(false);
	return j_bool(v.kind == J_LIST   ? v.list == other.list
				  : v.kind == J_DICT ? v.dict == other.dict
									 : evn_j_equal(r, v, other));
}

const jentry evn_j_tests[] = {
	{"defined", test_defined},
	{"undefined", test_undefined},
	{"none", test_none},
	{"boolean", test_boolean},
	{"true", test_true},
	{"false", test_false},
	{"integer", test_integer},
	{"float", test_float},
	{"number", test_number},
	{"string", test_string},
	{"mapping", test_mapping},
	{"sequence", test_sequence},
	{"iterable", test_iterable},
	{"callable", test_callable},
	{"even", test_even},
	{"odd", test_odd},
	{"eq", test_eq},
	{"equalto", test_eq},
	{"==", test_eq},
	{"ne", test_ne},
	{"!=", test_ne},
	{"lt", test_lt},
	{"lessthan", test_lt},
	{"<", test_lt},
	{"le", test_le},
	{"<=", test_le},
	{"gt", test_gt},
	{"greaterthan", test_gt},
	{">", test_gt},
	{"ge", test_ge},
	{">=", test_ge},
	{"in", test_in},
	{"lower", test_lower},
	{"upper", test_upper},
	{"divisibleby", test_divisibleby},
	{"sameas", test_sameas},
	{0},
};
