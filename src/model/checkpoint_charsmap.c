/* checkpoint_charsmap.c - the table of characters of a Unigram tokenizer, which tokenizer.json has in base64 (RFC
 * 4648). */
#include "model/checkpoint_parts.h"

#include <stdlib.h>
#include <string.h>

/* The value of a digit; -1: none. */
static int digit_of(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* *n = the bytes. False if the text is no base64. */
static bool decode(const char *text, size_t length, uint8_t *out, size_t *n)
{
	uint32_t bits = 0, n_bits = 0;
	*n = 0;
	while (length && text[length - 1] == '=')
		length--;
	for (size_t i = 0; i < length; i++) {
		const int digit = digit_of(text[i]);
		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		out[(*n)++] = (uint8_t)(bits >> n_bits);
	}
	return true;
}

evn_status evn_checkpoint_charsmap(const evn_checkpoint *c, const json_t *map)
{
	const char *text = json_string_value(map);
	const size_t length = json_string_length(map);
	size_t n;
	if (!length)
		return EVN_OK;
	uint8_t *bytes = malloc(length);
	if (!bytes)
		return evn_fail_memory(c->err, c->folder, length);
	const bool ok = decode(text, length, bytes, &n);
	if (ok)
		evn_gguf_put_value(c->w, &(evn_gguf_value){.key = {"tokenizer.ggml.precompiled_charsmap", 35},
												   .type = EVN_GGUF_ARRAY,
												   .element = EVN_GGUF_U8,
												   .count = n,
												   .data = bytes});
	free(bytes);
	return ok ? EVN_OK
			  : evn_fail(c->err, EVN_ERR_FORMAT, "%s/tokenizer.json: \"precompiled_charsmap\" is no base64",
						 c->folder);
}
