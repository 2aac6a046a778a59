/* machine.c - see machine.h. */
#include "grammar/machine.h"

#include <stdlib.h>
#include <string.h>

#define UNKNOWN UINT32_MAX
#define BOTTOM 0u /* the empty stack */

/* A stack below the current state: where a call returns to, and what is below. Equal stacks have the same number. */
typedef struct {
	uint32_t state, below, depth;
} frame;

typedef struct {
	uint32_t state, stack;
} item;

typedef struct {
	uint32_t first, n; /* in items, sorted */
	bool accepts;
	void *kept;
} config;

/* Numbers by hash, open addressing; 0 is free, else number + 1. */
typedef struct {
	uint32_t *slots;
	size_t size, used;
} index_table;

typedef struct {
	frame *frames;
	item *items;
	config *configs;
	uint32_t *steps; /* (n_configs, n_classes) */
	index_table frame_index, config_index;
	size_t n_frames, n_items, n_configs, frames_room, items_room, configs_room, steps_room;
	size_t kept_bytes;
} memory;

struct evn_machine {
	evn_net net;
	uint8_t *is_end, *is_tail; /* of states: the end of a rule; nothing but the end follows */
	uint8_t class_of[256], example[256];
	uint32_t n_classes;
	memory memory;
	evn_place places; /* a ring */
	size_t max_bytes;
	item *work; /* a closure while it is made; room for EVN_MACHINE_MAX_ITEMS + 1 */
	uint32_t n_work;
	uint32_t seen_slots[4 * EVN_MACHINE_MAX_ITEMS]; /* of work: 1 + index */
	bool accepts;
	evn_status status;
	bool is_large; /* the limit that was met is one of memory */
};

#define MOST_BYTES ((size_t)128 * 1024 * 1024)

/* ---- tables ---------------------------------------------------------------------------------------------------- */

static uint32_t mix(uint32_t h, uint32_t value)
{
	h = (h ^ value) * 0x9e3779b1u;
	return h ^ h >> 15;
}

static size_t bytes_of(const memory *k)
{
	return k->frames_room * sizeof *k->frames + k->items_room * sizeof *k->items +
		   k->configs_room * sizeof *k->configs +
		   (k->steps_room + k->frame_index.size + k->config_index.size) * sizeof(uint32_t) + k->kept_bytes;
}

/* Between two drops the memory grows by what one token needs. Most need little; a hostile grammar would take all. */
static bool grow(evn_machine *m, void **data, size_t needed, size_t *room, size_t size)
{
	if (needed <= *room)
		return true;
	size_t more = *room ? 2 * *room : 64;
	while (more < needed)
		more *= 2;
	if (bytes_of(&m->memory) + (more - *room) * size > MOST_BYTES) {
		m->status = EVN_ERR_LIMIT;
		m->is_large = true;
		return false;
	}
	void *grown = realloc(*data, more * size);
	if (!grown) {
		m->status = EVN_ERR_MEMORY;
		return false;
	}
	*data = grown;
	*room = more;
	return true;
}

static uint32_t frame_hash(const frame *f) { return mix(mix(1, f->state), f->below); }

static uint32_t items_hash(const item *items, uint32_t n)
{
	uint32_t h = 2;
	for (uint32_t i = 0; i < n; i++)
		h = mix(mix(h, items[i].state), items[i].stack);
	return h;
}

static uint32_t hash_of(const memory *k, const index_table *t, uint32_t number)
{
	if (t == &k->frame_index)
		return frame_hash(&k->frames[number]);
	const config *c = &k->configs[number];
	return mix(items_hash(k->items + c->first, c->n), c->accepts);
}

static void insert(index_table *t, uint32_t hash, uint32_t number)
{
	size_t at = hash & (t->size - 1);
	while (t->slots[at])
		at = (at + 1) & (t->size - 1);
	t->slots[at] = number + 1;
	t->used++;
}

