/* text.c - the tokenizer for users of the library, and the text stream that turns tokens into whole characters. */
#include "model/model.h"
#include "evener/score.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_BYTES 3

static evn_status get_tokenizer(const evn_tokenizer **out, const evn_model *m, evn_error *err)
{
	evn_error own = {0};
	evn_error *e = err ? err : &own;
	*out = evn_model_tokenizer(m, e);
	return *out ? EVN_OK : e->code;
}

evn_status evn_tokenize(const evn_model *m, const char *text, size_t text_bytes, bool add_special, bool parse_special,
						int32_t **ids, size_t *n_ids, evn_error *err)
{
	const evn_tokenizer *t;
	size_t n_lost;
	*ids = NULL;
	*n_ids = 0;
	EVN_TRY(get_tokenizer(&t, m, err));
	EVN_TRY(evn_tokenizer_encode(t, text, text_bytes, add_special, parse_special, ids, n_ids, &n_lost, err));
	if (n_lost > 0)
		evn_log(EVN_LOG_WARN, "%s: %zu bytes of the text have no token and are left out",
				evn_gguf_name(evn_model_gguf(m)), n_lost);
	return EVN_OK;
}

evn_status evn_detokenize(const evn_model *m, const int32_t *ids, size_t n_ids, bool unparse_special, char **text,
						  size_t *text_bytes, evn_error *err)
{
	const evn_tokenizer *t;
	*text = NULL;
	*text_bytes = 0;
	EVN_TRY(get_tokenizer(&t, m, err));
	return evn_tokenizer_decode(t, ids, n_ids, unparse_special, text, text_bytes, err);
}

/* ---- texts that the vocabulary must cover --------------------------------------------------------------------- */

/* The place where the text and the spelling of its tokens differ; text_bytes: they do not. */
static size_t first_difference(const char *text, size_t text_bytes, const char *spelled, size_t n)
{
	size_t at = 0, skip = n == text_bytes + 1 && *spelled == ' '; /* SentencePiece adds a space in front */
	while (at < text_bytes && at + skip < n && spelled[skip + at] == text[at])
		at++;
	return at;
}

static evn_status not_covered(const char *name, const char *text, size_t at, evn_error *err)
{
	size_t line = 1;
	for (size_t i = 0; i < at; i++)
		line += text[i] == '\n';
	return evn_fail(err, EVN_ERR_UNSUPPORTED,
					"%s: line %zu: the model's vocabulary has no token for byte 0x%02x at offset %zu", name, line,
					(unsigned char)text[at], at);
}

evn_status evn_tokenize_whole(const evn_model *m, const char *name, const char *text, size_t text_bytes,
							  int32_t **ids, size_t *n_ids, evn_error *err)
{
	const evn_tokenizer *t;
	char *spelled = NULL;
	size_t n, at = 0;
	*ids = NULL;
	*n_ids = 0;
	EVN_TRY(get_tokenizer(&t, m, err));
	EVN_TRY(evn_tokenizer_encode(t, text, text_bytes, false, false, ids, n_ids, NULL, err));
	evn_status status = evn_tokenizer_decode(t, *ids, *n_ids, true, &spelled, &n, err);
	if (status == EVN_OK)
		at = first_difference(text, text_bytes, spelled, n);
	if (status == EVN_OK && at < text_bytes)
		status = not_covered(name, text, at, err);
	free(spelled);
	if (status != EVN_OK) {
		free(*ids);
		*ids = NULL;
		*n_ids = 0;
	}
	return status;
}

/* ---- streams ------------------------------------------------------------------------------------------------- */

bool evn_token_ends_generation(const evn_model *m, int32_t id)
{
	const evn_tokenizer *t = evn_model_tokenizer(m, NULL);
	return t && evn_tokenizer_ends_generation(t, id);
}

struct evn_text_stream {
	const evn_tokenizer *tokenizer;
	char *bytes; /* bytes of an unfinished character, then of the current token */
	size_t n_bytes;
	char *text; /* the text that was returned last */
};

evn_status evn_text_stream_create(evn_text_stream **out, const evn_model *m, evn_error *err)
{
	const evn_tokenizer *t;
	*out = NULL;
	EVN_TRY(get_tokenizer(&t, m, err));
	size_t room = evn_tokenizer_max_bytes(t) + 3; /* an unfinished character has at most 3 bytes */
	evn_text_stream *s = calloc(1, sizeof *s);
	if (s) {
		s->tokenizer = t;
		s->bytes = malloc(room);
		s->text = malloc(REPLACEMENT_BYTES * room + 1);
	}
	if (!s || !s->bytes || !s->text) {
		evn_text_stream_free(s);
		return evn_fail_memory(err, "text stream", (REPLACEMENT_BYTES + 1) * room);
	}
	*out = s;
	return EVN_OK;
}

/* Moves whole characters from bytes to text. The beginning of a character at the end stays, unless `all`. Broken
 * bytes become U+FFFD, and so does NUL, which would end the string. */
static const char *whole_characters(evn_text_stream *s, bool all)
{
	size_t at = 0, n = 0, whole;
	while (at < s->n_bytes) {
		size_t length = evn_utf8_prefix(s->bytes + at, s->n_bytes - at, &whole);
		if (length < whole && at + length == s->n_bytes && !all)
			break;
		if (length == whole && length > 0 && s->bytes[at] != '\0') {
			memcpy(s->text + n, s->bytes + at, length);
			n += length;
		} else {
			memcpy(s->text + n, REPLACEMENT, REPLACEMENT_BYTES);
			n += REPLACEMENT_BYTES;
		}
		at += length > 0 ? length : 1;
	}
	s->text[n] = '\0';
	s->n_bytes -= at;
	memmove(s->bytes, s->bytes + at, s->n_bytes);
	return s->text;
}

const char *evn_text_stream_push(evn_text_stream *s, int32_t id)
{
	s->n_bytes += evn_tokenizer_spell(s->tokenizer, id, false, s->bytes + s->n_bytes);
	return whole_characters(s, false);
}

const char *evn_text_stream_flush(evn_text_stream *s) { return whole_characters(s, true); }

void evn_text_stream_free(evn_text_stream *s)
{
	if (!s)
		return;
	free(s->bytes);
	free(s->text);
	free(s);
}
