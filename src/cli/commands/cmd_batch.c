/* cmd_batch.c - evener batch: answers to the pieces of a text or to the objects of a file, through the scheduler. A
 * run that was stopped or killed is continued from the journal beside the output. */
#include "cli/batch/output.h"
#include "cli/batch/run.h"
#include "base/base.h"
#include "cli/commands/form.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/ranks.h"
#include "cli/show/trace.h"
#include "evener/inspect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct {
	const settings *settings;
	evn_model *model;
	answer_form form;
	asking asking;
	batch_input input;
	char *journal_path;
	journal *journal;
	size_t n_resumed;
	evn_engine *engine;
	evn_scheduler_stats stats;
	double seconds;
	failures failures;
} batch;

/* ---- what is to be done ---------------------------------------------------------------------------------------- */

static evn_status check_labels(const repeated_text *labels, evn_error *err)
{
	if (labels->n == 1)
		return evn_fail(err, EVN_ERR_USAGE, "--label: one alone; two or more are needed to choose from");
	for (size_t i = 0; i < labels->n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(labels->items[i], labels->items[k]) == 0)
				return evn_fail(err, EVN_ERR_USAGE, "--label: '%.60s' is there twice", labels->items[i]);
	return EVN_OK;
}

static evn_status check_files(const settings *s, evn_error *err)
{
	struct stat in, out;
	if (s->prompt_file && stat(s->prompt_file, &in) == 0 && stat(s->output_path, &out) == 0 &&
		in.st_dev == out.st_dev && in.st_ino == out.st_ino)
		return evn_fail(err, EVN_ERR_USAGE, "--output: %s is the input, which would be replaced", s->output_path);
	return EVN_OK;
}

static evn_status read_work(batch *b, evn_error *err)
{
	const settings *s = b->settings;
	b->asking = (asking){.system = s->system, .raw = s->raw};
	if (template_read(&b->asking.template, s->template_text ? s->template_text : "{text}", err) != EVN_OK)
		return evn_fail_within(err, "--template");
	if (s->raw && s->system)
		return evn_fail(err, EVN_ERR_USAGE, "--raw and --system exclude each other");
	EVN_TRY(check_files(s, err));
	EVN_TRY(check_labels(&s->labels, err));
	EVN_TRY(talk_open(&b->asking.talk, s, err));
	EVN_TRY(settings_open_model(s, &b->model, err));
	b->asking.model = b->model;
	EVN_TRY(input_read(&b->input, s, b->model, err));
	if (b->input.format == INPUT_OPENAI && (s->labels.n > 0 || !writes_records(s->output_path)))
		return evn_fail(err, EVN_ERR_USAGE, "%s: requests in OpenAI's format have %s", b->input.name,
						s->labels.n > 0 ? "no labels" : "an output in it: give -o OUT.jsonl");
	if ((s->schema_file || s->grammar_file) && (b->input.format == INPUT_OPENAI || s->labels.n > 0))
		return evn_fail(err, EVN_ERR_USAGE, "--schema, --grammar: %s",
						s->labels.n > 0 ? "labels have no form; leave out one of them"
										: "requests in OpenAI's format name their own form (response_format)");
	EVN_TRY(form_open(&b->form, b->model, s, err));
	const char *other = template_other_field(&b->asking.template, "text");
	if (b->input.format == INPUT_TEXT && other)
		return evn_fail(err, EVN_ERR_USAGE,
						"--template: {%s}: a text has only {text}; fields of other names come from a .jsonl file",
						other);
	return EVN_OK;
}

static uint64_t hash_texts(uint64_t h, const repeated_text *list)
{
	h = evn_hash(h, &list->n, sizeof list->n);
	for (size_t i = 0; i < list->n; i++)
		h = evn_hash_str(h, list->items[i]);
	return h;
}

/* All that the records depend on, apart from the model, the input and the seed. Devices and shares are not among it:
 * a run may be continued on others. */
static uint64_t hash_settings(const settings *s, const talk *t)
{
	uint64_t h = evn_hash_str(EVN_HASH_START, "evener batch");
	const double numbers[] = {s->temp, s->top_p, s->min_p, s->repeat_penalty};
	const int64_t counts[] = {s->top_k,   s->repeat_last_n, s->n_answer, s->cut,      s->piece_tokens,  s->raw,
							  s->context, s->activations,   s->kv_cache, s->messages, s->system != NULL};
	h = evn_hash(h, numbers, sizeof numbers);
	h = evn_hash(h, counts, sizeof counts);
	h = evn_hash_str(h, s->template_text ? s->template_text : "");
	h = evn_hash_str(h, s->system ? s->system : "");
	h = evn_hash_str(h, t->template_text ? t->template_text : "");
	h = evn_hash_str(h, s->chat_variables ? s->chat_variables : "");
	return hash_texts(hash_texts(h, &s->labels), &s->stops);
}

