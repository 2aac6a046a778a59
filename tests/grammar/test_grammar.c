/* Grammars against other matchers: PCRE2, a recogniser that tries everything, and the bytes of each token alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "grammar/gbnf.h"
#include "grammar/grammar.h"
#include "grammar/machine.h"
#include "grammar/vocabulary.h"

static bool in(const uint64_t *mask, int id) { return mask[id / 64] >> id % 64 & 1; }

/* ---- regular expressions ------------------------------------------------------------------------------------- */

static const char *const regexes[] = {"a*b",
									  "(a|b)*abb",
									  "[^a]{2,4}",
									  "(ab|a)(bc|c)?",
									  "a{3}|b{2,}",
									  "((a|b)?c){0,3}",
									  "(a*)*b",
									  "\\d+(\\.\\d{1,2})?",
									  "[a-c\\d]+x?",
									  "(?:ab)+?",
									  "",
									  "a||b",
									  "[\\]^-]+",
									  "\\x61\\u0062\\.",
									  "(a{0,2}b{0,2}){2}",
									  ".ä?"};

static void random_text(evn_random *r, char *text, size_t *n)
{
	static const char alphabet[] = "aabbabc01.x]^-\n";
	*n = evn_random_below(r, 7);
	for (size_t i = 0; i < *n; i++)
		text[i] = alphabet[evn_random_below(r, sizeof alphabet - 1)];
}

static void regexes_are_those_of_pcre2(void **state)
{
	evn_random r = {3};
	for (size_t i = 0; i < sizeof regexes / sizeof *regexes; i++) {
		int error;
		size_t offset, n_accepted = 0;
		evn_grammar *g = make(*state, EVN_GRAMMAR_REGEX, regexes[i]);
		const uint32_t options = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_ALT_BSUX;
		pcre2_code *code =
			pcre2_compile((PCRE2_SPTR)regexes[i], PCRE2_ZERO_TERMINATED, options, &error, &offset, NULL);
		assert_non_null(code);
		pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
		for (int k = 0; k < 3000; k++) {
			char text[8];
			size_t n;
			random_text(&r, text, &n);
			const bool expected = pcre2_match(code, (PCRE2_SPTR)text, n, 0, 0, data, NULL) >= 0;
			n_accepted += expected;
			if (accepts(g, text, n) != expected)
				fail_msg("%s: '%.*s' should %smatch", regexes[i], (int)n, text, expected ? "" : "not ");
		}
		assert_true(n_accepted > 0);
		pcre2_match_data_free(data);
		pcre2_code_free(code);
		evn_grammar_free(g);
	}
}

/* ---- grammars ------------------------------------------------------------------------------------------------ */

static const char *const grammars[] = {
	"root ::= \"a\" root \"b\" | \"\"",
	"root ::= s # comment\ns ::= \"a\" s s | \"b\"\n",
	"root ::= (x | y)+\nx ::= \"ab\" | \"a\"\ny ::= [b-c] x?",
	"root ::= list\nlist ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= list | [0-1]{1,2}",
	"root ::= a | b\n  | c\na ::= \"a\"*\nb ::= \"b\" a\nc ::= \"a\"{2,3} b b",
	"root ::= p{0,2} \"c\"\np ::= \"a\" | q\nq ::= \"b\"?",
	"root ::= \"\\x61\" [^\\n\\u0061] .",
};

enum { MOST = 8, VISITS = 200000 };

/* Tries everything: the bits of the places where a rule can end that begins at a place. Rules that are entered again
 * at the same place find nothing new there, for no grammar of this test is left-recursive. */
static uint32_t ends_of(const evn_net *n, uint32_t rule, const char *text, size_t length, size_t at)
{
	struct {
		uint32_t state;
		size_t at;
	} work[4096];
	size_t n_work = 0;
	uint32_t ends = 0;
	uint8_t *seen = calloc(n->n_states * (MOST + 1), 1);
	work[n_work].state = n->rules[rule].start;
	work[n_work++].at = at;
	while (n_work) {
		const uint32_t state = work[--n_work].state;
		const size_t here = work[n_work].at;
		if (seen[state * (MOST + 1) + here]++)
			continue;
		if (state == n->rules[rule].end)
			ends |= 1u << here;
		for (uint32_t e = n->first[state]; e != EVN_NET_NONE; e = n->edges[e].next) {
			const evn_edge *edge = &n->edges[e];
			uint32_t to = edge->kind == EVN_EDGE_EMPTY ? 1u << here : 0;
			if (edge->kind == EVN_EDGE_BYTES && here < length && (uint8_t)text[here] >= edge->lo &&
				(uint8_t)text[here] <= edge->hi)
				to = 2u << here;
			if (edge->kind == EVN_EDGE_CALL)
				to = ends_of(n, edge->rule, text, length, here);
			for (size_t i = 0; i <= length; i++)
				if (to >> i & 1) {
					assert_true(n_work < sizeof work / sizeof *work);
					work[n_work].state = edge->to;
					work[n_work++].at = i;
				}
		}
	}
	free(seen);
	return ends;
}

