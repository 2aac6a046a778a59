/* loaded.c - see loaded.h. */
#include "cli/commands/loaded.h"
#include "base/base.h"
#include "cli/commands/prompt.h"
#include "cli/show/console.h"

#include <stdlib.h>

evn_status loaded_open(loaded *l, const settings *s, evn_error *err)
{
	evn_options o = settings_engine_options(s);
	*l = (loaded){0};
	evn_status status = settings_open_model(s, &l->model, err);
	if (status != EVN_OK)
		return status;
	l->info = evn_model_get_info(l->model);
	status = evn_engine_open(&l->engine, l->model, &o, err);
	if (status == EVN_OK)
		status = evn_session_create(&l->session, l->engine, err);
	console_progress_end();
	return status;
}

void loaded_close(loaded *l)
{
	evn_session_free(l->session);
	evn_engine_close(l->engine);
	evn_model_close(l->model);
	*l = (loaded){0};
}

evn_status loaded_prompt_ids(const loaded *l, const settings *s, int32_t **ids, size_t *n, evn_error *err)
{
	char *text = NULL;
	size_t bytes = 0;
	evn_status status = prompt_read(s, true, &text, &bytes, err);
	if (status == EVN_OK)
		status = evn_tokenize(l->model, text, bytes, true, true, ids, n, err);
	free(text);
	if (status == EVN_OK && *n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "the prompt is empty, and this model does not begin texts with a token");
	return status;
}

evn_status loaded_check_fits(const loaded *l, size_t n_ids, evn_error *err)
{
	uint32_t context = evn_engine_context(l->engine);
	if (n_ids <= context)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_LIMIT, "%zu tokens do not fit into the context of %u (-c)", n_ids, context);
}
