/* test_score.c - scores of a small made model: compared with log-softmax in f64 of a session's logits; the same for
 * every split; finished windows are left alone; a stopped run continues from a file. */
#include "base/base.h"
#include "engine/harness.h"
#include "evener/score.h"
#include "evener/train.h"

#include <math.h>

enum { VOCAB = 300, LENGTH = 40, N = 7, FIRST = 5, SCORED = LENGTH - FIRST };

static evn_model *model;
static int32_t ids[N * LENGTH];
static double want[N][SCORED];
static evn_kv_cache kv_cache;

typedef struct {
	evn_window windows[N];
	double log_p[N][SCORED];
} piece_set;

/* The last window is shorter than the others. */
static void cut(piece_set *p)
{
	*p = (piece_set){0};
	for (size_t i = 0; i < N; i++)
		p->windows[i] = (evn_window){ids + i * LENGTH, i + 1 < N ? LENGTH : LENGTH / 2, FIRST, p->log_p[i], false};
}

static evn_status open_scorer(evn_scorer **out, const char *item, const double *shares, evn_split_mode split,
							  evn_error *err)
{
	const evn_device_rule rules[2] = {{.match = item, .share = EVN_SHARE_AUTO},
									  {.match = item, .share = EVN_SHARE_AUTO}};
	const evn_options o = {.devices = rules,
						   .n_devices = 2,
						   .shares = shares,
						   .n_shares = shares ? 2 : 0,
						   .context = LENGTH,
						   .batch = 16,
						   .kv_cache = kv_cache};
	return evn_scorer_open(out, model, &o, split, N, err);
}

static int make_wanted(void **state)
{
	(void)state;
	const evn_model_spec spec = {.architecture = "llama",
								 .vocab = VOCAB,
								 .dim = 64,
								 .context = 64,
								 .n_layers = 2,
								 .n_heads = 4,
								 .n_kv_heads = 2,
								 .ff_dim = 96,
								 .seed = 3};
	evn_error err = {0};
	evn_engine *e = NULL;
	evn_session *s = NULL;
	float *logits = malloc(LENGTH * VOCAB * sizeof *logits);
	require_ok(evn_model_create(&model, &spec, &err));
	require_ok(open_engine(&e, model, &(engine_setup){.devices = "pocl", .context = LENGTH}, &err));
	require_ok(evn_session_create(&s, e, &err));
	evn_random_ids(1, 256, ids, N * LENGTH);
	for (size_t i = 0; i < N; i++) {
		require_ok(evn_session_rewind(s, 0, &err));
		require_ok(evn_session_eval(s, ids + i * LENGTH, LENGTH, logits, &err));
		for (int t = FIRST; t < LENGTH; t++) {
			const float *row = logits + (t - 1) * VOCAB;
			double sum = 0;
			for (int v = 0; v < VOCAB; v++)
				sum += exp((double)row[v]);
			want[i][t - FIRST] = (double)row[ids[i * LENGTH + (size_t)t]] - log(sum);
		}
	}
	evn_session_free(s);
	evn_engine_close(e);
	free(logits);
	return 0;
}

static int free_model(void **state)
{
	(void)state;
	evn_model_close(model);
	return 0;
}

static void assert_wanted(const piece_set *p)
{
	for (size_t i = 0; i < N; i++) {
		assert_true(p->windows[i].done);
		for (uint32_t k = 0; k < p->windows[i].n_ids - FIRST; k++)
			if (!(fabs(p->log_p[i][k] - want[i][k]) < 1e-4))
				fail_msg("window %zu, token %u: %g, expected %g", i, k, p->log_p[i][k], want[i][k]);
	}
}

static void every_split_has_the_same_scores(void **state)
{
	(void)state;
	const double three_to_one[] = {3, 1};
	evn_error err = {0};
	for (int i = 0; i < 4; i++) {
		evn_scorer *s = NULL;
		piece_set p;
		cut(&p);
		const evn_split_mode split = i < 1 ? EVN_SPLIT_TENSOR : i < 3 ? EVN_SPLIT_SEQUENCE : EVN_SPLIT_AUTO;
		require_ok(open_scorer(&s, "pocl", i == 2 ? three_to_one : NULL, split, &err));
		require_ok(evn_scorer_run(s, p.windows, N, NULL, NULL, &err));
		assert_wanted(&p);
		const evn_score_info *info = evn_scorer_info(s);
		assert_int_equal(info->n_ranks, 2);
		assert_true(info->split == split || (split == EVN_SPLIT_AUTO && info->split != EVN_SPLIT_AUTO));
		assert_true(fabs(info->ranks[0].share + info->ranks[1].share - 1) < 1e-9);
		if (info->split == EVN_SPLIT_SEQUENCE)
			assert_int_equal(info->ranks[0].windows + info->ranks[1].windows, N);
		if (i == 2)
			assert_int_equal(info->ranks[0].windows, 5); /* of 7, in the ratio of 3 to 1 */
		evn_scorer_close(s);
	}
}