static bool table_room(evn_machine *m, index_table *t)
{
	if (2 * (t->used + 1) <= t->size)
		return true;
	index_table bigger = {.size = t->size ? 2 * t->size : 256};
	bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
	if (!bigger.slots) {
		m->status = EVN_ERR_MEMORY;
		return false;
	}
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i])
			insert(&bigger, hash_of(&m->memory, t, t->slots[i] - 1), t->slots[i] - 1);
	free(t->slots);
	*t = bigger;
	return true;
}

/* The stack with a state on top of `below`. UNKNOWN: too deep, or no memory. */
static uint32_t push(evn_machine *m, uint32_t state, uint32_t below)
{
	memory *k = &m->memory;
	const frame f = {state, below, k->frames[below].depth + 1};
	const uint32_t hash = frame_hash(&f);
	if (f.depth > EVN_MACHINE_MAX_DEPTH || !table_room(m, &k->frame_index))
		return UNKNOWN;
	for (size_t at = hash & (k->frame_index.size - 1); k->frame_index.slots[at];
		 at = (at + 1) & (k->frame_index.size - 1)) {
		const frame *other = &k->frames[k->frame_index.slots[at] - 1];
		if (other->state == state && other->below == below)
			return k->frame_index.slots[at] - 1;
	}
	if (!grow(m, (void **)&k->frames, k->n_frames + 1, &k->frames_room, sizeof *k->frames))
		return UNKNOWN;
	k->frames[k->n_frames] = f;
	insert(&k->frame_index, hash, (uint32_t)k->n_frames);
	return (uint32_t)k->n_frames++;
}

/* ---- configurations -------------------------------------------------------------------------------------------- */

static void add(evn_machine *m, uint32_t state, uint32_t stack)
{
	const size_t mask = sizeof m->seen_slots / sizeof *m->seen_slots - 1;
	size_t at = mix(mix(3, state), stack) & mask;
	if (stack == UNKNOWN)
		return;
	for (; m->seen_slots[at]; at = (at + 1) & mask) {
		const item *other = &m->work[m->seen_slots[at] - 1];
		if (other->state == state && other->stack == stack)
			return;
	}
	if (m->n_work == EVN_MACHINE_MAX_ITEMS) {
		m->status = EVN_ERR_LIMIT;
		return;
	}
	m->work[m->n_work++] = (item){state, stack};
	m->seen_slots[at] = m->n_work;
}

static void clear_work(evn_machine *m)
{
	const size_t mask = sizeof m->seen_slots / sizeof *m->seen_slots - 1;
	if (m->n_work > EVN_MACHINE_MAX_ITEMS / 8) {
		memset(m->seen_slots, 0, sizeof m->seen_slots);
	} else {
		for (uint32_t i = 0; i < m->n_work; i++) /* a run of slots ends at an empty one */
			for (size_t at = mix(mix(3, m->work[i].state), m->work[i].stack) & mask; m->seen_slots[at];
				 at = (at + 1) & mask)
				m->seen_slots[at] = 0;
	}
	m->n_work = 0;
	m->accepts = false;
}

/* Follows the edges of an item that read nothing. */
static void expand(evn_machine *m, item i)
{
	if (m->is_end[i.state]) {
		const frame f = m->memory.frames[i.stack];
		if (i.stack == BOTTOM)
			m->accepts = true;
		else
			add(m, f.state, f.below);
	}
	for (uint32_t e = m->net.first[i.state]; e != EVN_NET_NONE; e = m->net.edges[e].next) {
		const evn_edge edge = m->net.edges[e];
		if (edge.kind == EVN_EDGE_EMPTY)
			add(m, edge.to, i.stack);
		else if (edge.kind == EVN_EDGE_CALL)
			add(m, m->net.rules[edge.rule].start, m->is_tail[edge.to] ? i.stack : push(m, edge.to, i.stack));
	}
}

static bool reads(const evn_machine *m, uint32_t state)
{
	for (uint32_t e = m->net.first[state]; e != EVN_NET_NONE; e = m->net.edges[e].next)
		if (m->net.edges[e].kind == EVN_EDGE_BYTES)
			return true;
	return false;
}

