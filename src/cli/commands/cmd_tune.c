/* cmd_tune.c - evener tune: shows the search for GEMM parameters while it runs, and its result. */
#include "cli/cli.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "evener/tune.h"

#include <stdio.h>
#include <string.h>

/* A result that owns its strings. */
typedef struct {
	evn_tune_result r;
	char device[64], name[256], parameters[512];
} outcome;

typedef struct {
	char device[64]; /* the device whose trials are counted now */
	double best;
	size_t n;
	outcome outcomes[EVN_MAX_RANKS];
} tuning;

static void note_trial(void *user, const evn_tune_trial *t)
{
	tuning *u = user;
	if (strcmp(u->device, t->device) != 0) {
		snprintf(u->device, sizeof u->device, "%s", t->device);
		u->best = 0;
	}
	if (t->gflops > u->best)
		u->best = t->gflops;
	console_progress_note("best %.1f GFLOP/s", u->best);
}

static void keep_result(void *user, const evn_tune_result *r)
{
	tuning *u = user;
	outcome *o = &u->outcomes[u->n++];
	o->r = *r;
	snprintf(o->device, sizeof o->device, "%s", r->device);
	snprintf(o->name, sizeof o->name, "%s", r->name);
	snprintf(o->parameters, sizeof o->parameters, "%s", r->parameters ? r->parameters : "");
	console_progress_end();
}

static evn_status print_tuning_json(const tuning *u, evn_error *err)
{
	json_t *devices = json_array();
	for (size_t i = 0; i < u->n; i++) {
		const outcome *o = &u->outcomes[i];
		json_push(&devices,
				  json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:I, s:I}", "device", json_text(o->device), "name",
							json_text(o->name), "parameters", json_text(o->r.parameters ? o->parameters : NULL),
							"gflops", json_number(o->r.gflops), "before_gflops", json_number(o->r.before_gflops),
							"kept", o->r.kept, "tried", (json_int_t)o->r.n_trials, "failed",
							(json_int_t)o->r.n_failed));
	}
	return json_print(json_pack("{s:o}", "devices", devices), err);
}

static evn_status print_tuning_table(const tuning *u, evn_error *err)
{
	static const char *const heads[] = {"id", "before", "GFLOP/s", "parameters", "tried", "failed", "name"};
	table t = table_start("lrrlrrl");
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < u->n; i++) {
		const outcome *o = &u->outcomes[i];
		table_cell(&t, "%s", o->device);
		table_cell(&t, "%.1f", o->r.before_gflops);
		table_cell(&t, "%.1f", o->r.gflops);
		table_cell(&t, "%s", o->r.kept ? "new" : o->r.gflops > 0 ? "as before" : "none works");
		table_cell(&t, "%u", o->r.n_trials);
		table_cell(&t, "%u", o->r.n_failed);
		table_cell(&t, "%s", o->name);
	}
	evn_status status = table_print(&t, err);
	puts("");
	for (size_t i = 0; i < u->n; i++)
		printf("%s  %s\n", u->outcomes[i].device,
			   u->outcomes[i].r.parameters ? u->outcomes[i].parameters : "CLBlast's own parameters");
	return status;
}

evn_status cmd_tune(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	evn_model *m = NULL;
	tuning u = {0};
	evn_tune_options o = {.devices = s->n_rules ? s->rules : NULL,
						  .n_devices = s->n_rules,
						  .budget_s = s->budget_s,
						  .progress = console_progress,
						  .trial = note_trial,
						  .result = keep_result,
						  .user = &u};
	evn_status status = s->model_path || s->architecture ? settings_open_model(s, &m, err) : EVN_OK;
	if (status == EVN_OK)
		status = evn_tune(m, &o, err);
	if (status == EVN_OK)
		status = s->json ? print_tuning_json(&u, err) : print_tuning_table(&u, err);
	evn_model_close(m);
	return status;
}
