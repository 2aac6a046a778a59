/* test_files.c - model files under an engine. A model in parts gives the same as the whole. If another program cuts
 * or changes a file that is in use, there is an error that names it, never a signal or other text. */
#include "engine/harness.h"

#include <fcntl.h>

#include "evener/train.h"
#include "model/gguf_write.h"
#include "model/model.h"

#define VOCAB 260

static char folder[] = "/tmp/evener-files-XXXXXX", whole[64], parts[2][64];
static const engine_setup one = {.devices = "pocl", .context = 32};

static void write_whole(void)
{
	const evn_model_spec spec = {.architecture = "llama",
								 .vocab = VOCAB,
								 .dim = 48,
								 .context = 64,
								 .n_layers = 2,
								 .n_heads = 6,
								 .n_kv_heads = 2,
								 .seed = 5};
	evn_error err = {0};
	evn_model *m;
	require_ok(evn_model_create(&m, &spec, &err));
	require_ok(evn_model_save(m, whole, &err));
	evn_model_close(m);
}

/* Writes every second tensor of the whole to each part. */
static void write_part(uint32_t no)
{
	evn_error err = {0};
	evn_gguf *g;
	evn_gguf_writer *w;
	uint8_t *file;
	size_t size;
	require_ok(evn_gguf_open(&g, whole, &err));
	require_ok(evn_gguf_writer_create(&w, &err));
	for (uint32_t i = 0; i < evn_gguf_n_values(g) && no == 0; i++)
		evn_gguf_put_value(w, evn_gguf_value_at(g, i));
	evn_gguf_put_u32(w, "split.no", no);
	evn_gguf_put_u32(w, "split.count", 2);
	evn_gguf_put_u32(w, "split.tensors.count", evn_gguf_n_tensors(g));
	for (uint32_t i = no; i < evn_gguf_n_tensors(g); i += 2) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[80];
		const uint8_t *blocks;
		uint8_t *scratch = malloc(t->size_bytes);
		assert_non_null(scratch);
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		require_ok(evn_tensor_bytes(t, 0, t->size_bytes, scratch, &blocks, &err));
		evn_gguf_put_tensor(w, name, t->quant, t->n_dims, t->shape, blocks);
		free(scratch);
	}
	require_ok(evn_gguf_finish(w, &file, &size, &err));
	require_ok(evn_write_file(parts[no], file, size, &err));
	free(file);
	evn_gguf_writer_free(w);
	evn_gguf_free(g);
}

static void logits_of(const char *path, float *out)
{
	evn_error err = {0};
	running r = start(path, &one);
	require_ok(evn_session_eval(r.session, (int32_t[]){1, 2, 3, 200}, 4, NULL, &err));
	memcpy(out, evn_session_logits(r.session), VOCAB * sizeof *out);
	stop(&r);
}

static void parts_give_what_the_whole_gives(void **state)
{
	float a[VOCAB], b[VOCAB];
	(void)state;
	write_whole();
	write_part(0);
	write_part(1);
	logits_of(whole, a);
	logits_of(parts[0], b);
	assert_memory_equal(a, b, sizeof a);
}

static void cut_to_nothing(void) { assert_int_equal(truncate(whole, 0), 0); }

static void cut_to_half(void)
{
	struct stat st;
	assert_int_equal(stat(whole, &st), 0);
	assert_int_equal(truncate(whole, st.st_size / 2), 0);
}

static void write_zeros(void)
{
	FILE *f = fopen(whole, "r+b");
	struct stat st;
	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	for (off_t i = 0; i < st.st_size; i++)
		assert_int_equal(fputc(0, f), 0);
	assert_int_equal(fclose(f), 0);
}

static void (*const changes[])(void) = {cut_to_nothing, cut_to_half, write_zeros};
#define N_CHANGES (sizeof changes / sizeof *changes)

/* Within the clock's resolution, two successive writes can have the same time. */
static void write_old_whole(void)
{
	static const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
	write_whole();
	assert_int_equal(utimensat(AT_FDCWD, whole, times, 0), 0);
}

static void assert_names_the_file(evn_status s, const evn_error *err)
{
	if (s != EVN_ERR_FILE || !strstr(err->text, whole))
		fail_msg("%s: %s", evn_status_name(s), err->text);
}

static void a_file_that_changes_while_it_is_used_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CHANGES; i++) {
		evn_error err = {0};
		write_old_whole();
		running r = start(whole, &one);
		require_ok(evn_session_eval(r.session, (int32_t[]){1, 2}, 2, NULL, &err));
		changes[i]();
		assert_names_the_file(evn_session_eval(r.session, (int32_t[]){3}, 1, NULL, &err), &err);
		stop(&r);
	}
}

static void a_file_that_changes_before_it_is_loaded_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CHANGES; i++) {
		evn_error err = {0};
		evn_model *m;
		evn_engine *e;
		write_old_whole();
		require_ok(evn_model_open(&m, whole, &err));
		changes[i]();
		assert_names_the_file(open_engine(&e, m, &one, &err), &err);
		evn_model_close(m);
	}
}

static void a_file_that_is_removed_or_replaced_stays_the_same(void **state)
{
	float a[VOCAB], b[VOCAB];
	(void)state;
	write_whole();
	logits_of(whole, a);
	for (int replaced = 0; replaced < 2; replaced++) {
		evn_error err = {0};
		evn_model *m;
		running r = {0};
		write_whole();
		require_ok(evn_model_open(&m, whole, &err));
		assert_true(replaced ? evn_write_file(whole, "other", 5, &err) == EVN_OK : unlink(whole) == 0);
		r.model = m;
		require_ok(open_engine(&r.engine, m, &one, &err));
		require_ok(evn_session_create(&r.session, r.engine, &err));
		require_ok(evn_session_eval(r.session, (int32_t[]){1, 2, 3, 200}, 4, NULL, &err));
		memcpy(b, evn_session_logits(r.session), sizeof b);
		assert_memory_equal(a, b, sizeof a);
		stop(&r);
	}
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(whole, sizeof whole, "%s/whole.gguf", folder);
	for (int i = 0; i < 2; i++)
		snprintf(parts[i], sizeof parts[i], "%s/m-%05d-of-00002.gguf", folder, i + 1);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(whole);
	unlink(parts[0]);
	unlink(parts[1]);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_give_what_the_whole_gives),
		cmocka_unit_test(a_file_that_changes_while_it_is_used_is_named),
		cmocka_unit_test(a_file_that_changes_before_it_is_loaded_is_named),
		cmocka_unit_test(a_file_that_is_removed_or_replaced_stays_the_same),
	};
	if (!driver_exists("pocl"))
		return missing("pocl");
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