static void grammars_are_those_of_a_plain_recogniser(void **state)
{
	evn_random r = {5};
	for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
		static const char alphabet[] = "aaabbbc[],01";
		evn_net n = {0};
		size_t n_accepted = 0;
		assert_int_equal(evn_gbnf_read(&n, grammars[i], strlen(grammars[i]), NULL), EVN_OK);
		evn_grammar *g = make(*state, EVN_GRAMMAR_GBNF, grammars[i]);
		for (int k = 0; k < 2000; k++) {
			char text[MOST];
			const size_t length = evn_random_below(&r, MOST);
			for (size_t c = 0; c < length; c++)
				text[c] = alphabet[evn_random_below(&r, sizeof alphabet - 1)];
			const bool expected = ends_of(&n, n.root, text, length, 0) >> length & 1;
			n_accepted += expected;
			if (accepts(g, text, length) != expected)
				fail_msg("%s: '%.*s' should %sbe accepted", grammars[i], (int)length, text, expected ? "" : "not ");
		}
		assert_true(n_accepted > 0);
		evn_grammar_free(g);
		evn_net_free(&n);
	}
}

/* ---- masks --------------------------------------------------------------------------------------------------- */

/* A matcher that has read these ids. */
static evn_matcher *replay(evn_grammar *g, const int32_t *ids, size_t n)
{
	evn_matcher *m;
	assert_int_equal(evn_matcher_create(&m, g, NULL), EVN_OK);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(evn_matcher_accept(m, ids[i], NULL), EVN_OK);
	return m;
}

/* Whether the word may come next, by its bytes as tokens of their own. */
static bool bytes_fit(evn_grammar *g, const int32_t *ids, size_t n, int id)
{
	evn_matcher *m = replay(g, ids, n);
	bool ok = words[id].n > 0;
	for (uint32_t i = 0; i < words[id].n && ok && id != END; i++)
		ok = evn_matcher_accept(m, (uint8_t)words[id].bytes[i], NULL) == EVN_OK;
	if (id == END)
		ok = evn_matcher_may_end(m);
	evn_matcher_free(m);
	return ok;
}

static void check_masks(evn_vocabulary *v, evn_grammar_kind kind, const char *text, evn_random *r)
{
	evn_grammar *g = make(v, kind, text);
	int32_t ids[24];
	size_t n = 0;
	evn_matcher *m = replay(g, ids, 0);
	while (n < sizeof ids / sizeof *ids && !evn_matcher_is_complete(m)) {
		const uint64_t *mask;
		int allowed[N_WORDS], n_allowed = 0;
		assert_int_equal(evn_matcher_mask(m, &mask, NULL), EVN_OK);
		for (int id = 0; id < N_WORDS; id++) {
			if (in(mask, id) != bytes_fit(g, ids, n, id))
				fail_msg("%s: token %d behind %zu tokens: the mask says %d", text, id, n, in(mask, id));
			if (in(mask, id) && id != END)
				allowed[n_allowed++] = id;
		}
		if (!n_allowed)
			break;
		ids[n] = allowed[evn_random_below(r, (uint32_t)n_allowed)];
		assert_int_equal(evn_matcher_accept(m, ids[n++], NULL), EVN_OK);
	}
	evn_matcher_free(m);
	evn_grammar_free(g);
}

static const char *const schemas[] = {
	"{}",
	"{\"type\": \"object\"}",
	"{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 3}, \"ab\": {\"type\": "
	"\"integer\"}},"
	"\"required\": [\"name\"]}",
	"{\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 2, \"maxLength\": 40}, \"minItems\": 1}",
	"{\"type\": \"string\", \"pattern\": \"^a[äö]*\\\"?$\"}",
	"{\"$defs\": {\"n\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/n\"}}}, \"$ref\": \"#/$defs/n\"}"};

