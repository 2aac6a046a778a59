/* test_journal.c - the journal of a batch: what a run that was killed leaves is found again, whatever the crash cut
 * off; one of other work is refused. */
#include "cli/batch/journal.h"
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PIECES 5

static char path[] = "/tmp/evener-journal-XXXXXX";
static const journal_head wanted = {
	.model = 1, .settings = 2, .input = UINT64_MAX, .n_pieces = PIECES, .seed = 7, .began = 9};

static journal *open_journal(const journal_head *head, bool restart)
{
	journal *j = NULL;
	evn_error err = {0};
	if (journal_open(&j, path, head, restart, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return j;
}

static void refuses(const journal_head *head, bool restart, const char *expected)
{
	journal *j = NULL;
	evn_error err = {0};
	assert_int_not_equal(journal_open(&j, path, head, restart, &err), EVN_OK);
	assert_null(j);
	if (!strstr(err.text, expected))
		fail_msg("'%s' is not in '%s'", expected, err.text);
}

static void write_file(const char *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
}

static void expect_record(const journal *j, size_t piece, const char *expected)
{
	char *record = NULL;
	size_t bytes = 0;
	assert_int_equal(journal_has(j, piece), expected != NULL);
	if (!expected)
		return;
	assert_int_equal(journal_read(j, piece, &record, &bytes, NULL), EVN_OK);
	assert_string_equal(record, expected);
	assert_int_equal(bytes, strlen(expected));
	free(record);
}

static void test_continues(void **state)
{
	(void)state;
	unlink(path);
	journal *j = open_journal(&wanted, false);
	assert_int_equal(journal_count(j), 0);
	assert_int_equal(journal_add(j, 3, "{\"a\":\"\\n\"}", NULL), EVN_OK);
	assert_int_equal(journal_add(j, 0, "{}", NULL), EVN_OK);
	assert_int_equal(journal_sync(j, NULL), EVN_OK);
	expect_record(j, 3, "{\"a\":\"\\n\"}");
	refuses(&wanted, false, "another process");
	journal_close(j);
	journal_head any = wanted;
	any.seed = -1;
	any.began = 100;
	j = open_journal(&any, false);
	assert_int_equal(journal_count(j), 2);
	assert_int_equal(journal_get_head(j)->seed, 7);
	assert_int_equal(journal_get_head(j)->began, 9);
	expect_record(j, 0, "{}");
	expect_record(j, 1, NULL);
	expect_record(j, 3, "{\"a\":\"\\n\"}");
	assert_int_equal(journal_add(j, 1, "{\"b\":2}", NULL), EVN_OK);
	expect_record(j, 1, "{\"b\":2}");
	journal_close(j);
	j = open_journal(&wanted, true);
	assert_int_equal(journal_count(j), 0);
	journal_remove(j);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* Cut off at every byte, with and without garbage behind it: the whole records before it are there, no other one. */
static void test_cut_off(void **state)
{
	(void)state;
	char file[1024];
	unlink(path);
	journal *j = open_journal(&wanted, false);
	for (size_t i = 0; i < PIECES; i++)
		assert_int_equal(journal_add(j, i, "{\"x\":[1,2]}", NULL), EVN_OK);
	journal_close(j);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(file, 1, sizeof file - 1, f), head = (size_t)(strchr(file, '\n') + 1 - file);
	fclose(f);
	size_t line = (n - head) / PIECES;
	for (size_t cut = 0; cut <= n; cut++)
		for (int garbage = 0; garbage < 2; garbage++) {
			char damaged[sizeof file + 4];
			memcpy(damaged, file, cut);
			memcpy(damaged + cut, "\0\xff\n", 3);
			if (garbage && cut < head)
				continue; /* no journal any more */
			write_file(damaged, cut + (garbage ? 3 : 0));
			j = open_journal(&wanted, false);
			assert_int_equal(journal_count(j), cut < head ? 0 : (cut - head) / line);
			assert_int_equal(journal_add(j, PIECES - 1, "{\"new\":1}", NULL), EVN_OK);
			expect_record(j, PIECES - 1, "{\"new\":1}");
			journal_close(j);
			j = open_journal(&wanted, false);
			expect_record(j, PIECES - 1, "{\"new\":1}");
			journal_close(j);
		}
}

static void test_other_work(void **state)
{
	(void)state;
	unlink(path);
	journal_head other = wanted;
	other.model++;
	journal_close(open_journal(&other, false));
	journal *j = open_journal(&wanted, false); /* no piece was finished, so nothing is lost */
	assert_int_equal(journal_get_head(j)->model, wanted.model);
	assert_int_equal(journal_add(j, 0, "{}", NULL), EVN_OK);
	journal_close(j);
	refuses(&other, false, "another model");
	other = wanted;
	other.input--;
	refuses(&other, false, "another input");
	other = wanted;
	other.settings++;
	refuses(&other, false, "other settings; finish that one, or begin anew with --restart");
	other = wanted;
	other.seed++;
	refuses(&other, false, "another seed");
	j = open_journal(&other, true);
	assert_int_equal(journal_add(j, 0, "{}", NULL), EVN_OK);
	journal_close(j);
	refuses(&wanted, false, "another seed");
	static const char *const foreign[] = {"my notes", "my notes\n", "{\"evener_batch\":99}\n",
										  "{\"evener_batch\":1}\n"};
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
		write_file(foreign[i], strlen(foreign[i]));
		refuses(&wanted, false, "is not the journal of a batch");
	}
	write_file(foreign[0], strlen(foreign[0]));
	refuses(&wanted, true, "is not the journal of a batch");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_continues),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_other_work),
	};
	int fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
