/* cmd_score.c - evener score: a text in windows, the log-probability of their tokens, perplexity. */
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/loaded.h"
#include "cli/prompt.h"
#include "cli/table.h"
#include "cli/text.h"
#include "cli/token.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	const settings *settings;
	const char *name; /* of the text, for messages */
	evn_model *model;
	int32_t *ids; /* of all windows, one after the other */
	double *log_p;
	evn_window *windows;
	size_t n_windows, n_scored;
	uint32_t length; /* of a window; the last may be shorter */
	evn_scorer *scorer;
	double score_s;
	char *state_path; /* of the windows done, kept for a run that is killed; NULL: not kept */
	size_t n_resumed, n_kept;
	double kept_s, keeping_s; /* when they were last saved, and how long that took */
} scoring;

/* ---- the text in windows ----------------------------------------------------------------------------------------
 */

/* What the model begins texts with, or -1: the difference that it makes to a text. */
static evn_status find_bos(const evn_model *m, int32_t *bos, evn_error *err)
{
	int32_t *plain = NULL, *begun = NULL;
	size_t n_plain = 0, n_begun = 0;
	evn_status status = evn_tokenize(m, "a", 1, false, false, &plain, &n_plain, err);
	if (status == EVN_OK)
		status = evn_tokenize(m, "a", 1, true, false, &begun, &n_begun, err);
	*bos = status == EVN_OK && n_begun > n_plain && (n_plain == 0 || begun[0] != plain[0]) ? begun[0] : -1;
	free(plain);
	free(begun);
	return status;
}

static evn_status find_length(scoring *g, evn_error *err)
{
	const settings *s = g->settings;
	uint32_t trained = evn_model_get_info(g->model).n_ctx_train;
	int64_t asked = s->window ? s->window : s->context;
	if (s->window > 0 && s->window < 3)
		return cli_fail(err, EVN_ERR_USAGE, "--ctx: %lld: a window has 3 tokens at least", (long long)s->window);
	if (asked > trained)
		return cli_fail(err, EVN_ERR_USAGE, "%s: %lld tokens, but the model was trained for a context of %u",
						s->window ? "--ctx" : "context", (long long)asked, trained);
	g->length = asked ? (uint32_t)asked : trained;
	return g->length >= 2 ? EVN_OK
						  : cli_fail(err, EVN_ERR_USAGE, "context: 2 tokens at least are needed to score one");
}

/* Windows of the whole length whose second halves count; where the model begins texts with a token, each begins with
 * it, in place of the text's own. As llama-perplexity does it. */
static void cut_windows(scoring *g, const int32_t *ids, size_t n_windows, int32_t bos)
{
	uint32_t first = g->length / 2 + 1;
	memcpy(g->ids, ids, n_windows * g->length * sizeof *ids);
	for (size_t i = 0; i < n_windows; i++) {
		evn_window *w = &g->windows[i];
		*w = (evn_window){g->ids + i * g->length, g->length, first, g->log_p + i * (g->length - first), false};
		if (bos >= 0)
			g->ids[i * g->length] = bos;
	}
	g->n_windows = n_windows;
}

/* Pieces of which every token counts but the first, or all where the model begins texts with a token. A last token
 * that would stand alone is left out. */
static void cut_pieces(scoring *g, const int32_t *ids, size_t n, size_t n_windows, int32_t bos)
{
	uint32_t extra = bos >= 0;
	double *log_p = g->log_p;
	for (size_t i = 0, at = 0; i < n_windows; i++) {
		size_t room = g->length - extra, part = n - at < room ? n - at : room;
		int32_t *to = g->ids + i * g->length;
		memcpy(to + extra, ids + at, part * sizeof *ids);
		if (extra)
			to[0] = bos;
		at += part;
		if (part + extra < 2)
			break;
		g->windows[g->n_windows++] = (evn_window){to, (uint32_t)part + extra, 1, log_p, false};
		log_p += part + extra - 1;
	}
}

static evn_status cut(scoring *g, const int32_t *ids, size_t n, evn_error *err)
{
	const settings *s = g->settings;
	int32_t bos;
	evn_status status = find_bos(g->model, &bos, err);
	if (status != EVN_OK)
		return status;
	size_t step = s->window ? g->length : g->length - (bos >= 0);
	size_t n_windows = s->window ? n / step : (n + step - 1) / step;
	if (n_windows == 0 || (!s->window && n + (bos >= 0) < 2))
		return cli_fail(err, EVN_ERR_USAGE, "%s: %zu tokens, at least %u are needed%s", g->name, n,
						s->window ? g->length : 2u - (bos >= 0), s->window ? " for a window" : "");
	if (s->n_windows && n_windows > (size_t)s->n_windows)
		n_windows = (size_t)s->n_windows;
	g->ids = calloc(n_windows * g->length, sizeof *g->ids);
	g->log_p = calloc(n_windows * g->length, sizeof *g->log_p);
	g->windows = calloc(n_windows, sizeof *g->windows);
	if (!g->ids || !g->log_p || !g->windows)
		return cli_fail_memory(err, "the windows");
	if (s->window)
		cut_windows(g, ids, n_windows, bos);
	else
		cut_pieces(g, ids, n, n_windows, bos);
	for (size_t i = 0; i < g->n_windows; i++)
		g->n_scored += g->windows[i].n_ids - g->windows[i].first;
	return EVN_OK;
}

