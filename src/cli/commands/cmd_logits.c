/* cmd_logits.c - evener logits: the raw logits after each token given. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/loaded.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/picture.h"
#include "evener/translate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* encoder_ids: the option, or NULL. */
static evn_status encode(evn_session *session, const char *encoder_ids, evn_error *err)
{
	int32_t *ids = NULL;
	size_t n = 0;
	evn_status status = encoder_ids ? parse_ids(encoder_ids, &ids, &n, err) : EVN_OK;
	if (status == EVN_OK && encoder_ids)
		status = evn_session_encode(session, ids, n, err);
	free(ids);
	return status;
}

static evn_status compute_logits(const loaded *l, const char *encoder_ids, const int32_t *ids, size_t n, float **out,
								 evn_error *err)
{
	size_t vocab = l->info.vocab;
	evn_status status = loaded_check_fits(l, n, err);
	if (status != EVN_OK)
		return status;
	float *logits = vocab && n <= SIZE_MAX / sizeof *logits / vocab ? malloc(n * vocab * sizeof *logits) : NULL;
	if (!logits)
		return evn_fail_memory(err, "the logits", 0);
	evn_session *session = NULL;
	status = evn_session_create(&session, l->engine, err);
	if (status == EVN_OK)
		status = encode(session, encoder_ids, err);
	if (status == EVN_OK)
		status = evn_session_eval(session, ids, n, logits, err);
	console_progress_end();
	evn_session_free(session);
	if (status == EVN_OK)
		*out = logits;
	else
		free(logits);
	return status;
}

static void print_rows(const float *logits, size_t n, size_t vocab)
{
	for (size_t i = 0; i < n; i++)
		for (size_t v = 0; v < vocab; v++)
			printf("%.9g%c", (double)logits[i * vocab + v], v + 1 < vocab ? ' ' : '\n');
}

/* Prints row by row: a JSON number takes many times the memory of a float. */
static evn_status print_logits_json(const int32_t *ids, size_t n_ids, const float *logits, size_t vocab,
									evn_error *err)
{
	json_t *list = json_ids(ids, n_ids);
	bool failed = !list || fputs("{\"ids\": ", stdout) < 0 || json_dumpf(list, stdout, 0) != 0;
	json_decref(list);
	for (size_t i = 0; i < n_ids && !failed; i++) {
		json_t *row = json_array();
		for (size_t v = 0; v < vocab; v++)
			json_push(&row, json_number((double)logits[i * vocab + v]));
		failed = !row || fputs(i ? ", " : ", \"logits\": [", stdout) < 0 ||
				 json_dumpf(row, stdout, JSON_REAL_PRECISION(9)) != 0;
		json_decref(row);
	}
	if (failed || puts("]}") == EOF)
		return evn_fail(err, EVN_ERR_FILE, "standard output: %s", strerror(errno));
	return EVN_OK;
}

static evn_status draw_ids(const loaded *l, const settings *s, int32_t **ids, size_t *n, evn_error *err)
{
	*n = (size_t)s->n_random_ids;
	*ids = malloc(*n * sizeof **ids);
	if (!*ids)
		return evn_fail_memory(err, "the ids", 0);
	evn_random_ids((uint64_t)s->init_seed, l->info.vocab, *ids, *n);
	return EVN_OK;
}

evn_status cmd_logits(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	loaded l = {0};
	int32_t *ids = NULL;
	float *logits = NULL;
	size_t n = 0;
	bool drawn = !s->ids && s->n_random_ids > 0 && !s->prompt && !s->prompt_file;
	evn_status status = s->ids ? parse_ids(s->ids, &ids, &n, err) : EVN_OK;
	if (status == EVN_OK && (s->ids || drawn)) {
		status = loaded_open(&l, s, err);
	} else if (status == EVN_OK) {
		talk_prompt prompt;
		status = loaded_open_with_prompt(&l, s, &prompt, err);
		ids = prompt.ids;
		n = prompt.n;
	}
	if (status == EVN_OK && drawn)
		status = draw_ids(&l, s, &ids, &n, err);
	if (status == EVN_OK)
		status = compute_logits(&l, s->encoder_ids, ids, n, &logits, err);
	if (status == EVN_OK && s->json)
		status = print_logits_json(ids, n, logits, l.info.vocab, err);
	else if (status == EVN_OK)
		print_rows(logits, n, l.info.vocab);
	if (status == EVN_OK && s->image)
		status = picture_logits(s->image, l.model, ids, n, logits, err);
	free(logits);
	free(ids);
	return loaded_close(&l, status, err);
}