static bool stop_after_two(void *user, const char *what, uint64_t done, uint64_t total)
{
	const piece_set *p = user;
	size_t n = 0;
	(void)what;
	assert_true(done <= total);
	for (size_t i = 0; i < N; i++)
		n += p->windows[i].done;
	return n < 2;
}

static void what_was_stopped_goes_on_from_a_file(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_scorer *s = NULL;
	piece_set p, again;
	cut(&p);
	cut(&again);
	require_ok(open_scorer(&s, "pocl", NULL, EVN_SPLIT_SEQUENCE, &err));
	p.windows[3].done = true; /* marked as done: it must not be scored */
	p.log_p[3][0] = 77;
	evn_status status = evn_scorer_run(s, p.windows, N, stop_after_two, &p, &err);
	/* EVN_OK if all windows were done before it was stopped */
	assert_true(status == EVN_ERR_CANCELLED || status == EVN_OK);
	assert_true(p.log_p[3][0] == 77);
	char *path = evn_scorer_state_path(s, p.windows, N);
	assert_non_null(path);
	require_ok(evn_windows_save(path, p.windows, N, &err));
	size_t n = evn_windows_load(path, again.windows, N);
	for (size_t i = 0; i < N; i++) {
		n -= p.windows[i].done;
		assert_int_equal(again.windows[i].done, p.windows[i].done);
		if (p.windows[i].done)
			assert_memory_equal(again.log_p[i], p.log_p[i], (p.windows[i].n_ids - FIRST) * sizeof(double));
	}
	assert_int_equal(n, 0);
	again.windows[3].done = false;
	require_ok(evn_scorer_run(s, again.windows, N, NULL, NULL, &err));
	assert_wanted(&again);
	assert_int_equal(evn_windows_load(path, again.windows, N - 1), 0); /* the file belongs to other windows */
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(evn_windows_load(path, p.windows, N), 0);
	assert_int_equal(remove(path), 0);
	assert_int_equal(evn_windows_load(path, p.windows, N), 0);
	ids[0] ^= 1;
	char *other = evn_scorer_state_path(s, p.windows, N);
	ids[0] ^= 1;
	assert_string_not_equal(path, other);
	free(other);
	evn_scorer_close(s);
	kv_cache = EVN_KV_F16;
	require_ok(open_scorer(&s, "pocl", NULL, EVN_SPLIT_SEQUENCE, &err));
	kv_cache = EVN_KV_F32;
	other = evn_scorer_state_path(s, p.windows, N);
	assert_string_not_equal(path, other);
	free(other);
	free(path);
	evn_scorer_close(s);
}

static void what_cannot_be_scored_is_refused(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_scorer *s = NULL;
	piece_set p;
	cut(&p);
	require_ok(open_scorer(&s, "pocl", NULL, EVN_SPLIT_TENSOR, &err));
	p.windows[2].first = LENGTH;
	assert_int_equal(evn_scorer_run(s, p.windows, N, NULL, NULL, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "window 2"));
	int32_t bad[LENGTH] = {VOCAB};
	p.windows[2] = (evn_window){bad, LENGTH, FIRST, p.log_p[2], false};
	assert_int_equal(evn_scorer_run(s, p.windows, N, NULL, NULL, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "token id 300"));
	require_ok(evn_scorer_run(s, p.windows, 2, NULL, NULL, &err)); /* the scorer can be used again */
	evn_scorer_close(s);
}

int main(void)
{
	if (!driver_exists("pocl"))
		return missing("no PoCL device");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_has_the_same_scores),
		cmocka_unit_test(what_was_stopped_goes_on_from_a_file),
		cmocka_unit_test(what_cannot_be_scored_is_refused),
	};
	return cmocka_run_group_tests(tests, make_wanted, free_model);
}
