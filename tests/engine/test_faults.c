/* test_faults.c - each kind of fault, in each moment, on each of three ranks: the work goes on with the results of a
 * run without a fault, or there is an error in one clear line. The table of all cells is printed.
 *   test_faults       some cells
 *   test_faults all   every cell
 *   test_faults KIND MOMENT RANK */
#include "base/base.h"
#include "engine/faults.h"
#include "engine/ways.h"
#include "evener/requests.h"
#include "evener/score.h"
#include "evener/train.h"

#include <math.h>

enum { N_PROMPT = 20, N_TOKENS = 6, CONTEXT = 128, N_RANKS = 3, DEADLINE_S = 5, AT_TOKEN = 3 };
enum { N_WINDOWS = 3, N_REQUESTS = 3, TRAIN_STEPS = 3, TRAIN_CONTEXT = 32 };
#define DEVICES "pocl,pocl,pocl"
#define TOLERANCE 2e-3 /* of a log-probability, as between splits (test_splits) */

static const char *const kinds[] = {"build", "alloc", "launch", "read", "gone", "hang", "flip"};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

typedef enum { NOT_RUN, AS_EVER, RECOVERED, CLEAN_ERROR, UNCHECKED, WRONG } outcome;
static const char *const signs[] = {" ", "-", "R", "E", "u", "!"};

typedef struct {
	size_t kind, moment;
	unsigned long rank;
} cell;

typedef struct {
	const char *name;
	outcome (*run)(const cell *c);
	bool may_fail; /* an error that is clear is enough: there may be no rank to leave out, or work that begins anew */
} moment;
static const char *name_of(const cell *c); /* of its moment */

static bool every_cell;
static char **only; /* the names of a kind and a moment, and a rank; NULL: several cells */
static char folder[] = "/tmp/evener-test-faults-XXXXXX";
static int32_t prompt[N_PROMPT], expected[N_TOKENS];
static double expected_scores[N_WINDOWS][N_PROMPT], expected_losses[TRAIN_STEPS];

static bool is_kind(const cell *c, const char *kind) { return !strcmp(kinds[c->kind], kind); }

static void inject(const cell *c, unsigned long first_queue)
{
	char number[32];
	const char *counter = is_kind(c, "alloc")  ? "fault_buffers"
						  : is_kind(c, "read") ? "fault_reads"
											   : "fault_launches";
	snprintf(number, sizeof number, "%lu", first_queue + c->rank);
	setenv("FAULT_QUEUE", number, 1);
	snprintf(number, sizeof number, "%lu", fault_count(counter) + (c->moment == 0 ? 5 : 11) * c->rank);
	setenv("FAULT_AFTER", number, 1);
	setenv("FAULT_TIMES", "1000000000", 1); /* flips: the whole result of each product, for good */
	setenv("FAULT_FLOATS", "1000000", 1);
	setenv("FAULT_KERNEL", "mat", 1);
	setenv("FAULT", kinds[c->kind], 1);
}

/* What came of it. An error must be one line. */
static outcome judge(const cell *c, evn_status s, const evn_error *err, bool same, size_t n_ranks)
{
	if (s == EVN_OK)
		return !same ? WRONG : n_ranks < N_RANKS ? RECOVERED : AS_EVER;
	print_message("%s, %s, rank %lu: %s: %s\n", kinds[c->kind], name_of(c), c->rank, evn_status_name(s), err->text);
	return err->text[0] && !strchr(err->text, '\n') ? CLEAN_ERROR : WRONG;
}

static engine_setup setup_of(const cell *c)
{
	return (engine_setup){.devices = DEVICES,
						  .context = CONTEXT,
						  .deadline_s = DEADLINE_S,
						  .rebalance = true,
						  .verify_every = c && is_kind(c, "flip") ? 1 : 0};
}

/* ---- a text ------------------------------------------------------------------------------------------------------
 */

