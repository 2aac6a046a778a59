/* loaded.c - see loaded.h. */
#include "cli/commands/loaded.h"
#include "base/base.h"
#include "cli/commands/prompt.h"
#include "cli/show/console.h"
#include "cli/show/text.h"

#include <stdlib.h>
#include <string.h>

static evn_status open_model(loaded *l, const settings *s, evn_error *err)
{
	*l = (loaded){.began_s = evn_now_s()};
	evn_status status = settings_open_model(s, &l->model, err);
	if (status == EVN_OK)
		l->info = evn_model_get_info(l->model);
	return status == EVN_OK ? drafter_open(&l->drafter, s, l->model, err) : status;
}

static evn_status open_engine(loaded *l, const settings *s, evn_error *err)
{
	evn_scheduler_options scheduling = {.speculate = (evn_speculate)s->speculate};
	evn_options o = settings_engine_options(s);
	o.rebalance = s->rebalance;
	evn_status status = evn_engine_open(&l->engine, l->model, &o, err);
	if (status == EVN_OK)
		status = trace_begin(&l->trace, s, l->engine, err);
	if (status == EVN_OK)
		status = drafter_load(&l->drafter, l->engine, &o, err);
	scheduling.draft = l->drafter.engine;
	if (status == EVN_OK)
		status = evn_scheduler_create(&l->scheduler, l->engine, &scheduling, err);
	console_progress_end();
	l->load_s = evn_now_s() - l->began_s;
	return status;
}

evn_status loaded_open(loaded *l, const settings *s, evn_error *err)
{
	evn_status status = open_model(l, s, err);
	return status == EVN_OK ? open_engine(l, s, err) : status;
}

static evn_status check_fits(size_t n_ids, uint32_t context, evn_error *err)
{
	if (n_ids <= context)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_LIMIT, "%zu tokens do not fit into the context of %u (-c)", n_ids, context);
}

/* The ids of a conversation with one message of the user. */
static evn_status ask(const loaded *l, const settings *s, const char *text, size_t bytes, talk_prompt *out,
					  evn_error *err)
{
	talk t;
	json_t *messages = json_array();
	evn_status status = talk_open(&t, s, err);
	if (status == EVN_OK && s->chat_system)
		status = talk_add(messages, "system", s->chat_system, strlen(s->chat_system), err);
	if (status == EVN_OK)
		status = talk_add(messages, "user", text, bytes, err);
	if (status == EVN_OK)
		status = talk_make_prompt(out, &t, l->model, messages, err);
	json_decref(messages);
	talk_close(&t);
	return status;
}

static evn_status make_ids(const loaded *l, const settings *s, const char *text, size_t bytes, talk_prompt *out,
						   evn_error *err)
{
	evn_status status = s->chat ? ask(l, s, text, bytes, out, err)
								: evn_tokenize(l->model, text, bytes, true, true, &out->ids, &out->n, err);
	if (status != EVN_OK)
		return status;
	if (out->n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "the prompt is empty, and this model does not begin texts with a token%s",
						s->prompt || s->prompt_file ? "" : "; give -p TEXT, -f FILE or pipe one in");
	uint32_t context = s->context ? (uint32_t)s->context : l->info.n_ctx_train;
	return context ? check_fits(out->n, context, err) : EVN_OK; /* 0: a model that no engine runs */
}

evn_status loaded_open_with_prompt(loaded *l, const settings *s, talk_prompt *out, evn_error *err)
{
	char *text = NULL;
	size_t bytes = 0;
	*out = (talk_prompt){0};
	evn_status status = prompt_read(s, true, &text, &bytes, err);
	if (status == EVN_OK)
		status = open_model(l, s, err);
	if (status == EVN_OK)
		status = make_ids(l, s, text, bytes, out, err);
	if (status == EVN_OK)
		status = form_open(&l->form, l->model, s, err);
	free(text);
	return status == EVN_OK ? open_engine(l, s, err) : status;
}

evn_status loaded_close(loaded *l, evn_status status, evn_error *err)
{
	evn_scheduler_free(l->scheduler);
	drafter_close(&l->drafter);
	status = trace_end(&l->trace, status, err);
	evn_engine_close(l->engine);
	form_close(&l->form);
	evn_model_close(l->model);
	*l = (loaded){0};
	return status;
}

evn_status loaded_check_fits(const loaded *l, size_t n_ids, evn_error *err)
{
	return check_fits(n_ids, evn_engine_context(l->engine), err);
}
