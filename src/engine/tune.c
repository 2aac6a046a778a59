/* tune.c - runs the search for GEMM parameters. Each set is tried in a helper process, which may crash or hang. Then
 * the search continues with the next set. */
#include "engine/tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/child.h"
#include "evener/tune.h"
#include "nn/graph.h"

#define PROMPT_TOKENS 512u
#define MAX_SHAPES 8u      /* of the first layer's matrices */
#define GENERAL_SIDE 1024u /* rows and columns without a model */
#define TRIAL_S 30.0       /* some drivers need ten seconds to build CLBlast's kernels */
#define SHORTEST_S 0.5     /* no trial starts with less time left */
#define WORTH 1.02         /* times as fast as before; less may be chance */

typedef struct {
	const evn_tune_options *o;
	const evn_system *system;
	size_t device;
	const char *helper;
	char shapes[MAX_SHAPES][56];
	uint32_t n_shapes;
	uint64_t began_ns;
	bool stopped;
	uint32_t n_trials, n_failed;
} tuning;

/* ---- one trial --------------------------------------------------------------------------------------------------
 */

static double seconds_since(uint64_t ns) { return 1e-9 * (double)(evn_now_ns() - ns); }

static bool go_on(void *user)
{
	tuning *t = user;
	const evn_device_info *info = evn_system_info(t->system, t->device);
	char what[160];
	snprintf(what, sizeof what, "tuning %s %s", info->id, info->name);
	double spent = seconds_since(t->began_ns), budget = t->o->budget_s;
	if (t->o->progress && !t->o->progress(t->o->user, what, (uint64_t)(1e3 * (spent < budget ? spent : budget)),
										  (uint64_t)(1e3 * budget) + 1))
		t->stopped = true;
	return !t->stopped;
}

/* Reads the answer of the helper, or how it ended. */
static void judge(const evn_child *c, double limit_s, double *gflops, char *problem, size_t size)
{
	const char *fault = c->output ? strstr(c->output, "fault\t") : NULL;
	*problem = '\0';
	if (c->timed_out)
		snprintf(problem, size, "took more than %.3g s", limit_s);
	else if (WIFSIGNALED(c->status))
		snprintf(problem, size, "the driver crashed (%s)", strsignal(WTERMSIG(c->status)));
	else if (fault)
		snprintf(problem, size, "%.*s", (int)strcspn(fault + 6, "\n"), fault + 6);
	else if (!c->output || sscanf(c->output, "gflops\t%lf", gflops) != 1 || !(*gflops > 0))
		snprintf(problem, size, "ended without a result");
	if (*problem)
		*gflops = 0;
}

/* *gflops is 0 if the set does not work. Only a failure that is not the fault of the set is an error. */
static evn_status try_set(tuning *t, const evn_gemm_params *p, double *gflops, evn_error *err)
{
	char text[EVN_GEMM_TEXT] = "-", problem[256];
	const char *id = evn_system_info(t->system, t->device)->id;
	evn_child c = {.argv = {t->helper, "gemm", id, text}};
	double limit_s = t->o->trial_s > 0 ? t->o->trial_s : TRIAL_S;
	if (p)
		evn_gemm_params_text(p, text);
	for (uint32_t i = 0; i < t->n_shapes; i++)
		c.argv[4 + i] = t->shapes[i];
	evn_children_run(&c, 1, (uint64_t)(1e9 * limit_s), &(evn_patience){go_on, t});
	if (t->stopped || !c.started) {
		free(c.output);
		return t->stopped ? evn_fail(err, EVN_ERR_CANCELLED, "tuning was stopped")
						  : evn_fail(err, EVN_ERR_FILE, "%s: could not be started", t->helper);
	}
	*gflops = 0;
	judge(&c, limit_s, gflops, problem, sizeof problem);
	free(c.output);
	t->n_trials++;
	t->n_failed += *problem != '\0';
	evn_log(EVN_LOG_INFO, "%s: %s: %.1f GFLOP/s%s%s", id, p ? text : "CLBlast's own", *gflops, *problem ? ", " : "",
			problem);
	if (t->o->trial)
		t->o->trial(t->o->user, &(evn_tune_trial){.device = id,
												  .parameters = p ? text : NULL,
												  .gflops = *gflops,
												  .problem = *problem ? problem : NULL});
	return EVN_OK;
}

/* ---- one device -------------------------------------------------------------------------------------------------
 */

static evn_status search(tuning *t, evn_tune_search *s, evn_error *err)
{
	evn_gemm_params p;
	while (t->o->budget_s - seconds_since(t->began_ns) > SHORTEST_S && evn_tune_search_next(s, &p)) {
		double gflops;
		EVN_TRY(try_set(t, &p, &gflops, err));
		evn_tune_search_record(s, &p, gflops);
	}
	return EVN_OK;
}

/* Measures both sets again, one right after the other, because the speed of the machine may have changed. */
static evn_status confirm(tuning *t, const evn_gemm_params *before, const evn_gemm_params *best,
						  evn_tune_result *result, evn_error *err)
{
	EVN_TRY(try_set(t, before, &result->before_gflops, err));
	EVN_TRY(try_set(t, best, &result->gflops, err));
	result->kept = result->gflops > WORTH * result->before_gflops;
	return result->kept ? evn_gemm_params_keep(t->system, t->device, best, err) : EVN_OK;
}

