/* form.c - see form.h. */
#include "cli/commands/form.h"
#include "base/base.h"
#include "cli/show/text.h"

#include <stdlib.h>

#define GRAMMAR_MAX_BYTES (4u << 20)

evn_status form_open(answer_form *f, const evn_model *m, const settings *s, evn_error *err)
{
	const char *path = s->schema_file ? s->schema_file : s->grammar_file;
	char *text = NULL;
	size_t bytes;
	*f = (answer_form){0};
	if (!path)
		return EVN_OK;
	if (s->schema_file && s->grammar_file)
		return evn_fail(err, EVN_ERR_USAGE, "--schema and --grammar: expected one of them, found both");
	evn_status status = text_read(&text, &bytes, path, GRAMMAR_MAX_BYTES, err);
	if (status == EVN_OK) {
		f->hash = evn_hash(evn_hash_str(EVN_HASH_START, s->schema_file ? "schema" : "grammar"), text, bytes);
		status = evn_vocabulary_create(&f->vocabulary, m, err);
	}
	if (status == EVN_OK) {
		status = evn_grammar_create(&f->grammar, f->vocabulary,
									s->schema_file ? EVN_GRAMMAR_JSON_SCHEMA : EVN_GRAMMAR_GBNF, text, bytes, err);
		if (status != EVN_OK)
			evn_fail_within(err, "%s", path);
	}
	free(text);
	return status;
}

void form_close(answer_form *f)
{
	evn_grammar_free(f->grammar);
	evn_vocabulary_free(f->vocabulary);
	*f = (answer_form){0};
}
