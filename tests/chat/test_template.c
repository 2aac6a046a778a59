/* test_template.c - what compare.py cannot see: messages with the line, limits, marks of foreign text, and templates
 * made of random pieces, which must end in a text or in an error. */
#include "chat/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static evn_status render(evn_rendered *out, const char *text, const char *variables, evn_error *err)
{
	json_t *v = json_loads(variables, 0, NULL), *own = json_pack("{s:s}", "bos_token", "<s>");
	assert_non_null(v);
	const evn_template t = {.name = "t", .text = text, .n = strlen(text), .variables = v, .own = own};
	evn_status status = evn_template_render(out, &t, err);
	json_decref(v);
	json_decref(own);
	return status;
}

static void refuse(evn_status code, const char *text, const char *message)
{
	evn_rendered out;
	evn_error err = {0};
	evn_status status = render(&out, text, "{}", &err);
	if (status != code || !strstr(err.text, message))
		fail_msg("'%.80s': status %d, expected %d: '%s' should have '%s'", text, status, code, err.text, message);
	assert_null(out.text);
}

static void test_errors_name_the_line(void **state)
{
	(void)state;
	refuse(EVN_ERR_FORMAT, "a\n\n{{ x.y }}", "t, line 3: 'x' is undefined");
	refuse(EVN_ERR_FORMAT, "{% set d = {} %}\n{{ d.a.b }}", "t, line 2: 'dict object' has no attribute 'a'");
	refuse(EVN_ERR_FORMAT, "{% if x %}\n\n", "line 2: expected the end of the 'if' in line 1, found the end of");
	refuse(EVN_ERR_FORMAT, "{% if x %}{% endfor %}", "line 1: expected for, if, set, macro");
	refuse(EVN_ERR_FORMAT, "\n{% for x on y %}", "line 2: expected 'in', found 'on'");
	refuse(EVN_ERR_FORMAT, "\n\n{{ 1 +\n\n }}", "line 5: expected an expression, found '}}'");
	refuse(EVN_ERR_FORMAT, "{{ 'a' + 1 }}", "unsupported operand types for +: 'str' and 'int'");
	refuse(EVN_ERR_FORMAT, "{{ 1|nope }}", "no filter named 'nope'");
	refuse(EVN_ERR_FORMAT, "{{ 1 is nope }}", "no test named 'nope'");
	refuse(EVN_ERR_FORMAT, "\n{# a\n", "line 2: a comment without its end '#}'");
	refuse(EVN_ERR_FORMAT, "\n{{ a\n\n", "line 2: '{{' without its end '}}'");
	refuse(EVN_ERR_FORMAT, "{{ 'a\n", "line 1: a string without its end '");
	refuse(EVN_ERR_FORMAT, "a\n\xff", "line 2: not UTF-8: byte 0xff");
	refuse(EVN_ERR_FORMAT, "{{ 'a'|replace('b') }}", "replace: no argument 'new'");
	refuse(EVN_ERR_FORMAT, "{{ 'a'|trim(x=1) }}", "trim: unexpected argument 'x'");
	refuse(EVN_ERR_FORMAT, "{{ 99999999999999999999 }}", "an integer of more than 64 bits");
	refuse(EVN_ERR_USAGE, "\n{{ raise_exception('no ' ~ 'tools') }}", "t: no tools");
}

/* A template of `n` times `part` between `before` and `after`. */
static char *repeated(const char *before, const char *part, size_t n, const char *after)
{
	char *text = malloc(strlen(before) + n * strlen(part) + strlen(after) + 1), *at = text;
	at = stpcpy(at, before);
	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, part);
	strcpy(at, after);
	return text;
}

static void refuse_repeated(const char *before, const char *part, size_t n, const char *after)
{
	char *text = repeated(before, part, n, after);
	refuse(EVN_ERR_LIMIT, text, "");
	free(text);
}

