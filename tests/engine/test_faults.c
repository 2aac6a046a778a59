/* test_faults.c - each kind of fault, in each moment, on each of three ranks: the text goes on with the ids of a run
 * without a fault, or there is an error that names a device. The table of all cells is printed.
 *   test_faults       some cells
 *   test_faults all   every cell */
#include "base/base.h"
#include "engine/faults.h"

enum { N_PROMPT = 20, N_TOKENS = 6, CONTEXT = 128, N_RANKS = 3, DEADLINE_S = 5 };

static const char *const kinds[] = {"build", "alloc", "launch", "read", "gone", "hang"};
static const char *const moments[] = {"load", "prompt", "decode"};
enum {
	N_KINDS = sizeof kinds / sizeof *kinds,
	N_MOMENTS = sizeof moments / sizeof *moments,
	LOAD = 0,
	PREFILL,
	DECODE
};

typedef enum { NOT_RUN, AS_EVER, RECOVERED, CLEAN_ERROR, WRONG } outcome;
static const char *const signs[] = {" ", "-", "R", "E", "!"};

typedef struct {
	size_t kind, moment;
	unsigned long rank;
} cell;

static bool every_cell;
static evn_model *model;
static const char *model_file;
static int32_t prompt[N_PROMPT], expected[N_TOKENS];

static void inject(const cell *c, unsigned long first_queue)
{
	char number[32];
	const char *kind = kinds[c->kind];
	const char *counter = !strcmp(kind, "alloc")  ? "fault_buffers"
						  : !strcmp(kind, "read") ? "fault_reads"
												  : "fault_launches";
	snprintf(number, sizeof number, "%lu", first_queue + c->rank);
	setenv("FAULT_QUEUE", number, 1);
	snprintf(number, sizeof number, "%lu", fault_count(counter) + (c->moment == LOAD ? 5 : 11) * c->rank);
	setenv("FAULT_AFTER", number, 1);
	setenv("FAULT", kind, 1);
}

static int32_t likeliest(const float *logits)
{
	int32_t best = 0;
	for (uint32_t i = 1; i < evn_model_get_info(model).vocab; i++)
		best = logits[i] > logits[best] ? (int32_t)i : best;
	return best;
}

/* An error of a device names it, or its driver's call, in one line. */
static outcome judge_error(const cell *c, evn_status s, const evn_error *err)
{
	const bool clean = err->text[0] && !strchr(err->text, '\n');
	print_message("%s, %s, rank %lu: %s: %s\n", kinds[c->kind], moments[c->moment], c->rank, evn_status_name(s),
				  err->text);
	return clean ? CLEAN_ERROR : WRONG;
}

static evn_status write_text(evn_engine *e, int32_t *ids, const cell *c, unsigned long first_queue, evn_error *err)
{
	evn_session *s;
	evn_status status = evn_session_create(&s, e, err);
	for (int i = 0; status == EVN_OK && i < N_TOKENS; i++) {
		if (c && i == (c->moment == PREFILL ? 0 : 3) && c->moment != LOAD)
			inject(c, first_queue);
		status =
			i ? evn_session_eval(s, &ids[i - 1], 1, NULL, err) : evn_session_eval(s, prompt, N_PROMPT, NULL, err);
		if (status == EVN_OK)
			ids[i] = likeliest(evn_session_logits(s));
	}
	evn_session_free(s);
	return status;
}

static outcome run(const cell *c)
{
	evn_error err = {0};
	evn_engine *e = NULL;
	int32_t ids[N_TOKENS];
	const unsigned long first_queue = fault_count("fault_queues");
	if (c->moment == LOAD)
		inject(c, first_queue);
	const engine_setup setup = {.devices = "pocl,pocl,pocl", .context = CONTEXT, .deadline_s = DEADLINE_S};
	evn_status s = open_engine(&e, model, &setup, &err);
	if (s == EVN_OK)
		s = write_text(e, ids, c, first_queue, &err);
	fail_no_more();
	outcome o = s != EVN_OK                             ? judge_error(c, s, &err)
				: memcmp(ids, expected, sizeof ids)     ? WRONG
				: evn_engine_plan(e)->n_ranks < N_RANKS ? RECOVERED
														: AS_EVER;
	evn_engine_close(e);
	return o;
}

/* Without "all": each kind once, each moment and rank several times. */
static bool is_run(const cell *c)
{
	return every_cell || (c->moment == c->kind % N_MOMENTS && c->rank == (c->kind + 1) % N_RANKS);
}

static void test_every_cell(void **state)
{
	(void)state;
	outcome table[N_KINDS][N_MOMENTS][N_RANKS] = {0};
	bool wrong = false;
	for (cell c = {0}; c.kind < N_KINDS; c.kind++)
		for (c.moment = 0; c.moment < N_MOMENTS; c.moment++)
			for (c.rank = 0; c.rank < N_RANKS; c.rank++) {
				const outcome o = is_run(&c) ? run(&c) : NOT_RUN;
				table[c.kind][c.moment][c.rank] = o;
				/* build strikes every rank; before weights are loaded there is no rank to leave out */
				const bool may_fail = c.moment == LOAD || !strcmp(kinds[c.kind], "build");
				wrong |= o == WRONG || (o == CLEAN_ERROR && !may_fail);
			}
	print_message("R: recovered, E: a clear error, -: no call failed, !: wrong\n%-8s", "");
	for (size_t m = 0; m < N_MOMENTS; m++)
		print_message("%-10s", moments[m]);
	for (size_t k = 0; k < N_KINDS; k++) {
		print_message("\n%-8s", kinds[k]);
		for (size_t m = 0; m < N_MOMENTS; m++)
			print_message("%s %s %s     ", signs[table[k][m][0]], signs[table[k][m][1]], signs[table[k][m][2]]);
	}
	print_message("\n");
	assert_false(wrong);
}

static int find_expected(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_engine *e;
	require_ok(evn_model_open(&model, model_file, &err));
	evn_random_ids(3, 1000, prompt, N_PROMPT);
	static const char *const devices[] = {"pocl", "pocl,pocl", "pocl,pocl,pocl"}; /* compiles all, too */
	for (size_t i = 0; i < N_RANKS; i++) {
		int32_t ids[N_TOKENS];
		require_ok(open_engine(&e, model, &(engine_setup){.devices = devices[i], .context = CONTEXT}, &err));
		require_ok(write_text(e, ids, NULL, 0, &err));
		evn_engine_close(e);
		if (i)
			assert_memory_equal(ids, expected, sizeof ids);
		memcpy(expected, ids, sizeof ids);
	}
	return 0;
}

static int close_model(void **state)
{
	(void)state;
	evn_model_close(model);
	return 0;
}

int main(int argc, char **argv)
{
	model_file = getenv("EVENER_TEST_MODEL");
	every_cell = argc > 1 && !strcmp(argv[1], "all");
	setenv("OPENCL_LAYERS", FAULT_LAYER, 1);
	if (!file_exists(model_file))
		return missing("EVENER_TEST_MODEL");
	if (!driver_exists("pocl"))
		return missing("PoCL is not installed");
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_cell)};
	return cmocka_run_group_tests(tests, find_expected, close_model);
}
