/* cmd_score.c - evener score: the log-probability of a text's tokens, and its perplexity. Resumes a run that was
 * killed. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/loaded.h"
#include "cli/commands/scored_text.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/picture.h"
#include "cli/show/token.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
	const settings *settings;
	evn_model *model;
	scored_text text;
	evn_scorer *scorer;
	double score_s;
	char *state_path; /* file of the finished windows, for a run that is killed; NULL: they are not kept */
	size_t n_resumed, n_kept;
	double kept_s, keeping_s; /* when they were last saved, and how long that took */
} scoring;

/* ---- computing ------------------------------------------------------------------------------------------------- */

#define KEEP_EVERY_S 1.0
#define KEEP_COST 20 /* saving takes at most 1/20 of the time */

static void keep_windows(scoring *g)
{
	evn_error err = {0};
	double began = evn_now_s();
	size_t n_done = 0;
	for (size_t i = 0; i < g->text.n_windows; i++)
		n_done += g->text.windows[i].done;
	if (!g->state_path || n_done == g->n_kept)
		return;
	if (evn_windows_save(g->state_path, g->text.windows, g->text.n_windows, &err) != EVN_OK) {
		console_note("if this run is killed it cannot be resumed: %s", err.text);
		free(g->state_path);
		g->state_path = NULL;
		g->n_kept = 0;
		return;
	}
	g->n_kept = n_done;
	g->kept_s = evn_now_s();
	g->keeping_s = g->kept_s - began;
}

static bool show_scoring(void *user, const char *what, uint64_t done, uint64_t total)
{
	scoring *g = user;
	if (evn_now_s() - g->kept_s >= fmax(KEEP_EVERY_S, KEEP_COST * g->keeping_s))
		keep_windows(g);
	double nll = scored_text_nll(&g->text);
	if (isfinite(nll))
		console_progress_note("perplexity %.4f", exp(nll));
	return console_progress(NULL, what, done, total);
}

static const char *split_name(const evn_score_info *info)
{
	return info->split == EVN_SPLIT_SEQUENCE ? "sequence" : "tensor";
}

static void note_beginning(const scoring *g)
{
	const evn_score_info *info = evn_scorer_info(g->scorer);
	console_note("%s: %zu window%s of %u tokens, %zu tokens scored", g->text.name, g->text.n_windows,
				 g->text.n_windows == 1 ? "" : "s", g->text.length, g->text.n_scored);
	if (info->n_ranks > 1)
		console_note("split %s; predicted: tensor %.0f tokens/s, sequence %.0f%s%s%s", split_name(info),
					 info->tensor_tok_s, info->sequence_tok_s, info->reason ? " (" : "",
					 info->reason ? info->reason : "", info->reason ? ")" : "");
}

static void resume_windows(scoring *g)
{
	g->state_path = evn_scorer_state_path(g->scorer, g->text.windows, g->text.n_windows);
	g->n_resumed = g->n_kept =
		g->state_path ? evn_windows_load(g->state_path, g->text.windows, g->text.n_windows) : 0;
	if (g->n_resumed > 0)
		console_note("resuming: %zu of %zu windows are known from an unfinished run (%s)", g->n_resumed,
					 g->text.n_windows, g->state_path);
}

static evn_status compute_scores(scoring *g, evn_error *err)
{
	evn_options o = settings_engine_options(g->settings);
	o.context = g->text.windows[0].n_ids; /* the first window is the longest */
	evn_status status =
		evn_scorer_open(&g->scorer, g->model, &o, (evn_split_mode)g->settings->split, g->text.n_windows, err);
	console_progress_end();
	if (status != EVN_OK)
		return status;
	interrupt_saves();
	note_beginning(g);
	resume_windows(g);
	double began = g->kept_s = evn_now_s();
	status = evn_scorer_run(g->scorer, g->text.windows, g->text.n_windows, show_scoring, g, err);
	g->score_s = evn_now_s() - began;
	console_progress_end();
	if (status != EVN_OK)
		keep_windows(g);
	if (status != EVN_OK && g->n_kept > 0)
		console_note("%zu of %zu windows are done; the same command continues from there", g->n_kept,
					 g->text.n_windows);
	return status;
}

/* ---- output -------------------------------------------------------------------------------------------------- */

static json_t *tokens_json(const scoring *g)
{
	json_t *list = json_array();
	for (size_t i = 0; i < g->text.n_windows; i++) {
		const evn_window *w = &g->text.windows[i];
		for (uint32_t t = w->first; t < w->n_ids; t++) {
			char *text = NULL;
			size_t bytes = 0;
			evn_error ignored;
			if (evn_detokenize(g->model, &w->ids[t], 1, true, &text, &bytes, &ignored) != EVN_OK)
				text = NULL; /* the vocabulary has no text for it */
			json_push(&list, json_pack("{s:i, s:o, s:o}", "id", (int)w->ids[t], "text",
									   text ? json_bytes(text, bytes) : json_null(), "logprob",
									   json_number(w->log_p[t - w->first])));
			free(text);
		}
	}
	return list;
}

