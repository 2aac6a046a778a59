/* ask.h - the prompt of a piece: its fields fill the template, which becomes a message to the model or, raw, the text
 * that it continues. */
#ifndef EVN_CLI_ASK_H
#define EVN_CLI_ASK_H

#include "cli/batch/fill.h"
#include "cli/chat/talk.h"

typedef struct {
	const evn_model *model;
	text_template template;
	talk talk;
	const char *system; /* NULL: no system message */
	bool raw;
} asking;

typedef struct {
	talk_prompt prompt;
	filled_text filled;
} question;

/* Free *q even if this fails. */
evn_status ask(question *q, const asking *a, const json_t *fields, evn_error *err);
void question_free(question *q);

/* The ids of the prompt with the label behind it, malloc'd; those from *from on are the label's. */
evn_status ask_label(int32_t **ids, size_t *n_ids, size_t *from, const asking *a, const question *q,
					 const char *label, evn_error *err);

#endif