static evn_status open_journal(batch *b, evn_error *err)
{
	const settings *s = b->settings;
	evn_random clock = {evn_now_ns() ^ (uint64_t)time(NULL) << 32};
	journal_head head = {
		.settings = hash_settings(s, &b->asking.talk) ^ b->form.hash,
		.input = evn_hash(EVN_HASH_START, b->input.data, b->input.bytes),
		.n_pieces = b->input.n,
		.seed = s->seed,
		.fresh_seed = (int64_t)(evn_random_bits(&clock) >> 12),
		.began = time(NULL),
	};
	EVN_TRY(evn_model_identity(b->model, &head.model, err));
	b->journal_path = evn_format("%s.part", s->output_path);
	if (!b->journal_path)
		return evn_fail_memory(err, "a path", 0);
	EVN_TRY(journal_open(&b->journal, b->journal_path, &head, s->restart, err));
	b->n_resumed = journal_count(b->journal);
	if (b->n_resumed > 0)
		console_note("resuming: %zu of %zu pieces are known from an unfinished run (%s)", b->n_resumed, b->input.n,
					 b->journal_path);
	else
		console_note("%s: %zu piece%s", b->input.name, b->input.n, b->input.n == 1 ? "" : "s");
	return EVN_OK;
}

/* ---- doing it -------------------------------------------------------------------------------------------------- */

static evn_status compute(batch *b, evn_error *err)
{
	evn_options o = settings_engine_options(b->settings);
	o.cache_tokens = (uint32_t)b->settings->cache_tokens;
	o.rebalance = b->settings->rebalance;
	workshop shop = {
		.settings = b->settings,
		.model = b->model,
		.grammar = b->form.grammar,
		.input = &b->input,
		.asking = &b->asking,
		.seed = journal_get_head(b->journal)->seed,
		.began = journal_get_head(b->journal)->began,
		.input_hash = journal_get_head(b->journal)->input,
	};
	evn_status status = evn_engine_open(&b->engine, b->model, &o, err);
	console_progress_end();
	if (status != EVN_OK)
		return status;
	interrupt_saves();
	trace tracing;
	double began = evn_now_s();
	status = trace_begin(&tracing, b->settings, b->engine, err);
	if (status == EVN_OK)
		status = run_pieces(&shop, b->engine, b->journal, &b->stats, err);
	b->seconds = evn_now_s() - began;
	return trace_end(&tracing, status, err);
}

/* ---- what was done --------------------------------------------------------------------------------------------- */

static void note_stats(const batch *b)
{
	const evn_scheduler_stats *s = &b->stats;
	size_t n = b->input.n - b->n_resumed;
	char pace[64] = "";
	if (s->tokens > 0)
		snprintf(pace, sizeof pace, ", %.1f tokens/s in answers", per_second((double)s->tokens, b->seconds));
	if (b->engine)
		console_note("%zu piece%s in %.1f s%s; prompts %llu tokens, %llu more from the cache; %.1f rows a step", n,
					 n == 1 ? "" : "s", b->seconds, pace, (unsigned long long)s->prompt_tokens,
					 (unsigned long long)s->cached_tokens, s->steps ? (double)s->rows / (double)s->steps : 0);
	if (b->engine)
		ranks_note(evn_engine_plan(b->engine), s->ranks);
}

static evn_status print_summary(const batch *b, bool finished, evn_error *err)
{
	const evn_scheduler_stats *s = &b->stats;
	json_t *ranks = b->engine ? ranks_json(evn_engine_plan(b->engine), s->ranks) : json_array();
	return json_print(json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "finish",
								finished ? "done" : "interrupted", "output", json_text(b->settings->output_path),
								"pieces", (json_int_t)b->input.n, "resumed", (json_int_t)b->n_resumed, "done",
								(json_int_t)journal_count(b->journal), "failed", (json_int_t)b->failures.n_failed,
								"prompt_tokens", (json_int_t)s->prompt_tokens, "cached_tokens",
								(json_int_t)s->cached_tokens, "tokens", (json_int_t)s->tokens, "tok_s",
								json_number(per_second((double)s->tokens, b->seconds)), "rows_per_step",
								json_number(s->steps ? (double)s->rows / (double)s->steps : (double)NAN), "seconds",
								json_number(b->seconds), "ranks", ranks),
					  err);
}

/* Writes the output; only then are the finished pieces not needed any more. */
static evn_status finish(batch *b, evn_error *err)
{
	EVN_TRY(output_write(b->settings->output_path, &b->input, b->journal, &b->failures, err));
	note_stats(b);
	if (b->settings->json)
		EVN_TRY(print_summary(b, true, err));
	journal_remove(b->journal);
	b->journal = NULL;
	if (b->failures.n_failed == 0)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_UNSUPPORTED, "%zu of %zu pieces failed; the first is piece %zu (%s, line %zu): %s",
					b->failures.n_failed, b->input.n, b->failures.first, b->input.name,
					input_line(&b->input, b->failures.first), b->failures.why);
}

evn_status cmd_batch(const invocation *in, evn_error *err)
{
	batch b = {.settings = &in->settings};
	evn_status status = read_work(&b, err);
	if (status == EVN_OK)
		status = open_journal(&b, err);
	if (status == EVN_OK && b.n_resumed < b.input.n)
		status = compute(&b, err);
	if (status == EVN_OK)
		status = finish(&b, err);
	else if (status == EVN_ERR_CANCELLED && interrupted() && b.settings->json && b.journal)
		print_summary(&b, false, NULL);
	journal_close(b.journal);
	evn_engine_close(b.engine);
	form_close(&b.form);
	input_free(&b.input);
	template_free(&b.asking.template);
	talk_close(&b.asking.talk);
	evn_model_close(b.model);
	free(b.journal_path);
	return status;
}