static evn_status print_scores_json(const scoring *g, double nll, evn_error *err)
{
	const evn_score_info *info = evn_scorer_info(g->scorer);
	json_t *ranks = json_array();
	for (size_t i = 0; i < info->n_ranks; i++)
		json_push(&ranks,
				  json_pack("{s:o, s:o, s:I}", "device", json_text(info->ranks[i].device), "share",
							json_number(info->ranks[i].share), "windows", (json_int_t)info->ranks[i].windows));
	json_t *predicted = json_pack("{s:o, s:o}", "tensor_tok_s", json_number(info->tensor_tok_s), "sequence_tok_s",
								  json_number(info->reason ? (double)NAN : info->sequence_tok_s));
	json_t *root = json_pack("{s:I, s:o, s:o, s:I, s:I, s:I, s:s, s:o, s:o, s:o}", "tokens",
							 (json_int_t)g->text.n_scored, "perplexity", json_number(exp(nll)), "nll",
							 json_number(nll), "windows", (json_int_t)g->text.n_windows, "resumed_windows",
							 (json_int_t)g->n_resumed, "ctx", (json_int_t)g->text.length, "split", split_name(info),
							 "ranks", ranks, "predicted", predicted, "seconds", json_number(g->score_s));
	if (root && g->settings->tokens && json_object_set_new(root, "token_logprobs", tokens_json(g)) != 0) {
		json_decref(root);
		root = NULL;
	}
	return json_print(root, err);
}

static void print_tokens(const scoring *g)
{
	printf("%9s %8s %9s  %s\n", "TOKEN", "ID", "LOGPROB", "TEXT");
	for (size_t i = 0; i < g->text.n_windows; i++) {
		const evn_window *w = &g->text.windows[i];
		for (uint32_t k = w->first; k < w->n_ids; k++) {
			char name[64];
			token_name(name, sizeof name, g->model, w->ids[k]);
			printf("%9zu %8d %9.4f  %s\n", scored_text_place(&g->text, i, k), w->ids[k], w->log_p[k - w->first],
				   name);
		}
	}
}

static evn_status draw_scores(const scoring *g, evn_error *err)
{
	size_t n = 0;
	char title[160];
	double *place = malloc(2 * g->text.n_scored * sizeof *place);
	if (!place)
		return evn_fail_memory(err, "the picture", 0);
	double *surprise = place + g->text.n_scored;
	for (size_t i = 0; i < g->text.n_windows; i++) {
		const evn_window *w = &g->text.windows[i];
		for (uint32_t k = w->first; k < w->n_ids; k++, n++) {
			place[n] = (double)scored_text_place(&g->text, i, k);
			surprise[n] = -w->log_p[k - w->first];
		}
	}
	snprintf(title, sizeof title, "%.80s: perplexity %.2f", g->text.name, exp(scored_text_nll(&g->text)));
	evn_status status = picture_surprise(g->settings->image, title, place, surprise, n, err);
	free(place);
	return status;
}

static void note_end(const scoring *g)
{
	const evn_score_info *info = evn_scorer_info(g->scorer);
	for (size_t i = 0; i < info->n_ranks; i++) {
		const evn_score_rank *r = &info->ranks[i];
		if (info->split == EVN_SPLIT_SEQUENCE)
			console_note("%s (%s): %llu of the windows, %.0f %% of the tokens", r->device, r->name,
						 (unsigned long long)r->windows, 100 * r->share);
		else
			console_note("%s (%s): %.0f %% of the matrices", r->device, r->name, 100 * r->share);
	}
	console_note("%.1f s", g->score_s);
}

static evn_status print_scores(const scoring *g, evn_error *err)
{
	double nll = scored_text_nll(&g->text);
	if (g->settings->json)
		return print_scores_json(g, nll, err);
	if (g->settings->tokens)
		print_tokens(g);
	note_end(g);
	printf("perplexity %.4f, %.4f nats a token, %zu tokens in %zu window%s of %u\n", exp(nll), nll, g->text.n_scored,
		   g->text.n_windows, g->text.n_windows == 1 ? "" : "s", g->text.length);
	return EVN_OK;
}

evn_status cmd_score(const invocation *in, evn_error *err)
{
	scoring g = {.settings = &in->settings};
	evn_status status = settings_open_model(g.settings, &g.model, err);
	if (status == EVN_OK)
		status = scored_text_read(&g.text, g.model, g.settings, err);
	if (status == EVN_OK)
		status = compute_scores(&g, err);
	if (status == EVN_OK)
		status = print_scores(&g, err);
	if (status == EVN_OK && g.settings->image)
		status = draw_scores(&g, err);
	if (status == EVN_OK && g.n_kept > 0)
		remove(g.state_path);
	free(g.state_path);
	evn_scorer_close(g.scorer);
	scored_text_free(&g.text);
	evn_model_close(g.model);
	return status;
}
