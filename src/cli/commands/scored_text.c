/* scored_text.c - see scored_text.h. */
#include "cli/commands/scored_text.h"
#include "evener/score.h"
#include "base/base.h"
#include "cli/commands/prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The token that the model begins texts with, or -1. Found by the difference that it makes to a text. */
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

static evn_status find_length(scored_text *t, const evn_model *m, const settings *s, evn_error *err)
{
	uint32_t trained = evn_model_get_info(m).n_ctx_train;
	int64_t asked = s->window ? s->window : s->context;
	if (s->window > 0 && s->window < 3)
		return evn_fail(err, EVN_ERR_USAGE, "--ctx: %lld: a window has 3 tokens at least", (long long)s->window);
	if (asked > trained)
		return evn_fail(err, EVN_ERR_USAGE, "%s: %lld tokens, but the model was trained for a context of %u",
						s->window ? "--ctx" : "context", (long long)asked, trained);
	t->length = asked ? (uint32_t)asked : trained;
	return t->length >= 2 ? EVN_OK
						  : evn_fail(err, EVN_ERR_USAGE, "context: 2 tokens at least are needed to score one");
}

/* Makes windows of full length whose second halves are scored, as llama-perplexity does. If the model begins texts
 * with a token, each window begins with it, in place of the text's own first token. */
static void cut_windows(scored_text *t, const int32_t *ids, size_t n_windows, int32_t bos)
{
	uint32_t first = t->length / 2 + 1;
	memcpy(t->ids, ids, n_windows * t->length * sizeof *ids);
	for (size_t i = 0; i < n_windows; i++) {
		evn_window *w = &t->windows[i];
		*w = (evn_window){t->ids + i * t->length, t->length, first, t->log_p + i * (t->length - first), false};
		if (bos >= 0)
			t->ids[i * t->length] = bos;
	}
	t->n_windows = n_windows;
}

/* Makes pieces. Every token of a piece is scored except the first, or all if the model begins texts with a token. A
 * single last token is left out. */
static void cut_pieces(scored_text *t, const int32_t *ids, size_t n, size_t n_windows, int32_t bos)
{
	uint32_t extra = t->begun = bos >= 0;
	double *log_p = t->log_p;
	for (size_t i = 0, at = 0; i < n_windows; i++) {
		size_t room = t->length - extra, part = n - at < room ? n - at : room;
		int32_t *to = t->ids + i * t->length;
		memcpy(to + extra, ids + at, part * sizeof *ids);
		if (extra)
			to[0] = bos;
		at += part;
		if (part + extra < 2)
			break;
		t->windows[t->n_windows++] = (evn_window){to, (uint32_t)part + extra, 1, log_p, false};
		log_p += part + extra - 1;
	}
}

static evn_status make_windows(scored_text *t, const int32_t *ids, size_t n, int32_t bos, const settings *s,
							   evn_error *err)
{
	size_t step = s->window ? t->length : t->length - (bos >= 0);
	size_t n_windows = s->window ? n / step : (n + step - 1) / step;
	if (n_windows == 0 || (!s->window && n + (bos >= 0) < 2))
		return evn_fail(err, EVN_ERR_USAGE, "%s: %zu tokens, at least %u are needed%s", t->name, n,
						s->window ? t->length : 2u - (bos >= 0), s->window ? " for a window" : "");
	if (s->n_windows && n_windows > (size_t)s->n_windows)
		n_windows = (size_t)s->n_windows;
	t->ids = calloc(n_windows * t->length, sizeof *t->ids);
	t->log_p = calloc(n_windows * t->length, sizeof *t->log_p);
	t->windows = calloc(n_windows, sizeof *t->windows);
	if (!t->ids || !t->log_p || !t->windows)
		return evn_fail_memory(err, "the windows", 0);
	if (s->window)
		cut_windows(t, ids, n_windows, bos);
	else
		cut_pieces(t, ids, n, n_windows, bos);
	for (size_t i = 0; i < t->n_windows; i++)
		t->n_scored += t->windows[i].n_ids - t->windows[i].first;
	if (t->n_windows == 1)
		t->length = t->windows[0].n_ids;
	return EVN_OK;
}

evn_status scored_text_read(scored_text *t, const evn_model *m, const settings *s, evn_error *err)
{
	char *text = NULL;
	int32_t *ids = NULL, bos = -1;
	size_t bytes = 0, n = 0;
	t->name = s->prompt ? "the text" : s->prompt_file ? s->prompt_file : "standard input";
	evn_status status = find_length(t, m, s, err);
	if (status == EVN_OK)
		status = find_bos(m, &bos, err);
	if (status == EVN_OK)
		status = prompt_read(s, true, &text, &bytes, err);
	if (status == EVN_OK)
		status = evn_tokenize_whole(m, t->name, text, bytes, &ids, &n, err);
	if (status == EVN_OK)
		status = make_windows(t, ids, n, bos, s, err);
	free(ids);
	free(text);
	return status;
}

void scored_text_free(scored_text *t)
{
	free(t->windows);
	free(t->log_p);
	free(t->ids);
	*t = (scored_text){0};
}

double scored_text_nll(const scored_text *t)
{
	double sum = 0;
	size_t n = 0;
	for (size_t i = 0; i < t->n_windows && t->windows[i].done; i++) {
		const evn_window *w = &t->windows[i];
		for (uint32_t k = 0; k < w->n_ids - w->first; k++)
			sum -= w->log_p[k];
		n += w->n_ids - w->first;
	}
	return n ? sum / (double)n : (double)NAN;
}

size_t scored_text_place(const scored_text *t, size_t w, uint32_t k)
{
	return w * (t->length - t->begun) + k - t->begun;
}
