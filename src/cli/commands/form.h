/* form.h - the form of answers that --schema or --grammar asks for. */
#ifndef EVN_CLI_FORM_H
#define EVN_CLI_FORM_H

#include "cli/config/settings.h"
#include "evener/grammar.h"

typedef struct {
	evn_vocabulary *vocabulary;
	evn_grammar *grammar; /* NULL: any text */
	uint64_t hash;        /* of the file's text; 0: any text */
} answer_form;

evn_status form_open(answer_form *f, const evn_model *m, const settings *s, evn_error *err);
void form_close(answer_form *f); /* also if opening failed */

#endif