static int compare_items(const void *a, const void *b)
{
	const item *x = a, *y = b;
	if (x->state != y->state)
		return x->state < y->state ? -1 : 1;
	return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static uint32_t new_config(evn_machine *m, const item *items, uint32_t n, bool accepts, uint32_t hash)
{
	memory *k = &m->memory;
	const size_t row = k->n_configs * m->n_classes;
	if (!grow(m, (void **)&k->items, k->n_items + n, &k->items_room, sizeof *k->items) ||
		!grow(m, (void **)&k->configs, k->n_configs + 1, &k->configs_room, sizeof *k->configs) ||
		!grow(m, (void **)&k->steps, row + m->n_classes, &k->steps_room, sizeof *k->steps))
		return EVN_DEAD;
	if (n)
		memcpy(k->items + k->n_items, items, n * sizeof *items);
	for (uint32_t i = 0; i < m->n_classes; i++)
		k->steps[row + i] = UNKNOWN;
	k->configs[k->n_configs] = (config){.first = (uint32_t)k->n_items, .n = n, .accepts = accepts};
	k->n_items += n;
	insert(&k->config_index, hash, (uint32_t)k->n_configs);
	return (uint32_t)k->n_configs++;
}

/* The configuration of these items, which are sorted. */
static uint32_t find_config(evn_machine *m, const item *items, uint32_t n, bool accepts)
{
	memory *k = &m->memory;
	index_table *t = &k->config_index;
	const uint32_t hash = mix(items_hash(items, n), accepts);
	if ((n == 0 && !accepts && k->n_configs) || !table_room(m, t))
		return EVN_DEAD;
	for (size_t at = hash & (t->size - 1); t->slots[at]; at = (at + 1) & (t->size - 1)) {
		const config *c = &k->configs[t->slots[at] - 1];
		if (c->n == n && c->accepts == accepts &&
			(n == 0 || memcmp(k->items + c->first, items, n * sizeof *items) == 0))
			return t->slots[at] - 1;
	}
	return new_config(m, items, n, accepts, hash);
}

/* Closes the items in m->work and makes them a configuration. */
static uint32_t close_work(evn_machine *m)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < m->n_work && m->status == EVN_OK; i++)
		expand(m, m->work[i]);
	const uint32_t n_all = m->n_work;
	const bool accepts = m->accepts;
	item *kernel = m->work + EVN_MACHINE_MAX_ITEMS + 1;
	for (uint32_t i = 0; i < n_all; i++)
		if (reads(m, m->work[i].state))
			kernel[n++] = m->work[i];
	clear_work(m);
	if (m->status != EVN_OK)
		return EVN_DEAD;
	qsort(kernel, n, sizeof *kernel, compare_items);
	return find_config(m, kernel, n, accepts);
}

static uint32_t start(evn_machine *m)
{
	add(m, m->net.rules[m->net.root].start, BOTTOM);
	return close_work(m);
}

/* For each class a number that stands for the edges which read it: classes with the same edges go to the same place.
 */
