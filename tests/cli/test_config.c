/* test_config.c - config files: what a good file sets. Each kind of bad file gives one line that begins with
 * file:line:column and names the culprit. */
#include "cli/cli.h"
#include "cli/config/config.h"
#include "cli/batch/cut.h"
#include "cli/cli.h"
#include "evener/sample.h"
#include "cli/config/options.h"
#include "cli/show/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/evener-config-XXXXXX";

static evn_status load_bytes(const char *data, size_t n, config *c, settings *s, evn_error *err)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
	assert_int_equal(settings_init(s, err), EVN_OK);
	return config_load(c, path, s, err);
}

/* expected: the message after the path, beginning with ":line:column: ". */
static void expect_problem_in(const char *data, size_t n, const char *expected)
{
	settings s;
	config c;
	evn_error err = {0};
	char wanted[512];
	assert_int_equal(load_bytes(data, n, &c, &s, &err), EVN_ERR_USAGE);
	snprintf(wanted, sizeof wanted, "%s%s", path, expected);
	if (strncmp(err.text, wanted, strlen(wanted)) != 0)
		fail_msg("got '%s', expected '%s'", err.text, wanted);
	assert_null(strchr(err.text, '\n'));
	config_free(&c);
	settings_free(&s);
}

static void expect_problem(const char *yaml, const char *expected)
{
	expect_problem_in(yaml, strlen(yaml), expected);
}

static void test_everything(void **state)
{
	(void)state;
	static const char yaml[] =
		"version: 1\n"
		"model: {path: models/a.gguf, context: 2048}\n"
		"devices:\n"
		"  - {match: gpu, share: auto, memory: 75%}\n"
		"  - {match: \"pocl/1+1\", share: 2.5, memory: 6GiB}\n"
		"split: {mode: tensor, reduce: events, messages: bf16}\n"
		"compute: {activations: f32, batch: 64, kv_cache: q8_0}\n"
		"sample: {temp: 0, top_k: 1, top_p: 0.5, min_p: 0.25, repeat_penalty: 1.5,\n"
		"         repeat_last_n: 8, seed: 7}\n"
		"run: {prompt: \"a \\u00e9: b\", n: 5, ignore_eos: true}\n"
		"batch: {cut: sentences, piece_tokens: 0, template: \"{text}, {{\", system: b, raw: true,\n"
		"        labels: [yes, \" no\", \"a, b\"], n: 9}\n";
	settings s;
	config c;
	evn_error err = {0};
	assert_int_equal(load_bytes(yaml, strlen(yaml), &c, &s, &err), EVN_OK);
	assert_string_equal(s.model_path, "/tmp/models/a.gguf"); /* relative to the file */
	assert_int_equal(s.context, 2048);
	assert_int_equal(s.kv_cache, EVN_KV_Q8_0);
	assert_int_equal(s.messages, EVN_MESSAGES_BF16);
	assert_int_equal(s.n_rules, 2);
	assert_string_equal(s.rules[0].match, "gpu");
	assert_true(s.rules[0].share == EVN_SHARE_AUTO && fabs(s.rules[0].memory_fraction - 0.75) < 1e-12);
	assert_string_equal(s.rules[1].match, "pocl/1+1");
	assert_true(s.rules[1].share == 2.5 && s.rules[1].memory_bytes == 6ull << 30);
	assert_int_equal(s.reduce, EVN_REDUCE_EVENTS);
	assert_int_equal(s.batch, 64);
	assert_true(s.temp == 0 && s.top_k == 1 && s.top_p == 0.5 && s.min_p == 0.25 && s.repeat_penalty == 1.5);
	assert_true(s.repeat_last_n == 8 && s.seed == 7 && s.n_predict == 5 && s.ignore_eos);
	assert_string_equal(s.prompt, "a \xc3\xa9: b");
	assert_true(s.cut == CUT_SENTENCES && s.piece_tokens == 0 && s.raw && s.n_answer == 9);
	assert_string_equal(s.template_text, "{text}, {{");
	assert_string_equal(s.system, "b");
	assert_int_equal(s.labels.n, 3);
	assert_string_equal(s.labels.items[0], "yes");
	assert_string_equal(s.labels.items[1], " no");
	assert_string_equal(s.labels.items[2], "a, b");
	config_free(&c);
	settings_free(&s);
}

