/* output.c - see output.h. */
#include "cli/batch/output.h"
#include "base/base.h"
#include "cli/batch/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool writes_records(const char *path)
{
	const char *dot = strrchr(path, '.');
	return dot && strcmp(dot, ".jsonl") == 0;
}

/* The record's error as a text, or NULL. OpenAI's are in the response. */
static const char *failure_of(const json_t *record)
{
	const json_t *body = json_object_get(json_object_get(record, "response"), "body");
	const json_t *error = json_object_get(json_is_object(body) ? body : record, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	return json_is_object(error) ? message ? message : "failed" : NULL;
}

static void note_failure(failures *f, size_t piece, const char *why)
{
	if (f->n_failed++ > 0)
		return;
	f->first = piece;
	snprintf(f->why, sizeof f->why, "%s", why);
}

/* The answer without white space around it: the text has its own there. */
static void write_answer(FILE *out, const json_t *record, size_t piece, const char *failure)
{
	if (failure) {
		fprintf(out, "[piece %zu failed: %s]", piece, failure);
		return;
	}
	const json_t *answer = json_object_get(record, "answer");
	const char *text = json_string_value(answer);
	size_t begin = 0, end = json_string_length(answer), length;
	if (!text)
		return;
	begin = skip_space(text, end, 0);
	for (size_t at = begin, last = begin; at < json_string_length(answer); at += length) {
		if (!is_space(character_at(text, json_string_length(answer), at, &length)))
			last = at + length;
		end = last;
	}
	if (end > begin)
		fwrite(text + begin, 1, end - begin, out);
}

/* What lies in front of the piece in the text; of objects a newline. */
static void write_gap(FILE *out, const batch_input *in, size_t piece)
{
	if (in->format == INPUT_TEXT) {
		size_t from = piece ? in->pieces[piece - 1].end : 0;
		fwrite(in->data + from, 1, in->pieces[piece].begin - from, out);
	} else if (piece) {
		fputc('\n', out);
	}
}

static evn_status write_piece(FILE *out, bool records, const batch_input *in, const journal *j, size_t piece,
							  failures *f, evn_error *err)
{
	char *text = NULL;
	size_t bytes = 0;
	EVN_TRY(journal_read(j, piece, &text, &bytes, err));
	json_t *record = json_loadb(text, bytes, 0, NULL);
	const char *failure = failure_of(record);
	if (failure)
		note_failure(f, piece, failure);
	if (records) {
		fwrite(text, 1, bytes, out);
		fputc('\n', out);
	} else {
		write_gap(out, in, piece);
		write_answer(out, record, piece, failure);
	}
	json_decref(record);
	free(text);
	return EVN_OK;
}

static evn_status write_all(FILE *out, bool records, const batch_input *in, const journal *j, failures *f,
							evn_error *err)
{
	for (size_t i = 0; i < in->n; i++)
		EVN_TRY(write_piece(out, records, in, j, i, f, err));
	if (records)
		return EVN_OK;
	size_t end = in->pieces[in->n - 1].end;
	if (in->format == INPUT_TEXT)
		fwrite(in->data + end, 1, in->bytes - end, out);
	else
		fputc('\n', out);
	return EVN_OK;
}

evn_status output_write(const char *path, const batch_input *in, const journal *j, failures *f, evn_error *err)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);
	*f = (failures){0};
	if (!out)
		return evn_fail_memory(err, path, 0);
	evn_status status = write_all(out, writes_records(path), in, j, f, err);
	bool written = !ferror(out);
	if ((fclose(out) != 0 || !written) && status == EVN_OK)
		status = evn_fail_memory(err, path, 0);
	if (status == EVN_OK)
		status = evn_write_file(path, text, bytes, err);
	free(text);
	return status;
}
