/* openai.h - OpenAI's batch format: a line asks for one completion or chat, with the fields that the server knows;
 * its record is what the server would answer. */
#ifndef EVN_CLI_OPENAI_H
#define EVN_CLI_OPENAI_H

#include "cli/batch/job.h"
#include "serve/params.h"

struct openai_request {
	params_use use;
	params params; /* borrows from the fields of the piece */
	evn_grammar *grammar;
	problem problem; /* status 0: none */
};

/* Reads the body. False: r->problem says what is wrong. */
bool openai_read(openai_request *r, const job *j);
void openai_free(openai_request *r);
/* Submits the request's n choices; a choice is a part of the job. */
evn_status openai_submit(job *j, evn_error *err);

char *openai_record(const job *j);
char *openai_failure(const job *j, const evn_error *why);

#endif
