/* cmd_run.c - evener run: generates text. As in llama.cpp an end-of-generation token ends the text and is part
 * neither of its ids nor of its text. With --ignore-eos no such token is drawn. With --chat the text is the answer to
 * one message; its reasoning is shown on a terminal and left out elsewhere. */
#include "cli/cli.h"
#include "cli/commands/generated.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/ranks.h"
#include "cli/show/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	const settings *settings;
	loaded loaded;
	talk_prompt prompt;
	generated text;
} run;

static void note_plan(const evn_plan_info *p)
{
	char line[512] = "";
	for (size_t i = 0; i < p->n_ranks; i++) {
		const evn_plan_rank *r = &p->ranks[i];
		size_t used = strlen(line);
		snprintf(line + used, sizeof line - used, "%s%s%s%s (%s) %.0f %%", i ? ", " : "", r->device,
				 r->node ? " on node " : "", r->node ? r->node : "", r->name, 100 * r->share_decode);
	}
	if (p->cluster_split && strcmp(p->cluster_split, "pipeline") == 0)
		console_note("%s, each node with layers of its own", line);
	else
		console_note("%s%s%s", line, p->n_ranks > 1 ? ", all-reduce by " : "", p->n_ranks > 1 ? p->reduce : "");
	for (size_t i = 0; i < p->n_dropped; i++)
		console_note("left out %s: %s", p->dropped[i].device, p->dropped[i].reason);
}

static evn_status start_run(run *r, evn_error *err)
{
	evn_status status = loaded_open_with_prompt(&r->loaded, r->settings, &r->prompt, err);
	if (status != EVN_OK)
		return status;
	interrupt_saves();
	note_plan(evn_engine_plan(r->loaded.engine));
	return loaded_check_fits(&r->loaded, r->prompt.n, err);
}

static void note_stats(const run *r)
{
	const generated *g = &r->text;
	console_note("load %.2f s; prompt %zu tokens in %.2f s, %.1f tokens/s", r->loaded.load_s, r->prompt.n,
				 g->result.prompt_s, generated_prompt_rate(g));
	if (g->n_ids > 1)
		console_note("generated %zu tokens (%s), first after %.2f s, then %.1f tokens/s", g->n_ids, g->finish,
					 generated_first_s(g), generated_decode_rate(g));
	else
		console_note("generated %zu token%s (%s)", g->n_ids, g->n_ids == 1 ? "" : "s", g->finish);
	ranks_note(evn_engine_plan(r->loaded.engine), g->ranks);
	events_note(r->loaded.engine);
}

static json_t *stats_json(const run *r)
{
	const generated *g = &r->text;
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "load_s", json_number(r->loaded.load_s), "first_token_s",
					 json_number(g->n_ids > 0 ? generated_first_s(g) : (double)NAN), "prefill_tok_s",
					 json_number(generated_prompt_rate(g)), "decode_tok_s", json_number(generated_decode_rate(g)),
					 "drafted", (json_int_t)g->result.n_drafted, "accepted", (json_int_t)g->result.n_accepted,
					 "ranks", ranks_json(evn_engine_plan(r->loaded.engine), g->ranks));
}

static evn_status print_run(const run *r, evn_error *err)
{
	const generated *g = &r->text;
	if (!r->settings->json) {
		note_stats(r);
		return EVN_OK;
	}
	json_t *root = json_pack("{s:o, s:o, s:o, s:s, s:o, s:o}", "prompt_ids", json_ids(r->prompt.ids, r->prompt.n),
							 "ids", json_ids(g->ids, g->n_ids), "text", json_bytes(g->content, g->n_content),
							 "finish", g->finish, "stats", stats_json(r), "events", events_json(r->loaded.engine));
	if (r->settings->chat && root)
		json_object_set_new(root, "reasoning", json_bytes(g->reasoning, g->n_reasoning));
	return json_print(root, err);
}

evn_status cmd_run(const invocation *in, evn_error *err)
{
	run r = {.settings = &in->settings};
	const generate_options o = {.prompt = &r.prompt, .reasoning_apart = in->settings.chat};
	evn_status status = start_run(&r, err);
	if (status == EVN_OK)
		status = generate(&r.text, &r.loaded, r.settings, &o, err);
	if (status == EVN_OK)
		status = print_run(&r, err);
	generated_free(&r.text);
	free(r.prompt.ids);
	return loaded_close(&r.loaded, status, err);
}