static void test_lists_of_texts(void **state)
{
	(void)state;
	static const char yaml[] = "version: 1\nmodel: {path: a.gguf}\nsample: {stop: [\"a, b\", \"\\n\"]}\n"
							   "chat: {template: t.jinja}\nrun: {chat: true}\n";
	settings s;
	config c;
	evn_error err = {0};
	assert_int_equal(load_bytes(yaml, strlen(yaml), &c, &s, &err), EVN_OK);
	assert_int_equal(s.stops.n, 2);
	assert_string_equal(s.stops.items[0], "a, b");
	assert_string_equal(s.stops.items[1], "\n");
	assert_string_equal(s.chat_template, "/tmp/t.jinja");
	assert_true(s.chat);
	char *argv[] = {"run", "--stop", "x", "--stop", "y", NULL};
	command_line line;
	assert_int_equal(command_line_read(&line, 5, argv, CMD_RUN, &err), EVN_OK);
	assert_int_equal(command_line_apply(&line, &s, &err), EVN_OK);
	assert_int_equal(s.stops.n, 2); /* in place of the config's */
	assert_string_equal(s.stops.items[1], "y");
	config_free(&c);
	settings_free(&s);
	expect_problem("version: 1\nsample: {stop: x}\n", ":2:16: sample.stop: expected a list, found one value");
	expect_problem("version: 1\nsample: {stop: [a, \"\"]}\n", ":2:20: sample.stop[1]: must not be empty");
	expect_problem("version: 1\nsample: {stop: [1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7]}\n",
				   ":2:16: sample.stop: expected 0 to 16 entries");
}

static void test_flags_win(void **state)
{
	(void)state;
	static const char yaml[] =
		"version: 1\nmodel: {path: /a.gguf}\ndevices: [{match: gpu, share: 3}]\nsample: {temp: 0.5, top_k: 7}\n";
	char *argv[] = {"run", "--temp", "0.25", "-d", "cpu/1+1, 0:0", "--memory=50%", NULL};
	settings s;
	config c;
	command_line line;
	evn_error err = {0};
	assert_int_equal(load_bytes(yaml, strlen(yaml), &c, &s, &err), EVN_OK);
	assert_int_equal(command_line_read(&line, 6, argv, 1 << 2, &err), EVN_OK);
	assert_int_equal(command_line_apply(&line, &s, &err), EVN_OK);
	assert_int_equal(settings_resolve(&s, &err), EVN_OK);
	assert_true(s.temp == 0.25);  /* flag */
	assert_int_equal(s.top_k, 7); /* file */
	assert_true(s.top_p == 0.95); /* default */
	evn_options o = settings_engine_options(&s);
	assert_int_equal(o.n_devices, 2);
	assert_string_equal(o.devices[0].match, "cpu/1+1");
	assert_string_equal(o.devices[1].match, "0:0");
	assert_true(o.devices[0].share == EVN_SHARE_AUTO); /* the flag replaces the whole list of the file */
	assert_true(o.devices[1].memory_fraction == 0.5);
	config_free(&c);
	settings_free(&s);
}

static void test_labels_of_a_flag_win(void **state)
{
	(void)state;
	static const char yaml[] = "version: 1\nbatch: {labels: [a, b, c]}\n";
	char *argv[] = {"batch", "--label", " good", "--label=bad, or worse", "-n", "3", NULL};
	settings s;
	config c;
	command_line line;
	evn_error err = {0};
	assert_int_equal(load_bytes(yaml, strlen(yaml), &c, &s, &err), EVN_OK);
	assert_int_equal(command_line_read(&line, 6, argv, CMD_BATCH, &err), EVN_OK);
	assert_int_equal(command_line_apply(&line, &s, &err), EVN_OK);
	assert_int_equal(s.labels.n, 2);
	assert_string_equal(s.labels.items[0], " good");
	assert_string_equal(s.labels.items[1], "bad, or worse");
	assert_true(s.n_answer == 3 && s.n_predict == -1);
	config_free(&c);
	settings_free(&s);
}

