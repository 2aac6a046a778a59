/* cmd_run.c - evener run: generates text. As in llama.cpp an end-of-generation token ends the text and is part
 * neither of its ids nor of its text. With --ignore-eos no such token is drawn. With --chat the text is the answer to
 * one message; its reasoning is shown on a terminal and left out elsewhere. */
#include "cli/cli.h"
#include "cli/commands/loaded.h"
#include "cli/interrupt.h"
#include "cli/show/answer.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	FILE *out; /* a stream into text */
	char *text;
	size_t n;
} captured;

typedef struct {
	const settings *settings;
	loaded loaded;
	evn_sampler *sampler;
	evn_answer *answer;
	talk_prompt prompt;
	int32_t *ids;
	size_t n_ids, n_evals;
	captured text, reasoning; /* with --json */
	const char *finish;
	double prefill_s, first_token_s, decode_s;
} generation;

static void note_plan(const evn_plan_info *p)
{
	char line[512] = "";
	for (size_t i = 0; i < p->n_ranks; i++) {
		const evn_plan_rank *r = &p->ranks[i];
		size_t used = strlen(line);
		snprintf(line + used, sizeof line - used, "%s%s (%s) %.0f %%", i ? ", " : "", r->device, r->name,
				 100 * r->share_decode);
	}
	console_note("%s%s%s", line, p->n_ranks > 1 ? ", all-reduce by " : "", p->n_ranks > 1 ? p->reduce : "");
	for (size_t i = 0; i < p->n_dropped; i++)
		console_note("left out %s: %s", p->dropped[i].device, p->dropped[i].reason);
}

static evn_status create_answer(generation *g, evn_error *err)
{
	const settings *s = g->settings;
	const evn_answer_options o = {.stops = s->stops.items,
								  .n_stops = s->stops.n,
								  .reasoning_apart = s->chat,
								  .starts_reasoning = g->prompt.starts_reasoning};
	return evn_answer_create(&g->answer, g->loaded.model, &o, err);
}

static evn_status start_generation(generation *g, evn_error *err)
{
	const settings *s = g->settings;
	evn_status status = loaded_open_with_prompt(&g->loaded, s, &g->prompt, err);
	if (status != EVN_OK)
		return status;
	interrupt_saves();
	note_plan(evn_engine_plan(g->loaded.engine));
	status = loaded_check_fits(&g->loaded, g->prompt.n, err);
	if (status == EVN_OK)
		status = settings_create_sampler(s, g->loaded.info.vocab, &g->sampler, err);
	if (status == EVN_OK)
		status = create_answer(g, err);
	if (status != EVN_OK)
		return status;
	for (uint32_t id = 0; s->ignore_eos && id < g->loaded.info.vocab; id++)
		if (evn_token_ends_generation(g->loaded.model, (int32_t)id))
			evn_sampler_ban(g->sampler, (int32_t)id);
	evn_sampler_accept_prompt(g->sampler, g->prompt.ids, g->prompt.n);
	g->text.out = open_memstream(&g->text.text, &g->text.n);
	g->reasoning.out = open_memstream(&g->reasoning.text, &g->reasoning.n);
	g->ids = calloc((size_t)evn_engine_context(g->loaded.engine) + 1, sizeof *g->ids);
	return g->text.out && g->reasoning.out && g->ids ? EVN_OK : evn_fail_memory(err, "the generated text", 0);
}

static evn_status print_piece(const generation *g, evn_answer_piece piece, evn_error *err)
{
	if (!g->settings->json)
		return answer_print(piece, err);
	fputs(piece.content, g->text.out);
	fputs(piece.reasoning, g->reasoning.out);
	return EVN_OK; /* memory; checked at the end */
}

/* Draws the next token and writes its text. False at the end of the text. */
static evn_status next_token(generation *g, bool *more, evn_error *err)
{
	int32_t id = 0;
	evn_status status = evn_sampler_draw(g->sampler, evn_session_logits(g->loaded.session), &id, err);
	*more = false;
	if (status != EVN_OK)
		return status;
	evn_sampler_accept(g->sampler, id);
	if (evn_token_ends_generation(g->loaded.model, id)) {
		g->finish = "stop";
		return EVN_OK;
	}
	g->ids[g->n_ids++] = id;
	evn_answer_piece piece = evn_answer_push(g->answer, id);
	if (piece.stopped)
		g->finish = "stop";
	status = print_piece(g, piece, err);
	*more = status == EVN_OK && !piece.stopped;
	return status;
}

