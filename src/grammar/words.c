/* words.c - see words.h. */
#include "grammar/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static int compare(const void *a, const void *b, void *user)
{
	const evn_word *words = user, *x = &words[*(const int32_t *)a], *y = &words[*(const int32_t *)b];
	const int c = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
	if (c != 0 || x->n != y->n)
		return c != 0 ? c : x->n < y->n ? -1 : 1;
	return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

/* Whole characters, none of which JSON would have escaped. */
static bool is_plain(const evn_word *w)
{
	uint32_t at = 0, characters = 0;
	for (size_t whole; at < w->n; characters++) {
		const uint8_t first = (uint8_t)w->bytes[at];
		const size_t n = evn_utf8_prefix(w->bytes + at, w->n - at, &whole);
		if (!n || n < whole || first < 0x20 || first == '"' || first == '\\' || first == 0x7f)
			return false;
		at += (uint32_t)n;
	}
	return characters <= EVN_PLAIN_CHARACTERS;
}

static evn_tree_node *add_node(evn_tree *t)
{
	if (t->n_nodes == t->room) {
		const size_t room = t->room ? 2 * t->room : 1024;
		evn_tree_node *nodes = realloc(t->nodes, room * sizeof *nodes);
		if (!nodes)
			return NULL;
		t->nodes = nodes;
		t->room = room;
	}
	return &t->nodes[t->n_nodes++];
}

/* Closes the open nodes deeper than `depth`. open[d] is the node of depth d + 1. */
static void close_nodes(evn_tree *t, const uint32_t *open, uint32_t from, uint32_t depth)
{
	for (uint32_t d = depth; d < from; d++)
		t->nodes[open[d]].behind = (uint32_t)t->n_nodes;
}

static bool fill_tree(evn_words *w, evn_tree *t, const evn_word *words, uint32_t n_sorted, bool plain, uint32_t *open)
{
	const evn_word *last = NULL;
	uint32_t depth = 0;
	for (uint32_t i = 0; i < n_sorted; i++) {
		const evn_word *word = &words[w->ids[i]];
		uint32_t common = 0;
		if ((w->is_plain[w->ids[i]] != 0) != plain)
			continue;
		while (last && common < last->n && common < word->n && last->bytes[common] == word->bytes[common])
			common++;
		close_nodes(t, open, depth, common);
		for (depth = common; depth < word->n; depth++) {
			evn_tree_node *node = add_node(t);
			if (!node)
				return false;
			*node =
				(evn_tree_node){.byte = (uint8_t)word->bytes[depth], .depth = (uint16_t)(depth + 1), .first_id = i};
			open[depth] = (uint32_t)t->n_nodes - 1;
		}
		evn_tree_node *node = &t->nodes[open[word->n - 1]];
		node->first_id = node->n_ids ? node->first_id : i;
		node->n_ids++;
		t->max_depth = word->n > t->max_depth ? word->n : t->max_depth;
		last = word;
	}
	close_nodes(t, open, depth, 0);
	return true;
}

static bool fill(evn_words *w, const evn_word *words)
{
	uint32_t n_sorted = 0, longest = 1;
	for (uint32_t id = 0; id < w->n; id++) {
		if (words[id].ends)
			w->ends[w->n_ends++] = (int32_t)id;
		if (words[id].ends || !words[id].n || words[id].n > UINT16_MAX)
			continue;
		w->ids[n_sorted++] = (int32_t)id;
		longest = words[id].n > longest ? words[id].n : longest;
		w->is_plain[id] = is_plain(&words[id]);
		if (w->is_plain[id])
			w->plain_mask[id / 64] |= (uint64_t)1 << id % 64;
	}
	uint32_t *open = malloc(longest * sizeof *open);
	if (!open)
		return false;
	if (n_sorted)
		qsort_r(w->ids, n_sorted, sizeof *w->ids, compare, (void *)(uintptr_t)words);
	const bool ok =
		fill_tree(w, &w->plain, words, n_sorted, true, open) && fill_tree(w, &w->other, words, n_sorted, false, open);
	free(open);
	return ok;
}

static bool copy_text(evn_words *w, const evn_word *words)
{
	uint64_t n = 0;
	for (uint32_t id = 0; id < w->n; id++)
		n += words[id].n;
	w->at = malloc((w->n + 1) * sizeof *w->at);
	w->text = n < UINT32_MAX ? malloc(n + 1) : NULL;
	if (!w->at || !w->text)
		return false;
	w->at[0] = 0;
	for (uint32_t id = 0; id < w->n; id++) {
		if (words[id].n)
			memcpy(w->text + w->at[id], words[id].bytes, words[id].n);
		w->at[id + 1] = w->at[id] + words[id].n;
	}
	return true;
}

evn_status evn_words_create(evn_words **out, const evn_word *words, uint32_t n, evn_error *err)
{
	evn_words *w = calloc(1, sizeof *w);
	*out = NULL;
	if (!w)
		return evn_fail_memory(err, "vocabulary", sizeof *w);
	w->n = n;
	w->n_mask = n / 64 + 1;
	w->ids = malloc((n + 1) * sizeof *w->ids);
	w->ends = malloc((n + 1) * sizeof *w->ends);
	w->is_plain = calloc(n + 1, 1);
	w->plain_mask = calloc(w->n_mask, sizeof *w->plain_mask);
	if (!w->ids || !w->ends || !w->is_plain || !w->plain_mask || !copy_text(w, words) || !fill(w, words)) {
		evn_words_free(w);
		return evn_fail_memory(err, "vocabulary", n * sizeof *w->ids);
	}
	*out = w;
	return EVN_OK;
}

void evn_words_free(evn_words *w)
{
	if (!w)
		return;
	free(w->plain.nodes);
	free(w->other.nodes);
	free(w->ids);
	free(w->ends);
	free(w->is_plain);
	free(w->plain_mask);
	free(w->text);
	free(w->at);
	free(w);
}
