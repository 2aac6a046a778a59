/* step_rows.c - the rows of a scheduler's step: which ids they have, and which of their logits are wanted. */
#include <stdlib.h>
#include <string.h>

#include "engine/scheduler.h"
#include "nn/top.h"

evn_status evn_step_rows_make(evn_step_rows *r, const evn_engine *e, evn_error *err)
{
	const uint32_t n = e->prepared.limits.n_batch;
	r->stride = e->embedding.stride;
	r->x = calloc((uint64_t)n * r->stride, sizeof *r->x);
	r->scratch = malloc(r->stride * sizeof *r->scratch);
	r->spans = malloc(n * sizeof *r->spans);
	r->out_rows = malloc(n * sizeof *r->out_rows);
	r->outputs = malloc(n * sizeof *r->outputs);
	return r->x && r->scratch && r->spans && r->out_rows && r->outputs
			   ? EVN_OK
			   : evn_fail_memory(err, "scheduler", (uint64_t)n * r->stride * sizeof *r->x);
}

void evn_step_rows_free(evn_step_rows *r)
{
	free(r->x);
	free(r->scratch);
	free(r->spans);
	free(r->out_rows);
	free(r->outputs);
	free(r->out);
}

static evn_phase phase_of(const evn_job *j)
{
	return evn_job_in_prompt(j) && j->n_prompt > 1 ? EVN_PROMPT : EVN_DECODE;
}

/* Appends the job's rows to the batch: a piece of a prompt is one span, a decoded row is a span of its own. */
static evn_status add_rows(evn_step_rows *rows, const evn_engine *e, evn_job *j, evn_batch *b, evn_error *err)
{
	const evn_phase phase = phase_of(j);
	const uint32_t n_spans = phase == EVN_PROMPT ? 1 : j->n_next;
	EVN_TRY(evn_embed(&e->embedding, j->ids + j->n_done, j->n_next, j->n_done,
					  rows->x + (uint64_t)b->n_rows * rows->stride, rows->stride, rows->scratch, err));
	for (uint32_t i = 0; i < n_spans; i++) {
		const uint32_t n = phase == EVN_PROMPT ? j->n_next : 1;
		rows->spans[b->n_spans++] = (evn_span){
			.slot = &j->slot, .first_row = b->n_rows, .n_rows = n, .position = j->n_done + i, .phase = phase};
		b->n_rows += n;
	}
	for (uint32_t i = 0; i < j->n_next; i++)
		if (evn_request_wants(evn_request_of(j), j->n_done + i)) {
			rows->outputs[b->n_out] = (evn_output_row){evn_request_of(j), j->n_done + i};
			rows->out_rows[b->n_out++] = b->n_rows - j->n_next + i;
		}
	return EVN_OK;
}

static evn_status make_room_for_logits(evn_step_rows *r, uint64_t bytes, evn_error *err)
{
	if (bytes <= r->out_bytes)
		return EVN_OK;
	free(r->out);
	r->out = malloc(bytes);
	r->out_bytes = r->out ? bytes : 0;
	return r->out ? EVN_OK : evn_fail_memory(err, "logits", bytes);
}

/* Devices with their own memory send no more than the largest logits, if they suffice for all rows of the step. */
static evn_status choose_output(evn_step_rows *r, const evn_engine *e, evn_batch *b, evn_error *err)
{
	const uint32_t vocab = evn_model_hparams(e->model)->vocab;
	uint32_t least = EVN_TOP_MOST, most = 0;
	for (uint32_t i = 0; i < b->n_out; i++) {
		const uint32_t n = evn_request_needs(r->outputs[i].request, r->outputs[i].position);
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	if (!e->finds_top || !least || !most) {
		EVN_TRY(make_room_for_logits(r, (uint64_t)b->n_out * vocab * sizeof(float), err));
		b->out = r->out;
		return EVN_OK;
	}
	b->output = EVN_OUT_TOP;
	b->n_top = most;
	b->n_lists = evn_top_lists(vocab, e->n_ranks);
	const uint64_t bytes = (uint64_t)b->n_out * b->n_lists * b->n_top * sizeof(uint64_t);
	EVN_TRY(make_room_for_logits(r, bytes, err));
	b->top = memset(r->out, 0xff, bytes); /* EVN_TOP_NONE */
	return EVN_OK;
}

evn_status evn_step_rows_fill(evn_step_rows *r, evn_engine *e, const evn_schedule *s, evn_batch *b, evn_error *err)
{
	*b = (evn_batch){.spans = r->spans, .x = r->x, .out_rows = r->out_rows};
	for (evn_phase phase = EVN_PROMPT;; phase = EVN_DECODE) { /* all prompts come first */
		for (evn_job *j = s->jobs; j; j = j->next)
			if (j->n_next && phase_of(j) == phase)
				EVN_TRY(add_rows(r, e, j, b, err));
		if (phase == EVN_DECODE)
			break;
	}
	return choose_output(r, e, b, err);
}