static evn_status generate(generation *g, evn_error *err)
{
	evn_session *session = g->loaded.session;
	size_t limit = g->settings->n_predict < 0 ? SIZE_MAX : (size_t)g->settings->n_predict;
	double began = evn_now_s();
	evn_status status = evn_session_eval(session, g->prompt.ids, g->prompt.n, NULL, err);
	console_progress_end();
	if (status != EVN_OK)
		return status;
	g->prefill_s = evn_now_s() - began;
	g->finish = "length";
	bool more = limit > 0;
	while (more) {
		status = next_token(g, &more, err);
		if (g->n_ids == 1 && g->first_token_s == 0.0)
			g->first_token_s = evn_now_s() - began;
		if (status != EVN_OK || !more || g->n_ids >= limit)
			break;
		if (evn_session_position(session) >= evn_engine_context(g->loaded.engine)) {
			g->finish = "context";
			break;
		}
		if (interrupted())
			return evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
		double step_began = evn_now_s();
		status = evn_session_eval(session, &g->ids[g->n_ids - 1], 1, NULL, err);
		if (status != EVN_OK)
			break;
		g->decode_s += evn_now_s() - step_began;
		g->n_evals++;
	}
	return status;
}

static double per_second(size_t n, double seconds) { return n > 0 && seconds > 0 ? (double)n / seconds : NAN; }

static void note_stats(const generation *g)
{
	const evn_plan_info *p = evn_engine_plan(g->loaded.engine);
	console_note("load %.2f s; prompt %zu tokens in %.2f s, %.1f tokens/s", g->loaded.load_s, g->prompt.n,
				 g->prefill_s, per_second(g->prompt.n, g->prefill_s));
	if (g->n_evals > 0)
		console_note("generated %zu tokens (%s), first after %.2f s, then %.1f tokens/s", g->n_ids, g->finish,
					 g->first_token_s, per_second(g->n_evals, g->decode_s));
	else
		console_note("generated %zu tokens (%s)", g->n_ids, g->finish);
	for (size_t i = 0; i < p->n_ranks; i++) {
		evn_rank_stats r = evn_session_rank_stats(g->loaded.session, i);
		console_note("%s: share %.1f %%, busy %.2f s, waited %.2f s, %.1f GB/s", p->ranks[i].device,
					 100 * p->ranks[i].share_decode, r.busy_s, r.wait_s, r.gbs);
	}
}

static json_t *stats_json(const generation *g)
{
	const evn_plan_info *p = evn_engine_plan(g->loaded.engine);
	json_t *ranks = json_array();
	for (size_t i = 0; i < p->n_ranks; i++) {
		evn_rank_stats r = evn_session_rank_stats(g->loaded.session, i);
		json_push(&ranks, json_pack("{s:o, s:o, s:o, s:o, s:o}", "device", json_text(p->ranks[i].device), "share",
									json_number(p->ranks[i].share_decode), "busy_s", json_number(r.busy_s), "wait_s",
									json_number(r.wait_s), "gbs", json_number(r.gbs)));
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "load_s", json_number(g->loaded.load_s), "first_token_s",
					 json_number(g->n_ids > 0 ? g->first_token_s : NAN), "prefill_tok_s",
					 json_number(per_second(g->prompt.n, g->prefill_s)), "decode_tok_s",
					 json_number(per_second(g->n_evals, g->decode_s)), "ranks", ranks);
}

static evn_status print_generation(generation *g, evn_error *err)
{
	evn_status status = print_piece(g, evn_answer_end(g->answer), err);
	if (status != EVN_OK)
		return status;
	if (!g->settings->json) {
		answer_print_end();
		note_stats(g);
		return EVN_OK;
	}
	if (fflush(g->text.out) != 0 || ferror(g->text.out) || fflush(g->reasoning.out) != 0 || ferror(g->reasoning.out))
		return evn_fail_memory(err, "the generated text", 0);
	json_t *root = json_pack("{s:o, s:o, s:o, s:s, s:o, s:[]}", "prompt_ids", json_ids(g->prompt.ids, g->prompt.n),
							 "ids", json_ids(g->ids, g->n_ids), "text", json_bytes(g->text.text, g->text.n), "finish",
							 g->finish, "stats", stats_json(g), "events");
	if (g->settings->chat && root)
		json_object_set_new(root, "reasoning", json_bytes(g->reasoning.text, g->reasoning.n));
	return json_print(root, err);
}

static void clear_captured(captured *c)
{
	if (c->out)
		fclose(c->out);
	free(c->text);
}

evn_status cmd_run(const invocation *in, evn_error *err)
{
	generation g = {.settings = &in->settings};
	evn_status status = start_generation(&g, err);
	if (status == EVN_OK) {
		status = generate(&g, err);
		bool stopped = status == EVN_ERR_CANCELLED && interrupted();
		if (stopped)
			g.finish = "interrupted";
		if (status == EVN_OK || stopped)
			status = print_generation(&g, err);
	}
	clear_captured(&g.text);
	clear_captured(&g.reasoning);
	free(g.ids);
	free(g.prompt.ids);
	evn_answer_free(g.answer);
	evn_sampler_free(g.sampler);
	loaded_close(&g.loaded);
	return status;
}