static evn_status tune_device(tuning *t, evn_tune_search *s, evn_error *err)
{
	const evn_device_info *info = evn_system_info(t->system, t->device);
	evn_gemm_params known;
	bool has_set = evn_gemm_params_of(t->system, t->device, &known);
	const evn_gemm_params *before = has_set ? &known : NULL;
	evn_tune_result result = {.device = info->id, .name = info->name};
	t->began_ns = evn_now_ns();
	t->n_trials = t->n_failed = 0;
	evn_tune_search_begin(s, !strcmp(info->type, "cpu"));
	EVN_TRY(try_set(t, before, &result.before_gflops, err));
	result.gflops = result.before_gflops;
	if (before)
		evn_tune_search_record(s, before, result.before_gflops);
	EVN_TRY(search(t, s, err));
	const evn_gemm_params *best = s->n ? &s->tried[s->best].params : before;
	if (s->n && s->tried[s->best].gflops > result.before_gflops)
		EVN_TRY(confirm(t, before, best, &result, err));
	char text[EVN_GEMM_TEXT];
	const evn_gemm_params *used = result.kept ? best : before;
	if (used)
		evn_gemm_params_text(used, text);
	result.parameters = used ? text : NULL;
	if (!result.kept)
		result.gflops = result.before_gflops;
	result.n_trials = t->n_trials;
	result.n_failed = t->n_failed;
	if (t->o->result)
		t->o->result(t->o->user, &result);
	return EVN_OK;
}

/* ---- the search over all devices ------------------------------------------------------------------------------- */

static void add_shape(tuning *t, uint64_t rows, uint64_t columns)
{
	snprintf(t->shapes[t->n_shapes++], sizeof t->shapes[0], "%ux%llux%llu", PROMPT_TOKENS, (unsigned long long)rows,
			 (unsigned long long)columns);
}

static evn_status add_block_shapes(tuning *t, const evn_graph *g, const evn_block *b, evn_error *err)
{
	const evn_tensor *tensor;
	uint64_t rows = 0, columns = 0;
	for (uint32_t i = 0; i < b->in.n; i++) {
		EVN_TRY(evn_block_tensor(g, b, b->in.stems[i], &tensor, err));
		rows += tensor->shape[1];
		columns = tensor->shape[0];
	}
	add_shape(t, evn_round_up(rows, EVN_PAD), evn_round_up(columns, EVN_PAD));
	EVN_TRY(evn_block_tensor(g, b, b->out, &tensor, err));
	add_shape(t, evn_round_up(tensor->shape[1], EVN_PAD), evn_round_up(tensor->shape[0], EVN_PAD));
	return EVN_OK;
}

/* The matrices of the first layer as prompts multiply them. */
static evn_status find_shapes(tuning *t, const evn_model *m, evn_error *err)
{
	evn_graph *g = NULL;
	evn_status s = EVN_OK;
	if (m)
		EVN_TRY(evn_graph_make(&g, m, err));
	if (!g || !g->n_blocks)
		add_shape(t, GENERAL_SIDE, GENERAL_SIDE);
	for (uint32_t i = 0;
		 g && i < g->n_blocks && g->blocks[i].layer == 0 && t->n_shapes + 2 <= MAX_SHAPES && s == EVN_OK; i++)
		s = add_block_shapes(t, g, &g->blocks[i], err);
	evn_graph_free(g);
	return s;
}

/* The devices of the list, each once and as a whole. */
static evn_status select_devices(const tuning *t, size_t *out, size_t *n, evn_error *err)
{
	static const evn_device_rule all = {.match = "all"};
	const evn_device_rule *rules = t->o->n_devices ? t->o->devices : &all;
	for (size_t r = 0; r < (t->o->n_devices ? t->o->n_devices : 1); r++) {
		evn_pick picks[EVN_MAX_RANKS];
		size_t n_picks = 0;
		EVN_TRY(evn_system_select(t->system, rules[r].match, r, picks, &n_picks, EVN_MAX_RANKS, err));
		for (size_t i = 0; i < n_picks; i++) {
			bool known = false;
			for (size_t k = 0; k < *n; k++)
				known |= out[k] == picks[i].device;
			if (!known && *n < EVN_MAX_RANKS)
				out[(*n)++] = picks[i].device;
		}
	}
	return EVN_OK;
}

static evn_status tune_all(tuning *t, evn_error *err)
{
	size_t devices[EVN_MAX_RANKS], n = 0;
	evn_tune_search *s = calloc(1, sizeof *s);
	evn_status status = s ? EVN_OK : evn_fail_memory(err, "tuning", sizeof *s);
	if (status == EVN_OK)
		status = select_devices(t, devices, &n, err);
	for (size_t i = 0; i < n && status == EVN_OK; i++) {
		t->device = devices[i];
		status = tune_device(t, s, err);
	}
	free(s);
	return status;
}

evn_status evn_tune(const evn_model *m, const evn_tune_options *o, evn_error *err)
{
	tuning t = {.o = o};
	evn_system *system = NULL;
	char *helper = evn_find_probe();
	if (!helper)
		return evn_fail(err, EVN_ERR_FILE, "evener-probe, which tries parameters, is not installed beside evener");
	evn_status status = find_shapes(&t, m, err);
	if (status == EVN_OK)
		status = evn_system_open(&system, err);
	t.system = system;
	t.helper = helper;
	if (status == EVN_OK)
		status = tune_all(&t, err);
	evn_system_close(system);
	free(helper);
	return status;
}
