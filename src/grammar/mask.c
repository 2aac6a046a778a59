/* mask.c - see mask.h. A mask is found by a walk over the trees of words: the machine steps along, and where it dies
 * the subtree is left out. */
#include "grammar/mask.h"

#include <stdlib.h>
#include <string.h>

/* Where in a UTF-8 character: at its beginning, or what may come next. */
typedef enum { AT_BEGIN, ONE_LEFT, TWO_LEFT, THREE_LEFT, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, N_PARTS } part;

typedef struct {
	uint8_t byte, to;
} plain_step;

typedef struct {
	uint32_t config;
	part part;
} plain_pair;

enum { MAX_PAIRS = 128, MAX_STEPS = 256 };

struct evn_masker {
	evn_machine *machine;
	const evn_words *words;
	uint32_t *path; /* the configurations along the walk, by depth */
	/* For each part one byte of each class that may come there in a plain text. */
	plain_step steps[N_PARTS][MAX_STEPS];
	uint32_t n_steps[N_PARTS];
};

/* ---- plain text ------------------------------------------------------------------------------------------------ */

static void add_steps(evn_masker *k, part from, int lo, int hi, part to)
{
	const uint8_t *class_of = evn_machine_class_of(k->machine);
	for (int b = lo, last = -1; b <= hi; b++) {
		if (class_of[b] == last || (from == AT_BEGIN && (b == '"' || b == '\\')))
			continue;
		last = class_of[b];
		k->steps[from][k->n_steps[from]++] = (plain_step){(uint8_t)b, (uint8_t)to};
	}
}

static void make_steps(evn_masker *k)
{
	add_steps(k, AT_BEGIN, 0x20, 0x7e, AT_BEGIN);
	add_steps(k, AT_BEGIN, 0xc2, 0xdf, ONE_LEFT);
	add_steps(k, AT_BEGIN, 0xe0, 0xe0, AFTER_E0);
	add_steps(k, AT_BEGIN, 0xe1, 0xec, TWO_LEFT);
	add_steps(k, AT_BEGIN, 0xed, 0xed, AFTER_ED);
	add_steps(k, AT_BEGIN, 0xee, 0xef, TWO_LEFT);
	add_steps(k, AT_BEGIN, 0xf0, 0xf0, AFTER_F0);
	add_steps(k, AT_BEGIN, 0xf1, 0xf3, THREE_LEFT);
	add_steps(k, AT_BEGIN, 0xf4, 0xf4, AFTER_F4);
	add_steps(k, AFTER_E0, 0xa0, 0xbf, ONE_LEFT);
	add_steps(k, AFTER_ED, 0x80, 0x9f, ONE_LEFT);
	add_steps(k, AFTER_F0, 0x90, 0xbf, TWO_LEFT);
	add_steps(k, AFTER_F4, 0x80, 0x8f, TWO_LEFT);
	add_steps(k, ONE_LEFT, 0x80, 0xbf, AT_BEGIN);
	add_steps(k, TWO_LEFT, 0x80, 0xbf, ONE_LEFT);
	add_steps(k, THREE_LEFT, 0x80, 0xbf, TWO_LEFT);
}

typedef struct {
	plain_pair pairs[MAX_PAIRS];
	uint32_t n;
} pair_set;

/* False: no room. */
static bool add_pair(pair_set *s, plain_pair p)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->pairs[i].config == p.config && s->pairs[i].part == p.part)
			return true;
	if (s->n == MAX_PAIRS)
		return false;
	s->pairs[s->n++] = p;
	return true;
}

/* One character further: from configurations at the beginning of characters to those at their ends. False: some plain
 * character cannot be read. */
