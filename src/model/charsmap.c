#include "model/charsmap.h"

#include <inttypes.h>
#include <string.h>

#include "base/utf8.h"

#define KEY "tokenizer.ggml.precompiled_charsmap"

static evn_status check(const evn_gguf *g, const evn_gguf_value *v, evn_error *err)
{
	if (v->type == EVN_GGUF_ARRAY && (v->element == EVN_GGUF_U8 || v->element == EVN_GGUF_I8))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"" KEY "\" is no array of bytes", evn_gguf_name(g));
}

evn_status evn_charsmap_load(evn_charsmap *m, const evn_gguf *g, evn_error *err)
{
	const evn_gguf_value *v = evn_gguf_find(g, KEY);
	*m = (evn_charsmap){0};
	if (!v)
		return EVN_OK;
	EVN_TRY(check(g, v, err));
	if (v->count == 0)
		return EVN_OK;
	const uint64_t trie = v->count < 4 ? UINT64_MAX : evn_load_le(v->data, 4);
	if (trie > v->count - 4 || trie % 4 || !trie)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: \"" KEY "\" has %" PRIu64 " bytes, expected a trie of whole words and texts",
						evn_gguf_name(g), v->count);
	const char *texts = (const char *)v->data + 4 + trie;
	const size_t n_texts = (size_t)(v->count - 4 - trie);
	if (n_texts == 0 || texts[n_texts - 1] != '\0')
		return evn_fail(err, EVN_ERR_FORMAT, "%s: the last text of \"" KEY "\" has no end", evn_gguf_name(g));
	*m = (evn_charsmap){.units = v->data + 4, .n_units = (uint32_t)(trie / 4), .texts = texts, .n_texts = n_texts};
	return EVN_OK;
}

/* A unit of the trie. Bits 0-7 and 31: the byte that leads here (with bit 31 it is a value). Bit 8: it has a value.
 * Bits 10-30: how far its children are, times 256 if bit 9 is set. */
static uint32_t unit_at(const evn_charsmap *m, uint32_t at)
{
	return (uint32_t)evn_load_le(m->units + 4 * (size_t)at, 4);
}

static uint32_t children_of(uint32_t at, uint32_t unit) { return at ^ (unit >> 10) << ((unit & 1u << 9) >> 6); }

/* The longest beginning of the text in the trie: its length, and in *value the place of its text. */
static size_t find_longest(const evn_charsmap *m, const char *text, size_t n, uint32_t *value)
{
	size_t longest = 0;
	uint32_t at = m->n_units ? children_of(0, unit_at(m, 0)) : 0;
	for (size_t i = 0; i < n && m->n_units; i++) {
		at ^= (uint8_t)text[i];
		if (at >= m->n_units)
			break;
		const uint32_t unit = unit_at(m, at);
		if ((unit & (1u << 31 | 0xff)) != (uint8_t)text[i])
			break;
		at = children_of(at, unit);
		if (!(unit >> 8 & 1))
			continue;
		const uint32_t place = at < m->n_units ? unit_at(m, at) & ~(1u << 31) : UINT32_MAX;
		if (place >= m->n_texts)
			break;
		longest = i + 1;
		*value = place;
	}
	return longest;
}

evn_str evn_charsmap_replace(const evn_charsmap *m, const char *text, size_t n, size_t *taken)
{
	uint32_t place = 0;
	size_t whole;
	*taken = find_longest(m, text, n, &place);
	if (*taken)
		return (evn_str){m->texts + place, strlen(m->texts + place)};
	*taken = evn_utf8_prefix(text, n, &whole);
	if (*taken && *taken == whole)
		return (evn_str){text, whole};
	*taken = 1;
	return (evn_str){"\xef\xbf\xbd", 3};
}