static void masks_are_what_the_bytes_say(void **state)
{
	evn_random r = {11};
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++)
			check_masks(*state, EVN_GRAMMAR_GBNF, grammars[i], &r);
		for (size_t i = 0; i < sizeof regexes / sizeof *regexes; i++)
			check_masks(*state, EVN_GRAMMAR_REGEX, regexes[i], &r);
		for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
			check_masks(*state, EVN_GRAMMAR_JSON_SCHEMA, schemas[i], &r);
	}
}

/* What is kept is dropped at each step of one machine and never of the other. */
static void dropping_changes_nothing(void **state)
{
	static const char text[] = "root ::= \"[\" (root (\",\" root)*)? \"]\" | [a-c]{1,9}";
	evn_net nets[2] = {{0}, {0}};
	evn_machine *m[2];
	evn_place places[2];
	evn_random r = {13};
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(evn_gbnf_read(&nets[i], text, strlen(text), NULL), EVN_OK);
		assert_int_equal(evn_machine_create(&m[i], &nets[i], i ? 1 : 0, NULL), EVN_OK);
		evn_machine_enter(m[i], &places[i]);
	}
	for (int k = 0; k < 3000; k++) {
		const uint8_t byte = (uint8_t) "[[[],,abc"[evn_random_below(&r, 9)];
		const uint32_t a = evn_machine_step(m[0], places[0].config, byte),
					   b = evn_machine_step(m[1], places[1].config, byte);
		assert_int_equal(a == EVN_DEAD, b == EVN_DEAD);
		if (a == EVN_DEAD)
			continue;
		places[0].config = a;
		places[1].config = b;
		assert_int_equal(evn_machine_accepts(m[0], a), evn_machine_accepts(m[1], b));
		assert_int_equal(evn_machine_trim(m[1], NULL), EVN_OK);
		assert_true(evn_machine_configs(m[1]) <= 3);
	}
	for (int i = 0; i < 2; i++) {
		evn_machine_leave(m[i], &places[i]);
		evn_machine_free(m[i]);
	}
}

/* ---- schemas: what they accept --------------------------------------------------------------------------------- */

typedef struct {
	const char *schema, *yes[5], *no[5];
} example;

