/* input.h - what a batch works on: a text cut into pieces, or a file of JSON objects, one a line, each of them a
 * piece. Objects have fields that the template names, or are requests in OpenAI's batch format. */
#ifndef EVN_CLI_INPUT_H
#define EVN_CLI_INPUT_H

#include "cli/batch/cut.h"
#include "cli/config/settings.h"
#include <jansson.h>

typedef enum { INPUT_TEXT, INPUT_OBJECTS, INPUT_OPENAI } input_format;

typedef struct {
	const char *name; /* for messages */
	input_format format;
	char *data;
	size_t bytes;
	text_range *pieces; /* of data */
	size_t n;
	size_t *order; /* (n) the pieces with the lowest `priority` first, else as they come */
} batch_input;

/* Reads the file of s, or standard input as a text. .jsonl: objects; a line that is none is an error here. Without a
 * piece it is an error too. Free *in even if this fails. */
evn_status input_read(batch_input *in, const settings *s, const evn_model *m, evn_error *err);
void input_free(batch_input *in);

/* The fields of a piece: its object, or {"text": ...}. The caller owns it. NULL: out of memory. */
json_t *input_fields(const batch_input *in, size_t piece);
int32_t input_priority(const json_t *fields);           /* as in vLLM: lower ones first; 0 unless it says so */
size_t input_line(const batch_input *in, size_t piece); /* in which the piece begins, from 1 */

#endif