static evn_status read_text(scoring *g, evn_error *err)
{
	const settings *s = g->settings;
	char *text = NULL;
	int32_t *ids = NULL;
	size_t bytes = 0, n = 0;
	g->name = s->prompt ? "the text" : s->prompt_file ? s->prompt_file : "standard input";
	evn_status status = prompt_read(s, true, &text, &bytes, err);
	if (status == EVN_OK)
		status = evn_tokenize(g->model, text, bytes, false, false, &ids, &n, err);
	if (status == EVN_OK)
		status = cut(g, ids, n, err);
	free(ids);
	free(text);
	return status;
}

/* ---- computing --------------------------------------------------------------------------------------------------
 */

/* Mean of -log p over the tokens of the first windows, up to one that is not done. */
static double mean_nll(const scoring *g, size_t *n_tokens)
{
	double sum = 0;
	size_t n = 0;
	for (size_t i = 0; i < g->n_windows && g->windows[i].done; i++) {
		const evn_window *w = &g->windows[i];
		for (uint32_t t = 0; t < w->n_ids - w->first; t++)
			sum -= w->log_p[t];
		n += w->n_ids - w->first;
	}
	*n_tokens = n;
	return n ? sum / (double)n : (double)NAN;
}

#define KEEP_EVERY_S 1.0
#define KEEP_COST 20 /* at most this part of the time goes into saving */

static void keep(scoring *g)
{
	evn_error err = {0};
	double began = clock_s();
	size_t n_done = 0;
	for (size_t i = 0; i < g->n_windows; i++)
		n_done += g->windows[i].done;
	if (!g->state_path || n_done == g->n_kept)
		return;
	if (evn_windows_save(g->state_path, g->windows, g->n_windows, &err) != EVN_OK) {
		console_note("a run that is killed could not be resumed: %s", err.text);
		free(g->state_path);
		g->state_path = NULL;
	}
	g->n_kept = n_done;
	g->kept_s = clock_s();
	g->keeping_s = g->kept_s - began;
}

static bool show_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
	scoring *g = user;
	size_t n;
	if (clock_s() - g->kept_s >= fmax(KEEP_EVERY_S, KEEP_COST * g->keeping_s))
		keep(g);
	double nll = mean_nll(g, &n);
	if (n > 0)
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
	console_note("%s: %zu windows of %u tokens, %zu tokens scored", g->name, g->n_windows, g->length, g->n_scored);
	if (info->n_ranks > 1)
		console_note("split %s; predicted: tensor %.0f tokens/s, sequence %.0f%s%s%s", split_name(info),
					 info->tensor_tok_s, info->sequence_tok_s, info->reason ? " (" : "",
					 info->reason ? info->reason : "", info->reason ? ")" : "");
}

static void resume(scoring *g)
{
	g->state_path = evn_scorer_state_path(g->scorer, g->windows, g->n_windows);
	g->n_resumed = g->n_kept = g->state_path ? evn_windows_load(g->state_path, g->windows, g->n_windows) : 0;
	if (g->n_resumed > 0)
		console_note("resuming: %zu of %zu windows are known from a run that did not end (%s)", g->n_resumed,
					 g->n_windows, g->state_path);
}

static evn_status compute(scoring *g, evn_error *err)
{
	evn_options o = settings_engine_options(g->settings);
	o.context = g->windows[0].n_ids; /* the first is the longest */
	evn_status status =
		evn_scorer_open(&g->scorer, g->model, &o, (evn_split_mode)g->settings->split, g->n_windows, err);
	console_progress_end();
	if (status != EVN_OK)
		return status;
	note_beginning(g);
	resume(g);
	double began = g->kept_s = clock_s();
	status = evn_scorer_run(g->scorer, g->windows, g->n_windows, show_progress, g, err);
	g->score_s = clock_s() - began;
	console_progress_end();
	if (status != EVN_OK)
		keep(g);
	if (status != EVN_OK && g->n_kept > 0)
		console_note("%zu of %zu windows are done; the same command goes on from there", g->n_kept, g->n_windows);
	return status;
}

/* ---- telling ----------------------------------------------------------------------------------------------------
 */

