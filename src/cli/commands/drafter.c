#include "cli/commands/drafter.h"

evn_status drafter_open(drafter *d, const settings *s, const evn_model *of, evn_error *err)
{
	*d = (drafter){0};
	if (!s->draft_path || s->speculate == EVN_SPECULATE_LOOKUP || s->speculate == EVN_SPECULATE_OFF)
		return EVN_OK;
	const evn_status status = evn_model_open(&d->model, s->draft_path, err);
	return status == EVN_OK ? evn_model_check_draft(d->model, of, err) : status;
}

evn_status drafter_load(drafter *d, evn_engine *of, const evn_options *o, evn_error *err)
{
	return d->model ? evn_engine_open_draft(&d->engine, d->model, of, o, err) : EVN_OK;
}

void drafter_close(drafter *d)
{
	evn_engine_close(d->engine);
	evn_model_close(d->model);
	*d = (drafter){0};
}