static void test_bad_labels(void **state)
{
	(void)state;
	char many[1024] = "version: 1\nbatch:\n  labels: [l0";
	for (int i = 1; i <= MAX_REPEATED; i++)
		snprintf(many + strlen(many), sizeof many - strlen(many), ", l%d", i);
	strcat(many, "]\n");
	expect_problem(many, ":3:11: batch.labels: expected 0 to 64 entries");
	expect_problem("version: 1\nbatch: {labels: [a, \"\"]}\n", ":2:21: batch.labels[1]: must not be empty");
	expect_problem("version: 1\nbatch: {labels: a}\n", ":2:17: batch.labels: expected a list, found one value");
	expect_problem("version: 1\nbatch: {cut: words}\n", ":2:14: batch.cut: 'words' is not supported");
}

static void test_environment_is_the_last_resort(void **state)
{
	(void)state;
	settings s;
	evn_error err = {0};
	setenv("EVENER_DEVICES", "pocl,intel", 1);
	assert_int_equal(settings_init(&s, &err), EVN_OK);
	assert_int_equal(settings_resolve(&s, &err), EVN_OK);
	assert_int_equal(s.n_rules, 2);
	assert_string_equal(s.rules[1].match, "intel");
	settings_free(&s);
	assert_int_equal(settings_init(&s, &err), EVN_OK);
	s.devices = "gpu";
	assert_int_equal(settings_resolve(&s, &err), EVN_OK);
	assert_int_equal(s.n_rules, 1);
	settings_free(&s);
	unsetenv("EVENER_DEVICES");
}

static void test_defaults(void **state)
{
	(void)state;
	evn_sample_options wanted = evn_sample_defaults();
	settings s;
	evn_error err = {0};
	assert_int_equal(settings_init(&s, &err), EVN_OK);
	evn_sample_options got = settings_sample_options(&s);
	assert_true(got.temp == wanted.temp && got.top_p == wanted.top_p && got.min_p == wanted.min_p);
	assert_true(got.repeat_penalty == wanted.repeat_penalty && got.repeat_last_n == wanted.repeat_last_n);
	assert_true(got.top_k == wanted.top_k && got.seed == wanted.seed);
	settings_free(&s);
}

static void test_structure(void **state)
{
	(void)state;
	expect_problem("", ":1:1: empty");
	expect_problem("# only a comment\n", ":1:1: empty");
	expect_problem("hello\n", ":1:1: expected a mapping");
	expect_problem("[1]\n", ":1:1: expected a mapping");
	expect_problem("version: 1\n---\nversion: 1\n", ":2:1: a second document");
	expect_problem("version: 1\nversion: 1\n", ":2:1: duplicate key 'version'");
	expect_problem("version: 1\nsample:\n  temp: 1\n  temp: 2\n", ":4:3: duplicate key 'sample.temp'");
	expect_problem("version: 1\ndevices: [{match: a, match: b}]\n", ":2:22: duplicate key 'devices[0].match'");
	expect_problem("version: 1\nrun: {prompt: &a x}\n", ":2:15: anchor &a");
	expect_problem("version: 1\nrun: {prompt: *a}\n", ":2:15: alias *a");
	expect_problem("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", ":1:4: anchor &a");
	expect_problem("version: 1\nsample: &a {<<: *a}\n", ":2:9: anchor &a");
	expect_problem("version: 1\nsample:\n  <<: {temp: 1}\n", ":3:3: unknown key 'sample.<<'");
	expect_problem("version: !!int 1\n", ":1:10: tag ");
	expect_problem("version: 1\n? [a]\n: b\n", ":2:3: a key must be a name");
	expect_problem("version: 1\nsample:\n\ttemp: 1\n", ":3:1: ");
	expect_problem("version: 1\nrun: {prompt: \"abc\n", ":3:1: ");
	expect_problem("version: 1\nrun: {prompt: \"a\\0b\"}\n", ":2:15: a value must not hold a NUL");
	expect_problem("version: 1\nrun: {prompt: \xff\xfe}\n", ":2:15: invalid leading UTF-8 octet");
	expect_problem_in("version: 1\n\0\0", 13, ":2:1: control characters");
}