static json_t *tokens_json(const scoring *g)
{
	json_t *list = json_array();
	for (size_t i = 0; i < g->n_windows; i++) {
		const evn_window *w = &g->windows[i];
		for (uint32_t t = w->first; t < w->n_ids; t++) {
			char *text = NULL;
			size_t bytes = 0;
			evn_error ignored;
			if (evn_detokenize(g->model, &w->ids[t], 1, true, &text, &bytes, &ignored) != EVN_OK)
				text = NULL; /* a vocabulary that is no text */
			json_push(&list, json_pack("{s:i, s:o, s:o}", "id", (int)w->ids[t], "text",
									   text ? json_bytes(text, bytes) : json_null(), "logprob",
									   json_number(w->log_p[t - w->first])));
			free(text);
		}
	}
	return list;
}

static evn_status print_json(const scoring *g, double nll, evn_error *err)
{
	const evn_score_info *info = evn_scorer_info(g->scorer);
	json_t *ranks = json_array();
	for (size_t i = 0; i < info->n_ranks; i++)
		json_push(&ranks,
				  json_pack("{s:o, s:o, s:I}", "device", json_text(info->ranks[i].device), "share",
							json_number(info->ranks[i].share), "windows", (json_int_t)info->ranks[i].windows));
	json_t *root =
		json_pack("{s:I, s:o, s:o, s:I, s:I, s:I, s:s, s:o, s:{s:o, s:o}, s:o, s:o}", "tokens",
				  (json_int_t)g->n_scored, "perplexity", json_number(exp(nll)), "nll", json_number(nll), "windows",
				  (json_int_t)g->n_windows, "ctx", (json_int_t)g->length, "split", split_name(info), "ranks", ranks,
				  "predicted", "tensor_tok_s", json_number(info->tensor_tok_s), "sequence_tok_s",
				  json_number(info->reason ? (double)NAN : info->sequence_tok_s), "seconds", json_number(g->score_s),
				  "token_logprobs", g->settings->tokens ? tokens_json(g) : json_null());
	if (root && !g->settings->tokens)
		json_object_del(root, "token_logprobs");
	return json_print(root, err);
}

static evn_status print_tokens(const scoring *g, evn_error *err)
{
	table t = table_start("rrrl");
	table_cell(&t, "TOKEN");
	table_cell(&t, "ID");
	table_cell(&t, "LOGPROB");
	table_cell(&t, "TEXT");
	for (size_t i = 0, n = 0; i < g->n_windows; i++) {
		const evn_window *w = &g->windows[i];
		for (uint32_t k = w->first; k < w->n_ids; k++) {
			char text[64];
			token_name(text, sizeof text, g->model, w->ids[k]);
			table_cell(&t, "%zu", n++);
			table_cell(&t, "%d", w->ids[k]);
			table_cell(&t, "%.4f", w->log_p[k - w->first]);
			table_cell(&t, "%s", text);
		}
	}
	return table_print(&t, err);
}

static void note_end(const scoring *g)
{
	const evn_score_info *info = evn_scorer_info(g->scorer);
	for (size_t i = 0; i < info->n_ranks; i++) {
		const evn_score_rank *r = &info->ranks[i];
		if (info->split == EVN_SPLIT_SEQUENCE)
			console_note("%s (%s): %llu windows, %.0f %% of the tokens", r->device, r->name,
						 (unsigned long long)r->windows, 100 * r->share);
		else
			console_note("%s (%s): %.0f %% of the matrices", r->device, r->name, 100 * r->share);
	}
	console_note("%.1f s", g->score_s);
}

static evn_status tell(const scoring *g, evn_error *err)
{
	size_t n;
	double nll = mean_nll(g, &n);
	if (g->settings->json)
		return print_json(g, nll, err);
	evn_status status = g->settings->tokens ? print_tokens(g, err) : EVN_OK;
	if (status != EVN_OK)
		return status;
	note_end(g);
	printf("perplexity %.4f, %.4f nats a token, %zu tokens in %zu windows of %u\n", exp(nll), nll, n, g->n_windows,
		   g->length);
	return EVN_OK;
}

evn_status cmd_score(const invocation *in, evn_error *err)
{
	scoring g = {.settings = &in->settings};
	evn_status status = settings_open_model(g.settings, &g.model, err);
	if (status == EVN_OK)
		status = find_length(&g, err);
	if (status == EVN_OK)
		status = read_text(&g, err);
	if (status == EVN_OK)
		status = compute(&g, err);
	if (status == EVN_OK)
		status = tell(&g, err);
	if (status == EVN_OK && g.n_kept > 0)
		remove(g.state_path);
	free(g.state_path);
	evn_scorer_close(g.scorer);
	free(g.windows);
	free(g.log_p);
	free(g.ids);
	evn_model_close(g.model);
	return status;
}
