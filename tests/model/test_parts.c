/* test_parts.c - a model in several files. All are opened with the first one. An error names a part that is missing,
 * that belongs to another model, or that is not the first. */
#include "evener/inspect.h"
#include "model/gguf_write.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define DIM 8u

static char folder[] = "/tmp/evener-parts-XXXXXX";

/* The content of one part. */
typedef struct {
	const char *file;
	uint32_t no, count, n_tensors; /* n_tensors: of all parts, as the part says */
	const char *tensors[3];        /* matrices (DIM, DIM), filled with the number of the part */
	bool with_keys;
} part;

static char *path_of(const char *file) { return evn_format("%s/%s", folder, file); }

static void write_part(const part *p)
{
	evn_gguf_writer *w;
	uint8_t *bytes;
	size_t size;
	float values[DIM * DIM];
	evn_error err = {0};
	char *path = path_of(p->file);
	for (uint32_t i = 0; i < DIM * DIM; i++)
		values[i] = (float)(p->no + 1) + (float)i / 100;
	assert_int_equal(evn_gguf_writer_create(&w, &err), EVN_OK);
	if (p->with_keys) {
		evn_gguf_put_string(w, "general.architecture", "simple-lm");
		evn_gguf_put_u32(w, "simple-lm.block_count", 0);
		evn_gguf_put_u32(w, "simple-lm.context_length", 16);
		evn_gguf_put_u32(w, "simple-lm.embedding_length", DIM);
	}
	evn_gguf_put_u32(w, "split.no", p->no);
	evn_gguf_put_u32(w, "split.count", p->count);
	evn_gguf_put_u32(w, "split.tensors.count", p->n_tensors);
	for (size_t i = 0; i < 3 && p->tensors[i]; i++)
		evn_gguf_put_tensor(w, p->tensors[i], evn_quant_by_name("F32"), 2, (uint64_t[]){DIM, DIM}, values);
	assert_int_equal(evn_gguf_finish(w, &bytes, &size, &err), EVN_OK);
	assert_int_equal(evn_write_file(path, bytes, size, &err), EVN_OK);
	evn_gguf_writer_free(w);
	free(bytes);
	free(path);
}

static evn_model *open_file(const char *file)
{
	char *path = path_of(file);
	evn_model *m;
	evn_error err = {0};
	if (evn_model_open(&m, path, &err) != EVN_OK)
		fail_msg("%s", err.text);
	free(path);
	return m;
}

#define FIRST "m-00001-of-00003.gguf"
#define SECOND "m-00002-of-00003.gguf"
#define THIRD "m-00003-of-00003.gguf"
static const part good[3] = {
	{FIRST, 0, 3, 4, {"token_embd.weight"}, true},
	{SECOND, 1, 3, 4, {"output.weight", "a"}, false},
	{THIRD, 2, 3, 4, {"b"}, false},
};

static void write_good(void)
{
	for (int i = 0; i < 3; i++)
		write_part(&good[i]);
}

static void assert_first_value(const evn_model *m, const char *tensor, double expected)
{
	float row[DIM];
	evn_error err = {0};
	const evn_tensor *t = evn_model_find(m, tensor);
	assert_non_null(t);
	assert_int_equal(evn_tensor_rows(t, 0, 1, row, &err), EVN_OK);
	assert_true((double)row[0] == expected);
}

static void parts_are_opened_together(void **state)
{
	(void)state;
	write_good();
	evn_model *m = open_file(FIRST);
	const evn_hparams *h;
	evn_error err = {0};
	if (evn_model_require_hparams(m, &h, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(h->vocab, DIM);
	assert_first_value(m, "token_embd.weight", 1);
	assert_first_value(m, "output.weight", 2);
	assert_first_value(m, "b", 3);
	const evn_model_info info = evn_model_get_info(m);
	assert_true(info.part == 1 && info.n_parts == 3 && info.n_tensors == 4 && info.n_params == 4 * DIM * DIM);
	assert_true(info.file_bytes > info.tensor_bytes);
	const evn_tensor_info t = evn_model_tensor(m, 2);
	assert_string_equal(t.name, "a");
	assert_int_equal(t.part, 2);
	evn_model_close(m);
}

static uint64_t key_of(const evn_model *m)
{
	uint64_t key;
	assert_int_equal(evn_model_identity(m, &key, NULL), EVN_OK);
	return key;
}

static void the_key_follows_every_part(void **state)
{
	(void)state;
	write_good();
	evn_model *m = open_file(FIRST);
	const uint64_t before = key_of(m);
	evn_model_close(m);
	part other = good[1];
	other.tensors[1] = "c";
	write_part(&other);
	m = open_file(FIRST);
	assert_true(key_of(m) != before);
	evn_model_close(m);
}

/* Opening `file` is no error, so that it can be looked at; running it is one. */
static void assert_refused(const char *file, const char *says, const char *also)
{
	evn_model *m = open_file(file);
	const evn_hparams *h;
	evn_error err = {0};
	assert_null(evn_model_hparams(m));
	if (evn_model_require_hparams(m, &h, &err) == EVN_OK || !strstr(err.text, says) || !strstr(err.text, also))
		fail_msg("\"%s\" and \"%s\" expected in: %s", says, also, err.text);
	evn_model_close(m);
}

static void a_later_part_tells_the_first(void **state)
{
	(void)state;
	write_good();
	assert_refused(SECOND, "part 2 of 3 of a model, open the first", FIRST);
	evn_model *m = open_file(THIRD);
	const evn_model_info info = evn_model_get_info(m);
	assert_true(info.part == 3 && info.n_parts == 3 && info.n_tensors == 1);
	evn_model_close(m);
}

static void parts_that_do_not_belong_are_named(void **state)
{
	char *second = path_of(SECOND), *away = path_of("away"), *first = path_of(FIRST);
	(void)state;
	write_good();
	assert_int_equal(rename(second, away), 0);
	assert_refused(FIRST, "part 2 of 3: ", SECOND ": No such file");
	part p = good[1];
	p.no = 2;
	write_part(&p);
	assert_refused(FIRST, SECOND, "the file is part 3 of 3, expected part 2 of 3");
	p = good[1];
	p.count = 2;
	write_part(&p);
	assert_refused(FIRST, SECOND, "the file is part 2 of 2, expected part 2 of 3");
	p = good[1];
	p.tensors[1] = NULL;
	write_part(&p);
	assert_refused(FIRST, FIRST, "its 3 parts hold 3 tensors, expected 4");
	p = good[1];
	p.tensors[1] = "b";
	write_part(&p);
	assert_refused(FIRST, "tensor \"b\" is in part ", "and in another one");
	assert_int_equal(rename(first, away), 0);
	assert_refused("away", "part 1 of 3 of a model, and its name does not end with -00001-of-00003.gguf", "away");
	p = good[0];
	p.no = 3;
	write_part(&p);
	assert_refused(FIRST, "\"split.no\" is 3 and \"split.count\" 3", FIRST);
	unlink(away);
	free(second);
	free(first);
	free(away);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		char *path = path_of(good[i].file);
		unlink(path);
		free(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_opened_together),
		cmocka_unit_test(the_key_follows_every_part),
		cmocka_unit_test(a_later_part_tells_the_first),
		cmocka_unit_test(parts_that_do_not_belong_are_named),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