static void test_size(void **state)
{
	(void)state;
	enum { DEEP = 100000, LARGE = (1 << 20) + 1 };
	char *text = malloc(LARGE + 64);
	assert_non_null(text);
	int n = sprintf(text, "version: 1\nrun: ");
	memset(text + n, '[', DEEP);
	expect_problem_in(text, (size_t)n + DEEP, ":2:21: nested more than 16 levels");
	n = sprintf(text, "version: 1\n? ");
	memset(text + n, 'k', 5000);
	expect_problem_in(text, (size_t)n + 5000, ":2:3: unknown key 'kkkk");
	n = sprintf(text, "version: 1\nrun:\n");
	for (int i = 0; i < 5000; i++)
		n += sprintf(text + n, "  k%d: 1\n", i);
	expect_problem_in(text, (size_t)n, ":4097:3: more than 4096 entries");
	memset(text, '#', LARGE);
	settings s;
	config c;
	evn_error err = {0};
	assert_int_equal(load_bytes(text, LARGE, &c, &s, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "larger than 1048576 bytes"));
	config_free(&c);
	settings_free(&s);
	free(text);
}

static void test_version(void **state)
{
	(void)state;
	expect_problem("model: {path: x}\n", ":1:1: key 'version' is missing");
	expect_problem("version: 2\nnew_key: 3\n", ":1:10: version: '2' is unknown");
	expect_problem("version: [1]\n", ":1:10: version: 'a list or mapping' is unknown");
	expect_problem("version: 01\n", ":1:10: version: '01' is unknown");
}

static void test_keys_and_shapes(void **state)
{
	(void)state;
	expect_problem("version: 1\nmodle: {path: x}\n", ":2:1: unknown key 'modle'; did you mean 'model'?");
	expect_problem("version: 1\nsample: {temp: 1}\ntemp: 1\n", ":3:1: unknown key 'temp'");
	expect_problem("version: 1\nsample: {tmep: 1}\n", ":2:10: unknown key 'sample.tmep'; did you mean 'temp'?");
	expect_problem("version: 1\ndevices:\n  - {match: a}\n  - {match: b, shar: 1}\n",
				   ":4:16: unknown key 'devices[1].shar'; did you mean 'share'?");
	expect_problem("version: 1\nsample: 3\n", ":2:9: sample: expected a mapping (key: value), found one value");
	expect_problem("version: 1\nsample:\n", ":2:8: sample: expected a mapping (key: value), found nothing");
	expect_problem("version: 1\nsample: {temp: [1]}\n", ":2:16: sample.temp: expected one value, found a list");
	expect_problem("version: 1\nsample: {temp: {a: 1}}\n", ":2:16: sample.temp: expected one value, found a mapping");
	expect_problem("version: 1\ndevices: gpu\n", ":2:10: devices: expected a list, found one value");
	expect_problem("version: 1\ndevices: [gpu]\n",
				   ":2:11: devices[0]: expected a mapping (key: value), found one value");
	expect_problem("version: 1\ndevices: []\n", ":2:10: devices: expected 1 to 8 entries");
	expect_problem("version: 1\ndevices: [{match: a}, {}]\n", ":2:23: devices[1]: key 'match' is missing");
	expect_problem("version: 1\ndevices: [{share: 1}]\n", ":2:11: devices[0]: key 'match' is missing");
}

