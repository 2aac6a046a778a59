/* test_source.c - the text of a program: the files that a kernel file includes, each once; the parts that a spec
 * names. Every file of kernels/ must compile alone. */
#include "ocl/internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ocl/kernel_sources.h"

/* ---- files of the test ----------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/evener-source-XXXXXX";

static void write_file(const char *name, const char *text)
{
	char *path = evn_format("%s/%s", folder, name);
	assert_non_null(path);
	assert_int_equal(evn_write_file(path, text, strlen(text), NULL), EVN_OK);
	free(path);
}

/* The folder of the kernels is read once in a process. */
static int in_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder) || setenv("EVENER_KERNEL_DIR", folder, 1))
		return -1;
	write_file("common.cl", "common\n");
	write_file("one.cl", "#include \"common.cl\"\none\n");
	write_file("two.cl", "#include \"common.cl\"\n#include \"one.cl\"\ntwo\n");
	write_file("three.cl", "#include \"two.cl\"\n#include \"one.cl\"\nthree"); /* no newline at the end */
	write_file("parts.cl", "#ifndef PART\n#define PART \"one.cl\"\n#endif\n#include PART\nparts\n");
	write_file("own.cl", "#ifndef PART\n#define PART \"two.cl\"\n#endif\n#include \"parts.cl\"\n");
	write_file("begin.cl", "#include \"middle.cl\"\n");
	write_file("middle.cl", "#include \"end.cl\"\n");
	write_file("end.cl", "#include \"begin.cl\"\n");
	write_file("itself.cl", "#include \"itself.cl\"\n");
	write_file("lost.cl", "#include \"common.cl\"\n#include \"nowhere.cl\"\n");
	write_file("system.cl", "#include <stdint.h>\n#include \"one.cl\"\n");
	write_file("nameless.cl", "#include NOTHING\n");
	return 0;
}

static int leave_folder(void **state)
{
	(void)state;
	char *command = evn_format("rm -r %s", folder);
	const int code = command ? system(command) : -1;
	free(command);
	return code;
}

/* Compares the lines that are no directives, joined by spaces. */
static void expect(const char *sources, const char *expected)
{
	char *text, got[256] = "";
	evn_error err = {0};
	assert_int_equal(evn_source_resolve(&text, sources, &err), EVN_OK);
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
		if (*line && *line != '#') {
			assert_true(strlen(got) + strlen(line) + 2 < sizeof got);
			strcat(strcat(got, *got ? " " : ""), line);
		}
	assert_string_equal(got, expected);
	free(text);
}

static void expect_failure(const char *sources, const char *expected, evn_status status)
{
	char *text;
	evn_error err = {0};
	assert_int_equal(evn_source_resolve(&text, sources, &err), status);
	assert_null(text);
	if (!strstr(err.text, expected))
		fail_msg("%s: \"%s\" is not in \"%s\"", sources, expected, err.text);
}

static void test_each_file_once_after_what_it_includes(void **state)
{
	(void)state;
	expect("one.cl", "common one");
	expect("three.cl", "common one two three");
	expect("system.cl", "common one");
}

static void test_lines_keep_their_file_and_number(void **state)
{
	(void)state;
	char *text;
	assert_int_equal(evn_source_resolve(&text, "two.cl", NULL), EVN_OK);
	assert_string_equal(text, "\n#line 1 \"two.cl\"\n#line 1 \"common.cl\"\ncommon\n#line 2 \"two.cl\"\n"
							  "#line 1 \"one.cl\"\n#line 2 \"one.cl\"\none\n#line 3 \"two.cl\"\ntwo\n");
	free(text);
}

static void test_parts_have_defaults_until_a_spec_names_another_file(void **state)
{
	(void)state;
	expect("parts.cl", "common one parts");
	expect("parts.cl PART=two.cl", "common one two parts");
	expect("own.cl", "common one two parts");
	expect("own.cl PART=one.cl", "common one parts");
}

static void test_failures_name_both_files(void **state)
{
	(void)state;
	expect_failure("begin.cl", "kernels/end.cl includes kernels/begin.cl, which includes it in turn", EVN_ERR_BUILD);
	expect_failure("itself.cl", "kernels/itself.cl includes kernels/itself.cl", EVN_ERR_BUILD);
	expect_failure("lost.cl", "nowhere.cl: ", EVN_ERR_FILE);
	expect_failure("lost.cl", ", which kernels/lost.cl includes", EVN_ERR_FILE);
	expect_failure("nameless.cl", "kernels/nameless.cl: #include NOTHING, but no file has that definition",
				   EVN_ERR_BUILD);
	expect_failure("parts.cl PART=one.cl OTHER=two.cl", "kernels/parts.cl: no file of the program includes OTHER",
				   EVN_ERR_BUILD);
}