static void mark_classes(const evn_machine *m, const config *c, uint64_t *marks)
{
	memset(marks, 0, m->n_classes * sizeof *marks);
	for (uint32_t i = 0; i < c->n; i++)
		for (uint32_t e = m->net.first[m->memory.items[c->first + i].state]; e != EVN_NET_NONE;
			 e = m->net.edges[e].next) {
			const evn_edge *edge = &m->net.edges[e];
			if (edge->kind != EVN_EDGE_BYTES)
				continue;
			const uint64_t number = ((uint64_t)i << 32 | e) + 1;
			for (uint32_t k = m->class_of[edge->lo]; k <= m->class_of[edge->hi]; k++)
				marks[k] = (marks[k] ^ number * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
		}
}

static uint32_t make_step(evn_machine *m, const config *c, uint8_t byte)
{
	for (uint32_t i = 0; i < c->n; i++) {
		const item at = m->memory.items[c->first + i];
		for (uint32_t e = m->net.first[at.state]; e != EVN_NET_NONE; e = m->net.edges[e].next) {
			const evn_edge *edge = &m->net.edges[e];
			if (edge->kind == EVN_EDGE_BYTES && edge->lo <= byte && byte <= edge->hi)
				add(m, edge->to, at.stack);
		}
	}
	return close_work(m);
}

uint32_t evn_machine_step(evn_machine *m, uint32_t from, uint8_t byte)
{
	if (m->status != EVN_OK)
		return EVN_DEAD;
	const uint8_t class = m->class_of[byte];
	const size_t row = (size_t)from * m->n_classes;
	if (m->memory.steps[row + class] != UNKNOWN)
		return m->memory.steps[row + class];
	uint64_t marks[256];
	const config c = m->memory.configs[from];
	mark_classes(m, &c, marks);
	const uint32_t to = marks[class] ? make_step(m, &c, m->example[class]) : EVN_DEAD;
	for (uint32_t k = 0; k < m->n_classes && m->status == EVN_OK; k++)
		if (marks[k] == marks[class])
			m->memory.steps[row + k] = to;
	return to;
}

/* ---- what is kept ---------------------------------------------------------------------------------------------- */

static void memory_free(memory *k)
{
	for (size_t i = 0; i < k->n_configs; i++)
		free(k->configs[i].kept);
	free(k->frames);
	free(k->items);
	free(k->configs);
	free(k->steps);
	free(k->frame_index.slots);
	free(k->config_index.slots);
	*k = (memory){0};
}

/* The empty stack and the dead configuration. */
static void memory_begin(evn_machine *m)
{
	memory *k = &m->memory;
	if (!grow(m, (void **)&k->frames, 1, &k->frames_room, sizeof *k->frames))
		return;
	k->frames[k->n_frames++] = (frame){0};
	find_config(m, NULL, 0, false);
	for (uint32_t i = 0; i < m->n_classes && k->steps; i++)
		k->steps[i] = EVN_DEAD;
}

/* A stack of the old memory in the new one, from the bottom up. Depths have a limit. */
static uint32_t move_stack(evn_machine *m, const memory *old, uint32_t stack)
{
	uint32_t chain[EVN_MACHINE_MAX_DEPTH + 1], n = 0, to = BOTTOM;
	for (; stack != BOTTOM; stack = old->frames[stack].below)
		chain[n++] = old->frames[stack].state;
	while (n && to != UNKNOWN)
		to = push(m, chain[--n], to);
	return to;
}

static uint32_t move_config(evn_machine *m, const memory *old, uint32_t from)
{
	const config c = old->configs[from];
	if (from == EVN_DEAD)
		return EVN_DEAD;
	for (uint32_t i = 0; i < c.n; i++) {
		const item at = old->items[c.first + i];
		m->work[i] = (item){at.state, move_stack(m, old, at.stack)};
	}
	if (m->status != EVN_OK)
		return EVN_DEAD;
	qsort(m->work, c.n, sizeof *m->work, compare_items);
	return find_config(m, m->work, c.n, c.accepts);
}

evn_status evn_machine_trim(evn_machine *m, evn_error *err)
{
	if (bytes_of(&m->memory) <= m->max_bytes)
		return evn_machine_status(m, err);
	memory old = m->memory;
	m->memory = (memory){0};
	memory_begin(m);
	for (evn_place *p = m->places.next; p != &m->places; p = p->next)
		p->config = m->status == EVN_OK ? move_config(m, &old, p->config) : EVN_DEAD;
	memory_free(&old);
	return evn_machine_status(m, err);
}

void evn_machine_enter(evn_machine *m, evn_place *p)
{
	p->config = start(m);
	p->next = m->places.next;
	p->previous = &m->places;
	m->places.next->previous = p;
	m->places.next = p;
}

void evn_machine_leave(evn_machine *m, evn_place *p)
{
	(void)m;
	p->next->previous = p->previous;
	p->previous->next = p->next;
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

/* Bytes that every edge reads or none of them does are of one class. */
static void make_classes(evn_machine *m)
{
	bool begins[257] = {true};
	for (size_t e = 0; e < m->net.n_edges; e++)
		if (m->net.edges[e].kind == EVN_EDGE_BYTES) {
			begins[m->net.edges[e].lo] = true;
			begins[m->net.edges[e].hi + 1] = true;
		}
	for (size_t b = 0; b < 256; b++) {
		if (begins[b])
			m->example[m->n_classes++] = (uint8_t)b;
		m->class_of[b] = (uint8_t)(m->n_classes - 1);
	}
}

static void find_tails(evn_machine *m)
{
	for (size_t i = 0; i < m->net.n_rules; i++)
		m->is_end[m->net.rules[i].end] = 1;
	for (size_t s = 0; s < m->net.n_states; s++) {
		uint32_t at = (uint32_t)s;
		for (int i = 0; i < 8 && !m->is_end[at]; i++) {
			const uint32_t e = m->net.first[at];
			if (e == EVN_NET_NONE || m->net.edges[e].next != EVN_NET_NONE || m->net.edges[e].kind != EVN_EDGE_EMPTY)
				break;
			at = m->net.edges[e].to;
		}
		m->is_tail[s] = m->is_end[at] && m->net.first[at] == EVN_NET_NONE;
	}
}

evn_status evn_machine_create(evn_machine **out, evn_net *n, size_t max_bytes, evn_error *err)
{
	evn_machine *m = calloc(1, sizeof *m);
	*out = NULL;
	if (!m) {
		evn_net_free(n);
		return evn_fail_memory(err, "grammar", sizeof *m);
	}
	m->net = *n;
	*n = (evn_net){0};
	m->max_bytes = max_bytes ? max_bytes : EVN_MACHINE_MAX_BYTES;
	m->places.next = m->places.previous = &m->places;
	m->is_end = calloc(m->net.n_states + 1, 1);
	m->is_tail = calloc(m->net.n_states + 1, 1);
	m->work = malloc(2 * (EVN_MACHINE_MAX_ITEMS + 1) * sizeof *m->work);
	if (!m->is_end || !m->is_tail || !m->work) {
		const uint64_t n_states = m->net.n_states;
		evn_machine_free(m);
		return evn_fail_memory(err, "grammar", n_states);
	}
	make_classes(m);
	find_tails(m);
	memory_begin(m);
	if (m->status != EVN_OK) {
		evn_machine_free(m);
		return evn_fail_memory(err, "grammar", 0);
	}
	*out = m;
	return EVN_OK;
}

void evn_machine_free(evn_machine *m)
{
	if (!m)
		return;
	memory_free(&m->memory);
	evn_net_free(&m->net);
	free(m->is_end);
	free(m->is_tail);
	free(m->work);
	free(m);
}

bool evn_machine_accepts(const evn_machine *m, uint32_t c) { return m->memory.configs[c].accepts; }

evn_status evn_machine_status(const evn_machine *m, evn_error *err)
{
	if (m->status == EVN_ERR_LIMIT && m->is_large)
		return evn_fail(err, EVN_ERR_LIMIT, "grammar: the ways to read the next token need more than %zu MiB",
						MOST_BYTES >> 20);
	if (m->status == EVN_ERR_LIMIT)
		return evn_fail(err, EVN_ERR_LIMIT,
						"grammar: there are more than %u ways to read the text so far, which is the limit",
						EVN_MACHINE_MAX_ITEMS);
	return m->status == EVN_OK ? EVN_OK : evn_fail_memory(err, "grammar", 0);
}

uint32_t evn_machine_classes(const evn_machine *m) { return m->n_classes; }
const uint8_t *evn_machine_class_of(const evn_machine *m) { return m->class_of; }
void **evn_machine_kept(evn_machine *m, uint32_t c) { return &m->memory.configs[c].kept; }
void evn_machine_count(evn_machine *m, size_t bytes) { m->memory.kept_bytes += bytes; }
size_t evn_machine_configs(const evn_machine *m) { return m->memory.n_configs; }
