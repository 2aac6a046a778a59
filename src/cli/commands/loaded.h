/* loaded.h - a model on its devices, for commands that compute. */
#ifndef EVN_CLI_LOADED_H
#define EVN_CLI_LOADED_H

#include "cli/chat/talk.h"
#include "cli/commands/drafter.h"
#include "cli/commands/form.h"
#include "cli/show/trace.h"
#include "evener/requests.h"

typedef struct {
	evn_model *model;
	evn_model_info info;
	evn_engine *engine;
	drafter drafter;
	evn_scheduler *scheduler;
	trace trace; /* of --trace */
	answer_form form;
	double began_s, load_s; /* opening it; without the time that the prompt took to come */
} loaded;

evn_status loaded_open(loaded *l, const settings *s, evn_error *err); /* close it even if this fails */
/* Returns status, or what went wrong with the trace if that is EVN_OK. */
evn_status loaded_close(loaded *l, evn_status status, evn_error *err);
/* Also reads the prompt, and the grammar. What is wrong with them is found before a device is touched. Adds BOS where
 * the model asks for it, and parses special tokens; with --chat the text is a message instead. A prompt without ids
 * is an error. */
evn_status loaded_open_with_prompt(loaded *l, const settings *s, talk_prompt *out, evn_error *err);
evn_status loaded_check_fits(const loaded *l, size_t n_ids, evn_error *err); /* into the context */

#endif