static const example examples[] = {
	{"{\"type\": \"integer\", \"minimum\": -12, \"maximum\": 105}",
	 {"0", "-12", "105", "99", "-1"},
	 {"-13", "106", "1000", "00", "1.5"}},
	{"{\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 2}",
	 {"0.5", "1", "2", "1.25"},
	 {"0", "0.0", "2.5", "-1"}},
	{"{\"type\": \"number\", \"minimum\": 0.25, \"exclusiveMaximum\": 0.5}",
	 {"0.25", "0.3", "0.49"},
	 {"0.5", "0", "1", "0.24"}},
	{"{\"type\": \"integer\", \"multipleOf\": 7}", {"0", "7", "-14", "7000"}, {"1", "8", "71", "07"}},
	{"{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 2}",
	 {"\"a\"", "\"ab\"", "\"äö\"", "\"\\n\\\"\""},
	 {"\"\"", "\"abc\"", "a"}},
	{"{\"type\": \"string\", \"pattern\": \"b\", \"maxLength\": 3}",
	 {"\"b\"", "\"abc\"", "\"bbb\""},
	 {"\"a\"", "\"abcd\"", "\"\""}},
	{"{\"type\": \"string\", \"format\": \"date\"}",
	 {"\"2024-02-28\"", "\"1999-12-31\""},
	 {"\"2024-02-30\"", "\"2024-13-01\""}},
	{"{\"enum\": [\"a\", \"äöü\", 1, 5, [], [1]], \"minLength\": 3, \"exclusiveMinimum\": 1, \"maxItems\": 0}",
	 {"\"äöü\"", "5", "[]"},
	 {"\"a\"", "1", "[1]"}},
	{"{\"allOf\": [{\"enum\": [1, 2, 3]}, {\"minimum\": 2}, {\"maximum\": 2.5}]}", {"2"}, {"1", "3"}},
	{"{\"const\": 1, \"enum\": [1, 2]}", {"1"}, {"2"}},
	{"{\"enum\": [\"a\", 1, null, {\"k\": [true]}]}",
	 {"\"a\"", "1", "null", "{\"k\":[true]}"},
	 {"\"b\"", "2", "true"}},
	{"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"null\"}, \"b\": {\"const\": 1}}, \"required\": "
	 "[\"b\"]}",
	 {"{\"b\":1}", "{\"a\":null,\"b\":1}", "{ \"a\": null, \"b\": 1 }", "{\n  \"b\": 1\n}"},
	 {"{}", "{\"a\":null}", "{\"b\":1,\"a\":null}", "{\"b\":1,\"c\":1}", "{\"b\":1,}"}},
	{"{\"properties\": {\"a\": true}, \"additionalProperties\": {\"type\": \"boolean\"}}",
	 {"{}", "{\"a\":7}", "{\"x\":true}", "{\"a\":1,\"ab\":false,\"c\":true}"},
	 {"{\"x\":1}", "{\"a\":1,\"a\":true}", "{\"x\":true,\"a\":1}"}},
	{"{\"patternProperties\": {\"^x\": {\"type\": \"integer\"}}, \"additionalProperties\": false}",
	 {"{}", "{\"x\":1}", "{\"xyz\":1,\"x\":2}"},
	 {"{\"y\":1}", "{\"x\":true}"}},
	{"{\"type\": \"object\", \"properties\": {\"a\": true, \"b\": true, \"c\": true}, \"minProperties\": 1, "
	 "\"maxProperties\": 2}",
	 {"{\"a\":1}", "{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1}"},
	 {"{}", "{\"a\":1,\"b\":1,\"c\":1}"}},
	{"{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}], \"items\": {\"const\": 2}, \"minItems\": 1, "
	 "\"maxItems\": 3}",
	 {"[1]", "[1,2]", "[1, 2, 2]"},
	 {"[]", "[2]", "[1,1]", "[1,2,2,2]"}},
	{"{\"type\": \"array\", \"maxItems\": 0}", {"[]"}, {"[1]"}},
	{"{\"allOf\": [{\"properties\": {\"a\": {\"minimum\": 3}}}, {\"properties\": {\"a\": {\"type\": \"integer\", "
	 "\"maximum\": 4}},"
	 "\"required\": [\"a\"]}]}",
	 {"{\"a\":3}", "{\"a\":4}"},
	 {"{}", "{\"a\":5}", "{\"a\":2}", "{\"a\":3.5}"}},
	{"{\"oneOf\": [{\"type\": \"string\", \"maxLength\": 1}, {\"type\": \"integer\"}]}",
	 {"\"a\"", "12"},
	 {"\"ab\"", "null"}},
	{"{\"type\": [\"string\", \"null\"], \"maxLength\": 1}", {"null", "\"\""}, {"\"ab\"", "1"}},
	{"{\"$ref\": \"#/definitions/a~1b\", \"definitions\": {\"a/b\": {\"enum\": [5]}}}", {"5"}, {"6"}},
	{"true", {"1", "{\"a\": [null]}", "\"x\"", "[]"}, {"", "a"}},
};