static bool read_character(evn_masker *k, const pair_set *from, pair_set *to)
{
	pair_set open = *from;
	to->n = 0;
	for (uint32_t i = 0; i < open.n; i++) {
		const plain_pair p = open.pairs[i];
		for (uint32_t s = 0; s < k->n_steps[p.part]; s++) {
			const plain_step step = k->steps[p.part][s];
			const plain_pair next = {evn_machine_step(k->machine, p.config, step.byte), step.to};
			if (next.config == EVN_DEAD || !add_pair(step.to == AT_BEGIN ? to : &open, next))
				return false;
		}
	}
	return true;
}

static bool all_in(const pair_set *a, const pair_set *b)
{
	for (uint32_t i = 0; i < a->n; i++) {
		bool found = false;
		for (uint32_t j = 0; j < b->n && !found; j++)
			found = a->pairs[i].config == b->pairs[j].config;
		if (!found)
			return false;
	}
	return true;
}

/* Whether every plain word may come next. */
static bool takes_plain(evn_masker *k, uint32_t config)
{
	pair_set sets[2] = {{.pairs = {{config, AT_BEGIN}}, .n = 1}}, *now = &sets[0], *next = &sets[1];
	for (int i = 0; i < EVN_PLAIN_CHARACTERS; i++) {
		if (!read_character(k, now, next))
			return false;
		if (all_in(next, now))
			return true; /* and so it goes on */
		pair_set *swap = now;
		now = next;
		next = swap;
	}
	return true;
}

/* ---- walks ----------------------------------------------------------------------------------------------------- */

static void walk(evn_masker *k, const evn_tree *t, uint32_t config, uint64_t *mask)
{
	k->path[0] = config;
	for (uint32_t i = 0; i < t->n_nodes;) {
		const evn_tree_node *node = &t->nodes[i];
		const uint32_t to = evn_machine_step(k->machine, k->path[node->depth - 1], node->byte);
		if (to == EVN_DEAD) {
			i = node->behind;
			continue;
		}
		k->path[node->depth] = to;
		for (uint32_t w = 0; w < node->n_ids; w++) {
			const uint32_t id = (uint32_t)k->words->ids[node->first_id + w];
			mask[id / 64] |= (uint64_t)1 << id % 64;
		}
		i++;
	}
}

static void fill(evn_masker *k, uint32_t config, uint64_t *mask)
{
	const evn_words *w = k->words;
	if (takes_plain(k, config))
		memcpy(mask, w->plain_mask, w->n_mask * sizeof *mask);
	else
		walk(k, &w->plain, config, mask);
	walk(k, &w->other, config, mask);
	for (uint32_t i = 0; i < w->n_ends && evn_machine_accepts(k->machine, config); i++)
		mask[w->ends[i] / 64] |= (uint64_t)1 << w->ends[i] % 64;
}

const uint64_t *evn_masker_get(evn_masker *k, uint32_t config)
{
	const void *kept = *evn_machine_kept(k->machine, config);
	if (kept)
		return kept;
	uint64_t *mask = calloc(k->words->n_mask, sizeof *mask);
	if (!mask)
		return NULL;
	fill(k, config, mask);
	*evn_machine_kept(k->machine, config) = mask; /* configurations may have moved meanwhile */
	evn_machine_count(k->machine, k->words->n_mask * sizeof *mask);
	return mask;
}

evn_status evn_masker_create(evn_masker **out, evn_machine *m, const evn_words *w, evn_error *err)
{
	const uint32_t depth = w->plain.max_depth > w->other.max_depth ? w->plain.max_depth : w->other.max_depth;
	evn_masker *k = calloc(1, sizeof *k);
	*out = NULL;
	if (!k)
		return evn_fail_memory(err, "grammar", sizeof *k);
	k->machine = m;
	k->words = w;
	k->path = malloc((depth + 1) * sizeof *k->path);
	if (!k->path) {
		free(k);
		return evn_fail_memory(err, "grammar", depth);
	}
	make_steps(k);
	*out = k;
	return EVN_OK;
}

void evn_masker_free(evn_masker *k)
{
	if (!k)
		return;
	free(k->path);
	free(k);
}