static void test_specs(void **state)
{
	(void)state;
	evn_spec s = evn_spec_of("matvec.cl");
	evn_spec_part(&s, "WEIGHTS", "quant/%s.cl", "q6_k");
	evn_spec_define(&s, "TILES", 4);
	evn_spec_option(&s, "");
	evn_spec_option(&s, "-DROPE_NEOX");
	assert_string_equal(s.sources, "matvec.cl WEIGHTS=quant/q6_k.cl");
	assert_string_equal(s.defines, " -DTILES=4 -DROPE_NEOX");
	assert_false(s.too_long);
	for (int i = 0; i < 16; i++)
		evn_spec_part(&s, "WEIGHTS", "quant/%s.cl", "q6_k");
	assert_true(s.too_long);
	s = evn_spec_of("matvec.cl");
	for (int i = 0; i < 16; i++)
		evn_spec_define(&s, "A_LONG_NAME", 4294967295u);
	assert_true(s.too_long);
}

/* ---- the files of kernels/ ------------------------------------------------------------------------------------- */

static bool is_kernel_file(const char *path) { return strlen(path) > 3 && !strcmp(path + strlen(path) - 3, ".cl"); }

/* Runs clang with the text as its input and returns its status. No driver is needed for errors that the compiler
 * alone can find. */
static int compile(const char *text)
{
	static const char command[] =
		"clang -x cl -cl-std=CL1.2 -Xclang -finclude-default-header -fsyntax-only -Wall -Werror "
		"-Wno-unused-function -Wno-undefined-inline -";
	FILE *p = popen(command, "w");
	assert_non_null(p);
	assert_int_equal(fputs(text, p) < 0, false);
	return pclose(p);
}

static void test_every_file_compiles_alone(void **state)
{
	(void)state;
	size_t n = 0;
	if (system("clang --version >/dev/null 2>&1"))
		skip();
	for (size_t i = 0; i < evn_kernel_source_count; i++) {
		const char *path = evn_kernel_sources[i].path;
		char *text;
		evn_error err = {0};
		if (!is_kernel_file(path))
			continue;
		if (evn_source_resolve(&text, path, &err) != EVN_OK)
			fail_msg("%s: %s", path, err.text);
		if (compile(text))
			fail_msg("%s does not compile alone", path);
		free(text);
		n++;
	}
	assert_true(n > 50);
}

/* True if a line begins a kernel; functions do not count. */
static bool has_kernels(const char *text) { return !strncmp(text, "kernel ", 7) || strstr(text, "\nkernel "); }

static void test_kernels_build_alone(void **state)
{
	(void)state;
	evn_system *sys;
	evn_pick pick[EVN_MAX_RANKS];
	size_t n = 0;
	evn_device *d;
	cl_program program;
	evn_error err = {0};
	assert_int_equal(evn_system_open(&sys, &err), EVN_OK);
	if (evn_system_select(sys, "pocl", 0, pick, &n, EVN_MAX_RANKS, &err) != EVN_OK) {
		evn_system_close(sys);
		skip();
	}
	assert_int_equal(evn_devices_open(sys, pick, 1, &d, &err), EVN_OK);
	evn_device_build_throwaway(d, true);
	for (size_t i = 0; i < evn_kernel_source_count; i++) {
		const evn_spec spec = evn_spec_of(evn_kernel_sources[i].path);
		if (has_kernels(evn_kernel_sources[i].text) && evn_program_get(d, &spec, &program, &err) != EVN_OK)
			fail_msg("%s", err.text);
	}
	evn_device_close(d);
	evn_system_close(sys);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest files[] = {
		cmocka_unit_test(test_each_file_once_after_what_it_includes),
		cmocka_unit_test(test_lines_keep_their_file_and_number),
		cmocka_unit_test(test_parts_have_defaults_until_a_spec_names_another_file),
		cmocka_unit_test(test_failures_name_both_files),
		cmocka_unit_test(test_specs),
	};
	const struct CMUnitTest kernels[] = {cmocka_unit_test(test_every_file_compiles_alone),
										 cmocka_unit_test(test_kernels_build_alone)};
	return argc > 1 && !strcmp(argv[1], "kernels") ? cmocka_run_group_tests(kernels, NULL, NULL)
												   : cmocka_run_group_tests(files, in_folder, leave_folder);
}