static void schemas_accept_what_they_say(void **state)
{
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		evn_grammar *g = make(*state, EVN_GRAMMAR_JSON_SCHEMA, examples[i].schema);
		for (size_t k = 0; k < 5; k++) {
			const char *yes = examples[i].yes[k], *no = examples[i].no[k];
			if (yes && !accepts(g, yes, strlen(yes)))
				fail_msg("%s should accept %s", examples[i].schema, yes);
			if (no && accepts(g, no, strlen(no)))
				fail_msg("%s should not accept %s", examples[i].schema, no);
		}
		evn_grammar_free(g);
	}
}

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static const struct {
	evn_grammar_kind kind;
	const char *text, *says;
} refused[] = {
	{EVN_GRAMMAR_GBNF, "", "expected a rule 'root', found none"},
	{EVN_GRAMMAR_GBNF, "root ::= x", "expected a rule 'x'"},
	{EVN_GRAMMAR_GBNF, "root ::= \"a\"\nroot ::= \"b\"", "expected one rule 'root', found two"},
	{EVN_GRAMMAR_GBNF, "root ::= a\na ::= b \"x\"\nb ::= \"\" a | \"y\"", "left recursion"},
	{EVN_GRAMMAR_GBNF, "root ::= root \"x\" | \"y\"", "the rule 'root' calls itself"},
	{EVN_GRAMMAR_GBNF, "root ::= \"x\" root", "expected at least one text"},
	{EVN_GRAMMAR_GBNF, "root ::= \"x", "line 1, offset 11: expected '\"', found its end"},
	{EVN_GRAMMAR_GBNF, "root ::= [a-", "expected"},
	{EVN_GRAMMAR_GBNF, "root ::= [z-a]", "from lower to higher"},
	{EVN_GRAMMAR_GBNF, "root = \"a\"", "expected '::='"},
	{EVN_GRAMMAR_GBNF, "root ::= ((\"a\")", "expected ')'"},
	{EVN_GRAMMAR_GBNF, "root ::= \"a\"{3,2}", "the smaller count first"},
	{EVN_GRAMMAR_GBNF, "root ::= \"a\"{70000}", "more than 65536"},
	{EVN_GRAMMAR_GBNF, "root ::= (((\"a\"{1000}){1000}){1000}){1000}", "more than 1048576 states"},
	{EVN_GRAMMAR_GBNF, "root ::= \"\xff\"", "expected UTF-8"},
	{EVN_GRAMMAR_REGEX, "a(b", "expected ')'"},
	{EVN_GRAMMAR_REGEX, "a)", "expected"},
	{EVN_GRAMMAR_REGEX, "*a", "something to repeat"},
	{EVN_GRAMMAR_REGEX, "(?=a)b", "without look-around"},
	{EVN_GRAMMAR_REGEX, "\\bfoo", "an escape that is supported"},
	{EVN_GRAMMAR_REGEX, "(a)\\1", "an escape that is supported"},
	{EVN_GRAMMAR_REGEX, "[]", "expected at least one text"},
	{EVN_GRAMMAR_TOOLS, "{\"tools\": []}", "expected 1 to 128, found 0"},
	{EVN_GRAMMAR_TOOLS, "{\"tools\": [{\"name\": \"f\"}], \"form\": \"x\"}",
	 "expected the form hermes, llama, mistral"},
	{EVN_GRAMMAR_TOOLS, "{\"tools\": [{\"name\": \"f\", \"strict\": true, \"parameters\": {\"not\": {}}}]}",
	 "tool 'f': schema:"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{", "line 1, column 1"},
	{EVN_GRAMMAR_JSON_SCHEMA, "[]", "expected an object, true or false, found []"},
	{EVN_GRAMMAR_JSON_SCHEMA, "false", "expected at least one text"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"type\": \"text\"}", "type: expected null, boolean"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"not\": {}}", "expected no 'not'"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"items\": {\"uniqueItems\": true}}", "uniqueItems"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"$ref\": \"http://x/y\"}", "a pointer into this schema"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"$ref\": \"#\"}", "a pointer into this schema"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"null\"}]}", "left recursion"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\"}]}",
	 "that 1 and 2 may share some"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"minLength\": -1}", "minLength: expected a count, found -1"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"type\": \"array\", \"minItems\": 100000}", "minItems is more than 65536"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"enum\": [\"a\"], \"pattern\": \"b\"}", "an enum without 'pattern'"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"pattern\": \"(\"}", "regular expression"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"pattern\": \"^(.*a.{20}|.*b.{21})$\"}", "which is the limit"},
	{EVN_GRAMMAR_JSON_SCHEMA, "{\"allOf\": [{\"pattern\": \"a\"}, {\"pattern\": \"b\"}]}", "expected one 'pattern'"},
	{EVN_GRAMMAR_JSON_SCHEMA,
	 "{\"properties\": {\"a\": {\"$ref\": \"#/$defs/a\"}}, \"$defs\": {\"a\": {\"allOf\": "
	 "[{\"properties\": {\"a\": {\"$ref\": \"#/$defs/a\"}}}, {\"minProperties\": 1}]}}}",
	 NULL},
};

static void wrong_ones_are_refused_in_a_line(void **state)
{
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		evn_grammar *g = NULL;
		evn_error err = {0};
		evn_grammar_create(&g, *state, refused[i].kind, refused[i].text, strlen(refused[i].text), &err);
		if (refused[i].says && (g || !strstr(err.text, refused[i].says)))
			fail_msg("%s: expected '%s', found '%s'", refused[i].text, refused[i].says, err.text);
		assert_null(strchr(err.text, '\n'));
		evn_grammar_free(g);
	}
}

/* Schemas that are nested deep, and grammars that are: neither takes the program's stack. */
static void depth_has_limits(void **state)
{
	enum { DEEP = 1500 };
	char *text = calloc(1, 32 * DEEP);
	evn_grammar *g;
	evn_error err = {0};
	for (int i = 0; i < DEEP; i++)
		strcat(text, "{\"items\":");
	strcat(text, "{}");
	for (int i = 0; i < DEEP; i++)
		strcat(text, "}");
	assert_int_equal(evn_grammar_create(&g, *state, EVN_GRAMMAR_JSON_SCHEMA, text, strlen(text), &err),
					 EVN_ERR_LIMIT);
	strcpy(text, "root ::= ");
	memset(text + 9, '(', DEEP);
	text[9 + DEEP] = '\0';
	assert_int_equal(evn_grammar_create(&g, *state, EVN_GRAMMAR_GBNF, text, strlen(text), &err), EVN_ERR_LIMIT);
	memset(text, '[', 2 * DEEP);
	g = make(*state, EVN_GRAMMAR_JSON_SCHEMA, "{\"type\": \"array\"}");
	evn_matcher *m = replay(g, NULL, 0);
	int depth = 0;
	while (depth < 2 * DEEP && evn_matcher_accept(m, '[', &err) == EVN_OK)
		depth++;
	assert_in_range(depth, 100, EVN_MACHINE_MAX_DEPTH + 1);
	evn_matcher_free(m);
	evn_grammar_free(g);
	free(text);
}

/* Every letter leads to another set of many ways to read the text. */
static void hostile_grammars_end(void **state)
{
	static const char *const texts[] = {
		"root ::= ([a-z]? | \"e\" \"x\"?){1000} \"!\"", "root ::= ([a-z]? \"e\"? [a-m]?){450} \"!\"",
		"root ::= ([a-z]? | \"e\" \"x\"?){250} \"!\"", "root ::= [a-z]* \"e\" [a-z]{300} | [a-z]* \"t\" [a-z]{40}"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		evn_grammar *g = make(*state, EVN_GRAMMAR_GBNF, texts[i]);
		evn_error err = {0};
		const uint64_t *mask;
		evn_matcher *m = NULL;
		evn_status s = evn_matcher_create(&m, g, &err);
		if (s == EVN_OK)
			s = evn_matcher_mask(m, &mask, &err);
		assert_true(s == EVN_OK || (s == EVN_ERR_LIMIT && strstr(err.text, "grammar:")));
		print_message("%s: %s\n", texts[i], s == EVN_OK ? "has a mask" : err.text);
		evn_matcher_free(m);
		evn_grammar_free(g);
	}
}

static void the_same_text_is_the_same_grammar(void **state)
{
	evn_grammar *a = make(*state, EVN_GRAMMAR_REGEX, "a+"), *b = make(*state, EVN_GRAMMAR_REGEX, "a+"), *first = a;
	assert_ptr_equal(a, b);
	evn_grammar_free(a);
	for (unsigned i = 0; i < EVN_GRAMMARS_KEPT + 1; i++) {
		char text[16];
		snprintf(text, sizeof text, "b{%u}", i + 1);
		evn_grammar_free(make(*state, EVN_GRAMMAR_REGEX, text));
	}
	assert_true(accepts(b, "aa", 2)); /* it is kept no longer, but still used */
	a = make(*state, EVN_GRAMMAR_REGEX, "a+");
	assert_ptr_not_equal(a, first);
	evn_grammar_free(a);
	evn_grammar_free(b);
}

static int begin(void **state)
{
	*state = make_vocabulary();
	return 0;
}

static int end(void **state)
{
	evn_vocabulary_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regexes_are_those_of_pcre2),
		cmocka_unit_test(grammars_are_those_of_a_plain_recogniser),
		cmocka_unit_test(masks_are_what_the_bytes_say),
		cmocka_unit_test(dropping_changes_nothing),
		cmocka_unit_test(schemas_accept_what_they_say),
		cmocka_unit_test(wrong_ones_are_refused_in_a_line),
		cmocka_unit_test(depth_has_limits),
		cmocka_unit_test(hostile_grammars_end),
		cmocka_unit_test(the_same_text_is_the_same_grammar),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