/* Before the next step all blocks move to a split with other shares, as rebalance.c does it. */
static void order_move(evn_engine *e)
{
	evn_error err = {0};
	evn_rebalance *r = e->rebalance;
	const double shares[N_RANKS] = {3, 1, 2};
	uint64_t memory[N_RANKS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	if (e->n_ranks != N_RANKS)
		return;
	assert_non_null(r);
	evn_split_free(&r->splits[BEST]);
	require_ok(evn_split_make(&r->splits[BEST], &e->prepared.shape, N_RANKS, shares, NULL, memory, &err));
	r->target = &r->splits[BEST];
	r->next_block = 0;
}

/* The fault comes before token `at`; with `moves`, shares move there. */
static evn_status write_text(evn_engine *e, int32_t *ids, const cell *c, int at, bool moves,
							 unsigned long first_queue, evn_error *err)
{
	evn_session *s;
	evn_status status = evn_session_create(&s, e, err);
	for (int i = 0; status == EVN_OK && i < N_TOKENS; i++) {
		if (moves && i == at)
			order_move(e);
		if (c && i == at)
			inject(c, first_queue);
		status =
			i ? evn_session_eval(s, &ids[i - 1], 1, NULL, err) : evn_session_eval(s, prompt, N_PROMPT, NULL, err);
		if (status == EVN_OK)
			ids[i] = likeliest(evn_session_logits(s), vocab);
	}
	evn_session_free(s);
	return status;
}

static outcome run_text(const cell *c, int at, bool moves)
{
	evn_error err = {0};
	evn_engine *e = NULL;
	int32_t ids[N_TOKENS];
	const unsigned long first_queue = fault_count("fault_queues");
	const engine_setup setup = setup_of(c);
	if (at < 0)
		inject(c, first_queue);
	evn_status s = open_engine(&e, model, &setup, &err);
	if (s == EVN_OK)
		s = write_text(e, ids, c, at, moves, first_queue, &err);
	fail_no_more();
	const outcome o = judge(c, s, &err, !memcmp(ids, expected, sizeof ids), e ? evn_engine_plan(e)->n_ranks : 0);
	evn_engine_close(e);
	return o;
}

static outcome run_load(const cell *c) { return run_text(c, -1, false); }
static outcome run_prompt(const cell *c) { return run_text(c, 0, false); }
static outcome run_decode(const cell *c) { return run_text(c, AT_TOKEN, false); }
static outcome run_move(const cell *c) { return run_text(c, AT_TOKEN, true); }

/* ---- requests of a server ----------------------------------------------------------------------------------------
 */

typedef struct {
	int32_t ids[N_TOKENS];
	size_t n;
} answer;

static bool on_token(void *user, const evn_request_token *t)
{
	answer *a = user;
	assert_true(a->n < N_TOKENS);
	a->ids[a->n++] = t->id;
	return true;
}

/* All requests have the same prompt, and come at different times. */
static evn_status answer_all(evn_scheduler *s, answer *answers, const cell *c, unsigned long first_queue,
							 evn_error *out)
{
	evn_error err = {0};
	evn_request *requests[N_REQUESTS];
	evn_status status = EVN_OK;
	for (size_t i = 0; i < N_REQUESTS; i++) {
		evn_request_options o = {.prompt = prompt,
								 .n_prompt = N_PROMPT,
								 .max_tokens = N_TOKENS,
								 .ignore_end = true,
								 .sampling = evn_sample_defaults(),
								 .events = {.on_token = on_token, .user = &answers[i]}};
		o.sampling.temp = 0;
		if (i == N_REQUESTS - 1)
			inject(c, first_queue);
		require_ok(evn_request_submit(&requests[i], s, &o, &err));
	}
	for (size_t i = 0; i < N_REQUESTS; i++) {
		const evn_request_result r = evn_request_wait(requests[i]);
		if (r.end == EVN_END_FAILED) {
			status = r.error.code;
			*out = r.error;
		}
		evn_request_free(requests[i]);
	}
	return status;
}

static outcome run_serve(const cell *c)
{
	evn_error err = {0};
	evn_engine *e;
	evn_scheduler *s;
	answer answers[N_REQUESTS] = {0};
	const unsigned long first_queue = fault_count("fault_queues");
	const engine_setup setup = setup_of(c);
	require_ok(open_engine(&e, model, &setup, &err));
	require_ok(evn_scheduler_create(&s, e, &(evn_scheduler_options){.max_running = N_REQUESTS}, &err));
	const evn_status status = answer_all(s, answers, c, first_queue, &err);
	fail_no_more();
	bool same = true;
	for (size_t i = 0; i < N_REQUESTS; i++)
		same &= answers[i].n == N_TOKENS && !memcmp(answers[i].ids, expected, sizeof expected);
	const outcome o = judge(c, status, &err, same, evn_engine_plan(e)->n_ranks);
	evn_scheduler_free(s);
	evn_engine_close(e);
	return o;
}

/* ---- scores ------------------------------------------------------------------------------------------------------
 */

static evn_status score(double scores[N_WINDOWS][N_PROMPT], const cell *c, size_t *n_ranks, evn_error *out)
{
	evn_error err = {0};
	const evn_device_rule rules[N_RANKS] = {{.match = "pocl", .share = EVN_SHARE_AUTO},
											{.match = "pocl", .share = EVN_SHARE_AUTO},
											{.match = "pocl", .share = EVN_SHARE_AUTO}};
	const evn_options o = {.devices = rules,
						   .n_devices = N_RANKS,
						   .context = CONTEXT,
						   .activations = EVN_ACTIVATIONS_F32,
						   .verify_every = c && is_kind(c, "flip") ? 1 : 0,
						   .deadline_s = DEADLINE_S};
	evn_scorer *s;
	evn_window windows[N_WINDOWS];
	for (size_t i = 0; i < N_WINDOWS; i++)
		windows[i] = (evn_window){prompt, N_PROMPT, 1, scores[i], false};
	const unsigned long first_queue = fault_count("fault_queues");
	require_ok(evn_scorer_open(&s, model, &o, EVN_SPLIT_TENSOR, N_WINDOWS, &err));
	if (c)
		inject(c, first_queue);
	const evn_status status = evn_scorer_run(s, windows, N_WINDOWS, NULL, NULL, out);
	fail_no_more();
	*n_ranks = evn_scorer_info(s)->n_ranks;
	evn_scorer_close(s);
	return status;
}

static outcome run_score(const cell *c)
{
	evn_error err = {0};
	double scores[N_WINDOWS][N_PROMPT] = {0};
	size_t n_ranks;
	bool same = true;
	const evn_status s = score(scores, c, &n_ranks, &err);
	for (size_t i = 0; i < N_WINDOWS; i++)
		for (size_t k = 0; k < N_PROMPT - 1; k++)
			same &= fabs(scores[i][k] - expected_scores[i][k]) <= TOLERANCE * (1 + fabs(expected_scores[i][k]));
	return judge(c, s, &err, same, n_ranks);
}

/* ---- training ----------------------------------------------------------------------------------------------------
 */

static evn_status train(double losses[TRAIN_STEPS], const cell *c, evn_error *out)
{
	evn_error err = {0};
	char path[64];
	const evn_device_rule rules[N_RANKS] = {{.match = "pocl", .share = EVN_SHARE_AUTO},
											{.match = "pocl", .share = EVN_SHARE_AUTO},
											{.match = "pocl", .share = EVN_SHARE_AUTO}};
	const evn_train_options o = {.spec = {.architecture = "llama",
										  .vocab = 257,
										  .dim = 48,
										  .context = TRAIN_CONTEXT,
										  .n_layers = 2,
										  .n_heads = 6,
										  .n_kv_heads = 3,
										  .ff_dim = 96,
										  .seed = 1},
								 .data_path = EVN_TEST_DATA "/persuasion-20k.txt",
								 .output_path = path,
								 .steps = TRAIN_STEPS,
								 .context = TRAIN_CONTEXT,
								 .batch = 2,
								 .accumulate = 1,
								 .rate = 1e-3,
								 .min_rate = 1e-3,
								 .seed = 1};
	evn_trainer *t;
	snprintf(path, sizeof path, "%s/model.gguf", folder);
	const unsigned long first_queue = fault_count("fault_queues");
	require_ok(evn_trainer_open(
		&t, &o, &(evn_options){.devices = rules, .n_devices = N_RANKS, .deadline_s = DEADLINE_S}, &err));
	evn_status s = EVN_OK;
	for (int i = 0; i < TRAIN_STEPS && s == EVN_OK; i++) {
		evn_train_step step;
		if (c && i == 1)
			inject(c, first_queue);
		s = evn_trainer_step(t, &step, out);
		losses[i] = step.loss;
	}
	fail_no_more();
	evn_trainer_close(t);
	return s;
}

/* Nothing checks the products of training, so wrong bits are not found there. */
static outcome run_train(const cell *c)
{
	evn_error err = {0};
	double losses[TRAIN_STEPS] = {0};
	bool same = true;
	if (is_kind(c, "flip"))
		return UNCHECKED;
	const evn_status s = train(losses, c, &err);
	for (int i = 0; i < TRAIN_STEPS; i++)
		same &= fabs(losses[i] - expected_losses[i]) <= 1e-4 * expected_losses[i];
	return judge(c, s, &err, same, N_RANKS);
}

/* ---- the table ---------------------------------------------------------------------------------------------------
 */

/* Before weights are loaded there is no rank to leave out. Training begins anew at its checkpoint. */
static const moment moments[] = {{"load", run_load, true},      {"prompt", run_prompt, false},
								 {"decode", run_decode, false}, {"move", run_move, false},
								 {"train", run_train, true},    {"score", run_score, false},
								 {"serve", run_serve, false}};
enum { N_MOMENTS = sizeof moments / sizeof *moments };

static const char *name_of(const cell *c) { return moments[c->moment].name; }

/* Without "all": each kind and each moment once. */
static bool is_run(const cell *c)
{
	if (only)
		return is_kind(c, only[0]) && !strcmp(name_of(c), only[1]) && c->rank == strtoul(only[2], NULL, 10);
	return every_cell || (c->moment == c->kind % N_MOMENTS && c->rank == (c->kind + 1) % N_RANKS);
}

static void print_table(outcome table[N_KINDS][N_MOMENTS][N_RANKS])
{
	print_message("R: recovered, E: a clear error, -: no call failed, u: not checked, !: wrong\n%-8s", "");
	for (size_t m = 0; m < N_MOMENTS; m++)
		print_message("%-10s", moments[m].name);
	for (size_t k = 0; k < N_KINDS; k++) {
		print_message("\n%-8s", kinds[k]);
		for (size_t m = 0; m < N_MOMENTS; m++)
			print_message("%s %s %s     ", signs[table[k][m][0]], signs[table[k][m][1]], signs[table[k][m][2]]);
	}
	print_message("\n");
}

static void test_every_cell(void **state)
{
	(void)state;
	outcome table[N_KINDS][N_MOMENTS][N_RANKS] = {0};
	bool wrong = false;
	for (cell c = {0}; c.kind < N_KINDS; c.kind++)
		for (c.moment = 0; c.moment < N_MOMENTS; c.moment++)
			for (c.rank = 0; c.rank < N_RANKS; c.rank++) {
				const outcome o = is_run(&c) ? moments[c.moment].run(&c) : NOT_RUN;
				table[c.kind][c.moment][c.rank] = o;
				const bool strikes_all = is_kind(&c, "build") || is_kind(&c, "alloc");
				wrong |= o == WRONG || (o == CLEAN_ERROR && !moments[c.moment].may_fail && !strikes_all);
			}
	print_table(table);
	assert_false(wrong);
}

static int find_expected(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_engine *e;
	open_model(state);
	evn_random_ids(3, 1000, prompt, N_PROMPT);
	static const char *const devices[] = {"pocl", "pocl,pocl", "pocl,pocl,pocl"}; /* compiles all, too */
	for (size_t i = 0; i < N_RANKS; i++) {
		int32_t ids[N_TOKENS];
		require_ok(open_engine(&e, model, &(engine_setup){.devices = devices[i], .context = CONTEXT}, &err));
		require_ok(write_text(e, ids, NULL, -1, false, 0, &err));
		evn_engine_close(e);
		if (i)
			assert_memory_equal(ids, expected, sizeof ids);
		memcpy(expected, ids, sizeof ids);
	}
	size_t n_ranks;
	assert_non_null(mkdtemp(folder));
	require_ok(score(expected_scores, NULL, &n_ranks, &err));
	require_ok(train(expected_losses, NULL, &err));
	return 0;
}

static int clean_up(void **state)
{
	char path[80];
	close_model(state);
	snprintf(path, sizeof path, "%s/model.gguf.checkpoint", folder);
	unlink(path);
	rmdir(folder);
	return 0;
}

int main(int argc, char **argv)
{
	only = argc == 4 ? argv + 1 : NULL;
	every_cell = argc > 1 && !strcmp(argv[1], "all");
	const int status = faults_begin();
	if (status)
		return status;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_cell)};
	return cmocka_run_group_tests(tests, find_expected, clean_up);
}
