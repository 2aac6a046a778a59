#include "engine/lookup.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define KEY_IDS 2u      /* a repetition has at least so many ids */
#define CANDIDATES 16u  /* places that are compared; the latest first */
#define LONGEST 16u     /* ids that are compared */
#define CLASSES 4u      /* of lengths: 2, 3 and 4, 5 to 8, more */
#define MEMORY 0.93f    /* what an observation counts after the next one */
#define PRIOR_COUNTS 4u /* observations that a prior is worth */

struct evn_lookup {
	uint32_t n, room;      /* ids that were read, and room for them in `before` */
	uint32_t *before;      /* (room) for the place behind two ids: the place behind the same two before it */
	uint32_t *buckets;     /* (n_buckets) the latest place of each hash */
	uint32_t n_buckets;    /* a power of two */
	uint32_t from, length; /* the guess is ids[from]; NONE: there is none. The ids before it are alike */
	float right[CLASSES], seen[CLASSES];
};

static const float priors[CLASSES] = {0.1f, 0.2f, 0.4f, 0.7f};

evn_status evn_lookup_create(evn_lookup **out, evn_error *err)
{
	evn_lookup *l = *out = calloc(1, sizeof *l);
	if (!l)
		return evn_fail_memory(err, "lookup", sizeof *l);
	l->from = NONE;
	return EVN_OK;
}

void evn_lookup_free(evn_lookup *l)
{
	if (!l)
		return;
	free(l->before);
	free(l->buckets);
	free(l);
}

/* ---- places ---------------------------------------------------------------------------------------------------- */

static uint32_t bucket_of(const evn_lookup *l, const int32_t *ids, uint32_t place)
{
	return (uint32_t)evn_hash(EVN_HASH_START, ids + place - KEY_IDS, KEY_IDS * sizeof *ids) & (l->n_buckets - 1);
}

static void enter(evn_lookup *l, const int32_t *ids, uint32_t place)
{
	uint32_t *bucket = &l->buckets[bucket_of(l, ids, place)];
	l->before[place] = *bucket;
	*bucket = place;
}

static evn_status make_room(evn_lookup *l, const int32_t *ids, uint32_t n, evn_error *err)
{
	uint32_t room = l->room ? l->room : 512;
	if (n < l->room)
		return EVN_OK;
	while (room <= n)
		room *= 2;
	uint32_t *before = realloc(l->before, room * sizeof *before);
	l->before = before ? before : l->before;
	uint32_t *buckets = realloc(l->buckets, room * sizeof *buckets);
	l->buckets = buckets ? buckets : l->buckets;
	if (!before || !buckets)
		return evn_fail_memory(err, "lookup", 2 * (uint64_t)room * sizeof *before);
	l->room = l->n_buckets = room;
	memset(buckets, 0xff, room * sizeof *buckets);
	for (uint32_t place = KEY_IDS; place < l->n; place++)
		enter(l, ids, place);
	return EVN_OK;
}

/* How many ids before the two places are alike. */
static uint32_t alike(const int32_t *ids, uint32_t a, uint32_t b)
{
	uint32_t n = 0;
	while (n < LONGEST && n < a && ids[a - 1 - n] == ids[b - 1 - n])
		n++;
	return n;
}

/* The place with the longest repetition; of equal ones the latest. The end itself is not entered yet. */
static void find(evn_lookup *l, const int32_t *ids, uint32_t n)
{
	uint32_t place = l->buckets[bucket_of(l, ids, n)];
	l->from = NONE;
	l->length = KEY_IDS - 1;
	for (uint32_t i = 0; i < CANDIDATES && place != NONE && l->length < LONGEST; i++, place = l->before[place]) {
		const uint32_t length = alike(ids, place, n);
		if (length <= l->length)
			continue;
		l->from = place;
		l->length = length;
	}
}

/* ---- how often guesses are right ------------------------------------------------------------------------------- */

static uint32_t class_of(uint32_t length) { return length < 3 ? 0 : length < 5 ? 1 : length < 9 ? 2 : 3; }

static void observe(evn_lookup *l, bool right)
{
	const uint32_t c = class_of(l->length);
	l->right[c] = MEMORY * l->right[c] + (right ? 1.0f : 0.0f);
	l->seen[c] = MEMORY * l->seen[c] + 1;
}

static float chance(const evn_lookup *l, uint32_t length)
{
	const uint32_t c = class_of(length);
	return (l->right[c] + PRIOR_COUNTS * priors[c]) / (l->seen[c] + PRIOR_COUNTS);
}

evn_status evn_lookup_read(evn_lookup *l, const int32_t *ids, uint32_t n, evn_error *err)
{
	if (n <= l->n || n < KEY_IDS)
		return EVN_OK;
	EVN_TRY(make_room(l, ids, n, err));
	for (uint32_t place = l->n > KEY_IDS ? l->n : KEY_IDS; place < n; place++)
		enter(l, ids, place);
	bool right = false;
	for (uint32_t i = l->n; i < n && l->from != NONE; i++) {
		right = ids[l->from] == ids[i];
		observe(l, right);
		l->from = right ? l->from + 1 : NONE;
		l->length++;
	}
	if (l->from == NONE)
		find(l, ids, n);
	l->n = n;
	return EVN_OK;
}

uint32_t evn_lookup_draft(const evn_lookup *l, int32_t *ids, uint32_t n, uint32_t most, float *chances)
{
	float all = 1;
	if (l->from == NONE || l->n != n)
		return 0;
	for (uint32_t i = 0; i < most; i++) { /* where the repetition reaches the end, it repeats itself */
		ids[n + i] = ids[l->from + i];
		chances[i] = all *= chance(l, l->length + i);
	}
	return most;
}