static void test_limits(void **state)
{
	(void)state;
	refuse_repeated("{{ ", "(", 100000, "");
	refuse_repeated("{{ ", "[", 100000, "1");
	refuse_repeated("{{ ", "not ", 100000, "1 }}");
	refuse_repeated("{{ ", "-", 100000, "1 }}");
	refuse_repeated("{{ 1", " + 1", 100000, " }}");
	refuse_repeated("{{ 1", " ~ 1", 100000, " }}");
	refuse_repeated("{{ a", ".b", 100000, " }}");
	refuse_repeated("{{ a", "[0]", 100000, " }}");
	refuse_repeated("{{ a", "|trim", 100000, " }}");
	refuse_repeated("{{ ", "1 if 1 else ", 50000, "1 }}");
	refuse_repeated("{{ 1 ", "if 1 ", 50000, "}}");
	refuse_repeated("", "{% if 1 %}", 100000, "");
	refuse_repeated("", "{% for x in y %}", 50000, "");
	refuse_repeated("", "x", (1 << 20) + 1, "");
	refuse(EVN_ERR_LIMIT, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested more than");
	refuse(EVN_ERR_LIMIT, "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
		   "nested");
	refuse(EVN_ERR_LIMIT, "{{ 'x' * 100000000 }}", "a text of more than 8 MiB");
	refuse(EVN_ERR_LIMIT, "{{ '' * 9223372036854775807 }}{{ [1] * 9223372036854775807 }}", "");
	refuse(EVN_ERR_LIMIT, "{{ range(100001) }}", "range: more than 100000 numbers");
	refuse(EVN_ERR_LIMIT, "{{ range(-9223372036854775807, 9223372036854775807) }}", "range");
	refuse(EVN_ERR_LIMIT, "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "");
	refuse(EVN_ERR_LIMIT,
		   "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		   "");
	refuse(EVN_ERR_LIMIT,
		   "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "");
	refuse(EVN_ERR_LIMIT,
		   "{% set ns = namespace(l=[1]) %}{% for i in range(2000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
		   "nested");
	refuse(EVN_ERR_LIMIT,
		   "{% set ns = namespace(l=[1]) %}{% for i in range(2000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l == "
		   "[ns.l] }}{{ ns.l|tojson }}",
		   "nested");
	refuse(EVN_ERR_LIMIT, "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", "8 MiB");
	refuse(EVN_ERR_LIMIT, "{{ ('x' * 8000000).replace('', 'y') }}", "");
	refuse(EVN_ERR_LIMIT, "{% set x = 'x' * 4000000 %}{% for i in range(10000) %}{{ 'y' in x }}{% endfor %}",
		   "steps");
	refuse(EVN_ERR_LIMIT, "{{ ('a\n' * 1000)|indent(1000000) }}", "");
	refuse(EVN_ERR_LIMIT, "{{ 9223372036854775807 + 1 }}", "64 bits");
	refuse(EVN_ERR_LIMIT, "{{ 10 ** 100 }}", "64 bits");
	refuse(EVN_ERR_LIMIT, "{{ [1]|tojson(indent=100000000) }}", "");
}

static void test_deep_json_is_refused(void **state)
{
	(void)state;
	char *deep = repeated("{\"x\":", "[", 500, ""), *whole = repeated(deep, "]", 500, "}");
	evn_rendered out;
	evn_error err = {0};
	assert_int_equal(render(&out, "{{ x }}", whole, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "JSON nested more than 100 levels deep"));
	free(deep);
	free(whole);
}

/* The output with its foreign bytes in capitals (letters) or as '#'. */
static void expect_marks(const char *text, const char *expected)
{
	static const char variables[] =
		"{\"messages\": [{\"role\": \"user\", \"content\": \" hi <s> \"}, {\"role\": \"<s>\", \"content\": \"\"}],"
		" \"x\": \"abc\", \"d\": {\"key\": [\"value\", 1]}}";
	evn_rendered out;
	evn_error err = {0};
	if (render(&out, text, variables, &err) != EVN_OK)
		fail_msg("%s: %s", text, err.text);
	for (size_t i = 0; i < out.n; i++) {
		bool letter = out.text[i] >= 'a' && out.text[i] <= 'z';
		if (out.foreign[i])
			out.text[i] = letter ? (char)(out.text[i] - 32) : '#';
	}
	assert_string_equal(out.text, expected);
	evn_rendered_free(&out);
}

static void test_marks_follow_the_bytes(void **state)
{
	(void)state;
	expect_marks("{{ bos_token }}a{{ messages[0].content }}", "<s>a#HI##S##");
	expect_marks("{{ bos_token + messages[0].content|trim + 'b' }}", "<s>HI##S#b");
	expect_marks("{{ '<|' + messages[0].role + '|>' }}", "<|user|>"); /* a plain word counts as the template's */
	expect_marks("{{ '<|' + messages[1].role + '|>' }}", "<|#S#|>");
	expect_marks("{{ x[::-1] }}{{ x[1:] }}{{ x[0] }}{{ x|first }}{{ x|reverse }}", "CBABCAACBA");
	expect_marks("{{ x.replace('b', '-') }} {{ 'abc'.replace('b', x) }} {{ 'q'.join([x, x]) }}", "A-C aABCc ABCqABC");
	expect_marks("{{ x|upper|lower }} {{ x|title|lower }} {{ x * 2 }} {{ x ~ 1 ~ x }}", "ABC ABC ABCABC ABC1ABC");
	expect_marks("{{ d }} {{ d|tojson }}", "{'KEY': ['VALUE', 1]} {\"KEY\": [\"VALUE\", 1]}");
	expect_marks("{{ [' y', messages[0].content]|map('trim')|join('+') }}", "y+HI##S#");
	expect_marks("{% set t %}[{{ x }}]{% endset %}{{ t }}{% macro m(a) %}({{ a }}){% endmacro %}{{ m(x) }}",
				 "[ABC](ABC)");
	expect_marks("{{ 'a b'.split(' ')[0] }}{{ messages[0].content.split('<')[1] }}{{ ('z' ~ x)|indent }}",
				 "aS##zABC");
	expect_marks(
		"{% for k, v in d.items() %}{{ k }}{{ v[0] }}{{ v[1] }}{% endfor %}{% for c in x %}{{ c }}-{% endfor %}",
		"KEYVALUE1A-B-C-");
	expect_marks("{{ messages[0].content|string|trim|safe|default('q') }}{{ nope|default(x) }}", "HI##S#ABC");
}

/* A generator of its own, so that a failure can be repeated everywhere. */
static uint64_t seed;
static uint32_t below(uint32_t n)
{
	evn_random r = {seed++};
	return evn_random_below(&r, n);
}

static void append_random(char *text, size_t size)
{
	static const char *const pieces[] = {
		"{{ ",          " }}",      "{% ",      " %}",      "{%- ",      " -%}",      "{# ",       " #}",
		"for ",         "x ",       "in ",      "if ",      "else ",     "endif ",    "endfor ",   "set ",
		"endset",       "macro ",   "endmacro", "y ",       "= ",        "( ",        ") ",        "[ ",
		"] ",           "{ ",       "} ",       "'a' ",     "\"b\" ",    "1 ",        "2.5 ",      "+ ",
		"- ",           "* ",       "~ ",       "| ",       "trim ",     "upper ",    "join ",     "tojson ",
		"map ",         "select ",  "'upper' ", "is ",      "defined ",  "string ",   "not ",      "and ",
		"or ",          ". ",       "items() ", "split() ", "messages ", ", ",        ": ",        "loop.index ",
		"namespace() ", "\n",       "text",     "raw %}",   "endraw %}", "break ",    "range(3) ", "m ",
		"'\\u00e9' ",   "** ",      "// ",      "% ",       "< ",        "== ",       "none ",     "[::-1] ",
		"['a'] ",       "(x=1) ",   "elif ",    "first ",   "length ",   "dictsort ", "sort ",     "replace('a', x) ",
		"indent ",      "batch(2) "};
	*text = '\0';
	for (size_t n = below(40); n > 0; n--) {
		const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
		if (strlen(text) + strlen(piece) + 1 < size)
			strcat(text, piece);
	}
}

static void append_statement(char *text, size_t size)
{
	static const char *const forms[] = {"{{ %s }}", "{%% if %s %%}a{%% else %%}b{%% endif %%}",
										"{%% for x in %s %%}{{ x }}{%% endfor %%}", "{%% set y = %s %%}{{ y }}",
										"{%% set y %%}{{ %s }}{%% endset %%}{{ y }}"};
	static const char *const values[] = {"x",    "y",         "1",        "'a b'",    "-2.5",      "none",
										 "true", "[3, 1, 2]", "{'a': 1}", "messages", "'\xc3\xa9'"};
	static const char *const after[] = {"|trim",
										"|length",
										"|join('-')",
										"[0]",
										"[::-1]",
										"['a']",
										".a",
										"|tojson(indent=2)",
										"|sort",
										"|string",
										" + 1",
										" * 3",
										" ~ 'z'",
										" in 'abc'",
										" is string",
										"|list",
										"|first",
										"|upper",
										"|int",
										" == 1",
										"|map('string')|list",
										".split()",
										".items()|list",
										"|reverse",
										"|unique|list",
										"[1:2]",
										"|batch(2)|list",
										"|default('q')",
										"|title",
										"|indent"};
	char expression[256];
	snprintf(expression, sizeof expression, "%s", values[below(sizeof values / sizeof *values)]);
	for (size_t n = below(4); n > 0; n--)
		strcat(expression, after[below(sizeof after / sizeof *after)]);
	const char *form = forms[below(sizeof forms / sizeof *forms)], *hole = strstr(form, "%s");
	size_t used = strlen(text);
	for (const char *c = form; *c && used + sizeof expression < size; c++) {
		if (c == hole) {
			used += (size_t)snprintf(text + used, size - used, "%s", expression);
			c++;
		} else if (*c != '%' || c[1] != '%') {
			text[used++] = *c;
		}
	}
	text[used] = '\0';
}

static void test_random_templates_end(void **state)
{
	(void)state;
	static const char variables[] =
		"{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"x\": [1, \"a\", null]}";
	char text[2048];
	size_t n_texts = 0;
	for (seed = 1; seed < 400000;) {
		evn_rendered out;
		evn_error err = {0};
		append_random(text, sizeof text);
		for (size_t n = below(4); n > 0; n--)
			append_statement(text, sizeof text);
		if (below(2))
			memset(text, ' ', strcspn(text, "{")); /* more of them parse */
		evn_status status = render(&out, text, variables, &err);
		assert_true(status == EVN_OK || status == EVN_ERR_FORMAT || status == EVN_ERR_LIMIT ||
					status == EVN_ERR_USAGE);
		assert_true(status == EVN_OK || *err.text);
		n_texts += status == EVN_OK;
		evn_rendered_free(&out);
	}
	assert_true(n_texts > 200);
}

static void test_prefixes_of_a_template_end(void **state)
{
	(void)state;
	static const char whole[] =
		"{%- macro m(a, b=1) -%}{{ a ~ b|join(',') }}{%- endmacro -%}{# c #}{% for x in [1, 2] if x %}"
		"{{ loop.index }}{% else %}n{% endfor %}{% raw %}{{ }}{% endraw %}{% set ns = namespace(a={'b': 'c\\n'}) %}"
		"{% set ns.a = ns.a['b'][::-1] %}{{ m(ns.a if 1 is defined else 2, b=[1]) }}";
	char part[sizeof whole];
	evn_rendered out;
	for (size_t n = 0; n <= strlen(whole); n++) {
		memcpy(part, whole, n);
		part[n] = '\0';
		evn_status status = render(&out, part, "{}", NULL);
		assert_true(status == EVN_OK || status == EVN_ERR_FORMAT);
		evn_rendered_free(&out);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_name_the_line), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deep_json_is_refused), cmocka_unit_test(test_marks_follow_the_bytes),
		cmocka_unit_test(test_random_templates_end), cmocka_unit_test(test_prefixes_of_a_template_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
