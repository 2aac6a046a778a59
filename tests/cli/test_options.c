/* test_options.c - the option table is consistent and agrees with the schema of the config, and the command line is
 * read as the table says. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/config/config.h"
#include "cli/config/options.h"
#include "cli/show/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_no_flag_is_ambiguous(void **state)
{
	(void)state;
	for (const option *a = options; a->name; a++) {
		assert_true(a->commands != 0 && a->letter != 'h');
		assert_true((a->kind == OPTION_FLAG) == (a->value == NULL));
		for (const option *b = a + 1; b->name; b++)
			if (a->commands & b->commands) {
				assert_string_not_equal(a->name, b->name);
				assert_true(!a->letter || a->letter != b->letter);
			}
	}
}

/* Every key of the schema has an option that reads it, and the key of every option is in the schema. */
static void test_keys_match_the_schema(void **state)
{
	(void)state;
	const cyaml_schema_field_t *top = config_schema.mapping.fields;
	size_t in_schema = 0, in_options = 0;
	for (const cyaml_schema_field_t *section = top; section->key; section++) {
		if (section->value.type == CYAML_STRING)
			continue;
		const cyaml_schema_field_t *f = section->value.type == CYAML_SEQUENCE
											? section->value.sequence.entry->mapping.fields
											: section->value.mapping.fields;
		assert_true(*config_section_help(section->key));
		for (; f->key; f++, in_schema++) {
			char key[64];
			snprintf(key, sizeof key, "%s.%s", section->key, f->key);
			if (!option_by_key(key))
				fail_msg("no option reads %s", key);
		}
	}
	for (const option *o = options; o->name; o++)
		in_options += o->key != NULL;
	assert_int_equal(in_schema, in_options);
}

static void expect_refusal(unsigned bit, const char *first, const char *second, const char *message)
{
	char *argv[] = {"command", (char *)(size_t)first, (char *)(size_t)second, NULL};
	command_line line;
	settings s;
	evn_error err = {0};
	assert_int_equal(settings_init(&s, &err), EVN_OK);
	evn_status status = command_line_read(&line, second ? 3 : 2, argv, bit, &err);
	if (status == EVN_OK)
		status = command_line_apply(&line, &s, &err);
	assert_int_equal(status, EVN_ERR_USAGE);
	if (!strstr(err.text, message))
		fail_msg("got '%s', expected '%s'", err.text, message);
	settings_free(&s);
}

static void test_refusals(void **state)
{
	(void)state;
	expect_refusal(CMD_RUN, "--tmep", "1", "unknown option --tmep; did you mean --temp?");
	expect_refusal(CMD_RUN, "--nonsense=3", NULL, "unknown option --nonsense");
	expect_refusal(CMD_RUN, "-Z", NULL, "unknown option -Z");
	expect_refusal(CMD_DEVICES, "--temp", "1", "unknown option --temp");
	expect_refusal(CMD_DEVICES, "-n", "1", "unknown option -n");
	expect_refusal(CMD_RUN, "-n", NULL, "option -n needs a value");
	expect_refusal(CMD_RUN, "--temp", NULL, "option --temp needs a value");
	expect_refusal(CMD_RUN, "--json=1", NULL, "option --json takes no value");
	expect_refusal(CMD_RUN, "--help=1", NULL, "option --help takes no value");
	expect_refusal(CMD_RUN, "-n", "1x", "--predict: '1x' is not a whole number");
	expect_refusal(CMD_BENCH, "-n", "0", "--decode-tokens: '0' is not a whole number from 1");
	expect_refusal(CMD_RUN, "--temp", "nan", "--temp: 'nan' is not a number");
	expect_refusal(CMD_RUN, "--shares", "0,0", "--shares: '0,0': all shares are zero");
	expect_refusal(CMD_RUN, "--split", "layers",
				   "--split: 'layers' is not supported; this version knows: auto, tensor, sequence");
	expect_refusal(CMD_RUN, "--messages", "f8",
				   "--messages: 'f8' is not supported; this version knows: f32, f16, bf16, q8");
	expect_refusal(CMD_RUN, "--kv-cache", "f8",
				   "--kv-cache: 'f8' is not supported; this version knows: f32, f16, q8_0, q4_0");
	expect_refusal(CMD_RUN, "--activations", "q4", "this version knows: auto, f32, q8");
	expect_refusal(CMD_RUN, "-m", "", "--model: must not be empty");
}

/* Once the table had grown beyond a limit of 128, and its last options were unknown. */
static void test_every_option_is_known(void **state)
{
	(void)state;
	for (const option *o = options; o->name; o++) {
		char *name = evn_format("--%s", o->name);
		char *argv[] = {"command", name, "1", NULL};
		command_line line;
		evn_error err = {0};
		const evn_status status =
			command_line_read(&line, o->kind == OPTION_FLAG ? 2 : 3, argv, o->commands & -o->commands, &err);
		if (status != EVN_OK)
			fail_msg("%s: %s", name, err.text);
		free(name);
	}
}

static void test_letters_mean_what_the_command_says(void **state)
{
	(void)state;
	char *run[] = {"run", "a.yaml", "-p", "hello", "-n", "-1", "--ignore-eos", NULL};
	char *bench[] = {"bench", "-p", "128", "-n", "8", NULL};
	command_line line;
	settings s;
	evn_error err = {0};
	assert_int_equal(settings_init(&s, &err), EVN_OK);
	assert_int_equal(command_line_read(&line, 7, run, CMD_RUN, &err), EVN_OK);
	assert_int_equal(line.n_arguments, 1);
	assert_string_equal(line.arguments[0], "a.yaml");
	assert_int_equal(command_line_apply(&line, &s, &err), EVN_OK);
	assert_string_equal(s.prompt, "hello");
	assert_true(s.n_predict == -1 && s.ignore_eos);
	assert_int_equal(command_line_read(&line, 5, bench, CMD_BENCH, &err), EVN_OK);
	assert_int_equal(command_line_apply(&line, &s, &err), EVN_OK);
	assert_true(s.bench_prompt == 128 && s.bench_decode == 8);
	settings_free(&s);
}

static void test_nearest(void **state)
{
	(void)state;
	static const char *const words[] = {"run", "plan", "devices", "bench", NULL};
	assert_string_equal(text_nearest("rnu", words), "run");
	assert_string_equal(text_nearest("devcies", words), "devices");
	assert_string_equal(text_nearest("plna", words), "plan");
	assert_null(text_nearest("chat", words));
	assert_null(text_nearest("", words));
	assert_null(text_nearest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", words));
}

static void test_nothing_moves_the_cursor(void **state)
{
	(void)state;
	char s[] = "a\x1b[2Jb\n\xc2\x9b\xc3\xa9";
	text_printable(s);
	assert_string_equal(s, "a?[2Jb???\xc3\xa9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_flag_is_ambiguous),
		cmocka_unit_test(test_keys_match_the_schema),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_every_option_is_known),
		cmocka_unit_test(test_letters_mean_what_the_command_says),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_nothing_moves_the_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
