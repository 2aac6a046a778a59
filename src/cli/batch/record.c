/* record.c - what is written about a piece that is done: its answer, the likelihoods of its labels, or why it failed.
 */
#include "base/base.h"
#include "cli/batch/openai.h"
#include "cli/batch/units.h"
#include "cli/show/json.h"

#include <math.h>
#include <string.h>

char *job_dump(json_t *record)
{
	char *text = record ? json_dumps(record, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
	json_decref(record);
	return text;
}

bool job_part_stopped(const job_part *p) { return p->stopped || p->result.end == EVN_END_STOP; }

/* {"index", "custom_id", "input"} and what is in `more`, which it owns. */
static char *write_record(const job *j, json_t *more)
{
	json_t *id = json_object_get(j->fields, "custom_id");
	json_t *record =
		more ? json_pack("{s:I, s:O*, s:O}", "index", (json_int_t)j->piece, "custom_id", id, "input", j->fields)
			 : NULL;
	bool ok = record && json_object_update(record, more) == 0;
	json_decref(more);
	if (ok)
		return job_dump(record);
	json_decref(record);
	return NULL;
}

static char *answer_record(const job *j)
{
	const job_part *p = &j->parts[0];
	json_t *reasoning = p->reasoning.n ? json_bytes(p->reasoning.data, p->reasoning.n) : NULL;
	return write_record(j, json_pack("{s:o, s:o*, s:s, s:I, s:I}", "answer",
									 json_bytes(p->content.n ? p->content.data : "", p->content.n), "reasoning",
									 reasoning, "finish", job_part_stopped(p) ? "stop" : "length", "prompt_tokens",
									 (json_int_t)p->result.n_prompt, "tokens", (json_int_t)p->result.n_tokens));
}

/* A label as a name: where it continues a text it may begin with a space. */
static json_t *label_json(const char *label)
{
	size_t n = strlen(label), begin = skip_space(label, n, 0);
	while (n > begin && strchr(" \t\n", label[n - 1]))
		n--;
	return json_bytes(label + begin, n - begin);
}

/* The probability of a label is its likelihood divided by the sum over all labels. */
static char *label_record(const job *j)
{
	const repeated_text *labels = &j->shop->settings->labels;
	size_t best = 0;
	double sum = 0;
	for (size_t i = 1; i < j->n_parts; i++)
		best = j->parts[i].logprob > j->parts[best].logprob ? i : best;
	for (size_t i = 0; i < j->n_parts; i++)
		sum += exp(j->parts[i].logprob - j->parts[best].logprob);
	json_t *list = json_array();
	for (size_t i = 0; i < j->n_parts; i++) {
		const job_part *p = &j->parts[i];
		json_push(&list, json_pack("{s:o, s:o, s:o, s:o, s:I}", "label", label_json(labels->items[i]), "probability",
								   json_number(exp(p->logprob - j->parts[best].logprob) / sum), "logprob_sum",
								   json_number(p->logprob), "logprob_mean",
								   json_number(p->logprob / (double)p->n_scored), "tokens", (json_int_t)p->n_scored));
	}
	return write_record(j, json_pack("{s:o, s:o, s:I}", "answer", label_json(labels->items[best]), "labels", list,
									 "prompt_tokens", (json_int_t)j->question.prompt.n));
}

char *job_failure(const job *j, const evn_error *why)
{
	if (j->openai)
		return openai_failure(j, why);
	return write_record(
		j, json_pack("{s:{s:o, s:s}}", "error", "message", json_text(why->text), "type", evn_status_name(why->code)));
}

evn_status job_record(const job *j, char **record, evn_error *err)
{
	*record = NULL;
	for (size_t i = 0; i < j->n_parts; i++) {
		const job_part *p = &j->parts[i];
		if (p->no_memory)
			return evn_fail_memory(err, "an answer", 0);
		if (p->result.end == EVN_END_CANCELLED)
			return evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
		if (p->result.end != EVN_END_FAILED)
			continue;
		if (!job_is_piece_fault(p->result.error.code))
			return evn_fail(err, p->result.error.code, "%s", p->result.error.text);
		*record = job_failure(j, &p->result.error);
		return *record ? EVN_OK : evn_fail_memory(err, "a record", 0);
	}
	*record = j->openai ? openai_record(j) : j->shop->settings->labels.n ? label_record(j) : answer_record(j);
	return *record ? EVN_OK : evn_fail_memory(err, "a record", 0);
}