static void test_values(void **state)
{
	(void)state;
	static const char *const numbers[] = {"no",   "0o17", "1e999", ".inf", "nan",   "-1", "\"0.5x\"",
										  "0x10", "~",    "null",  "yes",  "1_000", "1,5"};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		char yaml[96];
		snprintf(yaml, sizeof yaml, "version: 1\nsample:\n  temp: %s\n", numbers[i]);
		expect_problem(yaml, ":3:9: sample.temp: '");
	}
	expect_problem("version: 1\nmodel: {context: -5}\n", ":2:18: model.context: '-5' is not a whole number from 0");
	expect_problem("version: 1\nmodel: {context: 99999999999}\n", ":2:18: model.context: ");
	expect_problem("version: 1\nmodel: {path: \"\"}\n", ":2:15: model.path: must not be empty");
	expect_problem("version: 1\nrun: {ignore_eos: yes}\n", ":2:19: run.ignore_eos: 'yes' is neither true nor false");
	expect_problem("version: 1\nsplit: {mode: layers}\n", ":2:15: split.mode: 'layers' is not supported");
	expect_problem("version: 1\ncompute: {activations: q4}\n", ":2:24: compute.activations: 'q4' is not supported");
	expect_problem("version: 1\ndevices: [{match: a, share: -1}]\n", ":2:29: devices[0].share: '-1'");
	expect_problem("version: 1\ndevices: [{match: a, memory: 101%}]\n", ":2:30: devices[0].memory: '101%'");
	expect_problem("version: 1\ndevices: [{match: \"a,b\"}]\n", ":2:19: devices[0].match: 'a,b'");
	expect_problem("version: 1\ndevices: [{match: a, share: 0}, {match: b, share: 0}]\n",
				   ":2:10: devices: all shares are zero");
}

static void test_no_file(void **state)
{
	(void)state;
	static const char *const paths[] = {"/nonexistent/evener.yaml", "/tmp"};
	for (size_t i = 0; i < 2; i++) {
		settings s;
		config c;
		evn_error err = {0};
		assert_int_equal(settings_init(&s, &err), EVN_OK);
		assert_int_equal(config_load(&c, paths[i], &s, &err), EVN_ERR_FILE);
		assert_non_null(strstr(err.text, paths[i]));
		config_free(&c);
		settings_free(&s);
	}
}

static int make_path(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

/* The paths of further models are relative to the file, and their names stay. */
static void test_models(void **state)
{
	(void)state;
	static const char yaml[] = "version: 1\n"
							   "model: {path: a.gguf, draft: d.gguf}\n"
							   "serve: {adapters: [\"t=l.gguf:0.5\"], models: [\"x=sub/b.gguf\", \"/c/y=z.gguf\", "
							   "\"n=/e.gguf\"], most_loaded: 2, "
							   "unload_after: 10min}\n";
	settings s;
	config c;
	evn_error err = {0};
	assert_int_equal(load_bytes(yaml, strlen(yaml), &c, &s, &err), EVN_OK);
	assert_int_equal(s.more_models.n, 3);
	assert_string_equal(s.more_models.items[0], "x=/tmp/sub/b.gguf");
	assert_string_equal(s.more_models.items[1], "/c/y=z.gguf");
	assert_string_equal(s.more_models.items[2], "n=/e.gguf");
	assert_string_equal(model_entry_path(s.more_models.items[0]), "/tmp/sub/b.gguf");
	assert_string_equal(model_entry_path(s.more_models.items[1]), "/c/y=z.gguf");
	assert_string_equal(s.adapters.items[0], "t=/tmp/l.gguf:0.5");
	assert_string_equal(s.draft_path, "/tmp/d.gguf");
	assert_int_equal(s.most_loaded, 2);
	assert_true(s.unload_s > 599 && s.unload_s < 601);
	config_free(&c);
	settings_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_lists_of_texts),
		cmocka_unit_test(test_flags_win),
		cmocka_unit_test(test_labels_of_a_flag_win),
		cmocka_unit_test(test_bad_labels),
		cmocka_unit_test(test_environment_is_the_last_resort),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_keys_and_shapes),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_no_file),
	};
	return cmocka_run_group_tests(tests, make_path, remove_path);
}
