/* grammar.c - see evener/grammar.h. A vocabulary has references to the grammars compiled last. A grammar's lock
 * guards its machine, which all its matchers share. */
#include "grammar/grammar.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/gbnf.h"
#include "grammar/mask.h"
#include "grammar/regex.h"
#include "grammar/schema.h"
#include "grammar/tools.h"

struct evn_grammar {
	evn_vocabulary *vocabulary;
	evn_grammar_kind kind;
	char *text;
	size_t n_text;
	uint32_t n_references; /* the vocabulary's lock guards it */
	pthread_mutex_t lock;
	evn_machine *machine;
	evn_masker *masker;
};

struct evn_vocabulary {
	evn_words *words;
	pthread_mutex_t lock;
	evn_grammar *kept[EVN_GRAMMARS_KEPT]; /* the one used last is first */
	size_t n_kept;
};

struct evn_matcher {
	evn_grammar *grammar;
	evn_place place;
	bool ended, may_end, complete, has_mask;
	uint64_t *mask;
};

/* ---- grammars -------------------------------------------------------------------------------------------------- */

static evn_status read_regex(evn_net *n, const char *text, size_t length, evn_error *err)
{
	uint32_t to = 0;
	n->root = evn_net_rule(n);
	if (n->status != EVN_OK)
		return evn_fail_memory(err, "grammar", 0);
	const evn_rule root = n->rules[n->root];
	EVN_TRY(evn_regex_add(n, root.start, text, length, false, &to, err));
	if (n->status == EVN_OK)
		evn_net_empty(n, to, root.end);
	return evn_net_finish(n, NULL, NULL, err);
}

static evn_status read_text(evn_net *n, const evn_grammar *g, evn_error *err)
{
	switch (g->kind) {
	case EVN_GRAMMAR_JSON:
		return evn_schema_any_object(n, err);
	case EVN_GRAMMAR_JSON_SCHEMA:
		return evn_schema_read(n, g->text, g->n_text, err);
	case EVN_GRAMMAR_GBNF:
		return evn_gbnf_read(n, g->text, g->n_text, err);
	case EVN_GRAMMAR_TOOLS:
		return evn_tools_read(n, g->text, g->n_text, err);
	case EVN_GRAMMAR_REGEX:
		return read_regex(n, g->text, g->n_text, err);
	}
	return evn_fail(err, EVN_ERR_USAGE, "grammar: expected a known kind, found %d", (int)g->kind);
}

static void destroy(evn_grammar *g)
{
	evn_masker_free(g->masker);
	evn_machine_free(g->machine);
	pthread_mutex_destroy(&g->lock);
	free(g->text);
	free(g);
}

static evn_status compile(evn_grammar **out, evn_vocabulary *v, const evn_grammar *key, evn_error *err)
{
	evn_net net = {0};
	evn_grammar *g = calloc(1, sizeof *g);
	if (!g)
		return evn_fail_memory(err, "grammar", sizeof *g);
	*g = (evn_grammar){.vocabulary = v, .kind = key->kind, .n_text = key->n_text, .n_references = 1};
	pthread_mutex_init(&g->lock, NULL);
	g->text = malloc(key->n_text + 1);
	evn_status status = g->text ? EVN_OK : evn_fail_memory(err, "grammar", key->n_text);
	if (status == EVN_OK) {
		memcpy(g->text, key->text, key->n_text);
		g->text[key->n_text] = '\0';
		status = read_text(&net, g, err);
	}
	if (status == EVN_OK)
		status = evn_machine_create(&g->machine, &net, 0, err);
	if (status == EVN_OK)
		status = evn_masker_create(&g->masker, g->machine, v->words, err);
	evn_net_free(&net);
	if (status == EVN_OK)
		*out = g;
	else
		destroy(g);
	return status;
}

static void release(evn_grammar *g)
{
	evn_vocabulary *v = g->vocabulary;
	pthread_mutex_lock(&v->lock);
	const bool last = --g->n_references == 0;
	pthread_mutex_unlock(&v->lock);
	if (last)
		destroy(g);
}

/* Moves a kept grammar, or a new one, to the first place. With the lock held. Returns what is kept no longer. */
static evn_grammar *keep(evn_vocabulary *v, evn_grammar *g, size_t from)
{
	evn_grammar *dropped = from == EVN_GRAMMARS_KEPT ? v->kept[--from] : NULL;
	memmove(v->kept + 1, v->kept, from * sizeof *v->kept);
	v->kept[0] = g;
	return dropped;
}

static evn_grammar *find(evn_vocabulary *v, const evn_grammar *key)
{
	evn_grammar *found = NULL;
	pthread_mutex_lock(&v->lock);
	for (size_t i = 0; i < v->n_kept && !found; i++) {
		evn_grammar *g = v->kept[i];
		if (g->kind != key->kind || g->n_text != key->n_text || memcmp(g->text, key->text, key->n_text) != 0)
			continue;
		found = g;
		g->n_references++;
		keep(v, g, i);
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

evn_status evn_grammar_create(evn_grammar **out, evn_vocabulary *v, evn_grammar_kind kind, const char *text,
							  size_t text_bytes, evn_error *err)
{
	static char none[] = "";
	const bool has_text = text && kind != EVN_GRAMMAR_JSON;
	evn_grammar key = {
		.kind = kind, .text = has_text ? (char *)(uintptr_t)text : none, .n_text = has_text ? text_bytes : 0};
	*out = NULL;
	if (key.n_text > EVN_GRAMMAR_MAX_BYTES)
		return evn_fail(err, EVN_ERR_LIMIT, "grammar: it has %zu bytes, at most %zu are possible", key.n_text,
						EVN_GRAMMAR_MAX_BYTES);
	*out = find(v, &key);
	if (*out)
		return EVN_OK;
	EVN_TRY(compile(out, v, &key, err));
	pthread_mutex_lock(&v->lock);
	(*out)->n_references++;
	evn_grammar *dropped = keep(v, *out, v->n_kept);
	v->n_kept += v->n_kept < EVN_GRAMMARS_KEPT;
	pthread_mutex_unlock(&v->lock);
	if (dropped)
		release(dropped);
	return EVN_OK;
}

void evn_grammar_free(evn_grammar *g)
{
	if (g)
		release(g);
}

/* ---- vocabularies ---------------------------------------------------------------------------------------------- */

evn_status evn_vocabulary_of_words(evn_vocabulary **out, const evn_word *words, uint32_t n, evn_error *err)
{
	evn_vocabulary *v = calloc(1, sizeof *v);
	*out = NULL;
	if (!v)
		return evn_fail_memory(err, "vocabulary", sizeof *v);
	const evn_status status = evn_words_create(&v->words, words, n, err);
	if (status != EVN_OK) {
		free(v);
		return status;
	}
	pthread_mutex_init(&v->lock, NULL);
	*out = v;
	return EVN_OK;
}

void evn_vocabulary_free(evn_vocabulary *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_kept; i++)
		release(v->kept[i]);
	pthread_mutex_destroy(&v->lock);
	evn_words_free(v->words);
	free(v);
}

/* ---- matchers -------------------------------------------------------------------------------------------------- */

evn_status evn_matcher_create(evn_matcher **out, evn_grammar *g, evn_error *err)
{
	const uint32_t n_mask = g->vocabulary->words->n_mask;
	evn_matcher *m = calloc(1, sizeof *m);
	*out = NULL;
	if (!m || !(m->mask = malloc(n_mask * sizeof *m->mask))) {
		free(m);
		return evn_fail_memory(err, "grammar", n_mask * sizeof *m->mask);
	}
	pthread_mutex_lock(&g->lock);
	m->grammar = g;
	evn_machine_enter(g->machine, &m->place);
	m->may_end = evn_machine_accepts(g->machine, m->place.config);
	const evn_status status = evn_machine_status(g->machine, err);
	pthread_mutex_unlock(&g->lock);
	if (status == EVN_OK)
		*out = m;
	else
		evn_matcher_free(m);
	return status;
}

void evn_matcher_free(evn_matcher *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->grammar->lock);
	evn_machine_leave(m->grammar->machine, &m->place);
	pthread_mutex_unlock(&m->grammar->lock);
	free(m->mask);
	free(m);
}

static bool is_end(const evn_words *w, int32_t id)
{
	for (uint32_t i = 0; i < w->n_ends; i++)
		if (w->ends[i] == id)
			return true;
	return false;
}

static bool mask_is_empty(const uint64_t *mask, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (mask[i])
			return false;
	return true;
}

/* With the lock held. */
static evn_status make_mask(evn_matcher *m, evn_error *err)
{
	evn_grammar *g = m->grammar;
	const evn_words *w = g->vocabulary->words;
	EVN_TRY(evn_machine_trim(g->machine, err));
	const uint64_t *mask = evn_masker_get(g->masker, m->place.config);
	EVN_TRY(evn_machine_status(g->machine, err));
	if (!mask)
		return evn_fail_memory(err, "grammar", w->n_mask * sizeof *mask);
	memcpy(m->mask, mask, w->n_mask * sizeof *mask);
	if (mask_is_empty(m->mask, w->n_mask))
		return evn_fail(err, EVN_ERR_USAGE,
						"grammar: expected a token of the vocabulary that may come next, found none");
	return EVN_OK;
}

evn_status evn_matcher_mask(evn_matcher *m, const uint64_t **mask, evn_error *err)
{
	*mask = m->mask;
	if (m->has_mask)
		return EVN_OK;
	pthread_mutex_lock(&m->grammar->lock);
	const evn_status status = make_mask(m, err);
	pthread_mutex_unlock(&m->grammar->lock);
	m->has_mask = status == EVN_OK;
	return status;
}

/* Whether any byte may follow. With the lock held. */
static bool goes_on(evn_machine *m, uint32_t config)
{
	for (int b = 0; b < 256; b++)
		if (evn_machine_step(m, config, (uint8_t)b) != EVN_DEAD)
			return true;
	return false;
}

static evn_status read_token(evn_matcher *m, int32_t id, evn_error *err)
{
	evn_machine *machine = m->grammar->machine;
	const evn_words *w = m->grammar->vocabulary->words;
	uint32_t config = m->place.config;
	for (uint32_t i = w->at[id]; i < w->at[id + 1] && config != EVN_DEAD; i++)
		config = evn_machine_step(machine, config, (uint8_t)w->text[i]);
	EVN_TRY(evn_machine_status(machine, err));
	if (config == EVN_DEAD || w->at[id] == w->at[id + 1])
		return evn_fail(err, EVN_ERR_USAGE, "grammar: expected a token that may come next, found %d", id);
	m->place.config = config;
	m->may_end = evn_machine_accepts(machine, config);
	m->complete = m->may_end && !goes_on(machine, config);
	return EVN_OK;
}

evn_status evn_matcher_accept(evn_matcher *m, int32_t id, evn_error *err)
{
	const evn_words *w = m->grammar->vocabulary->words;
	if (id < 0 || (uint32_t)id >= w->n || m->ended || (is_end(w, id) && !m->may_end))
		return evn_fail(err, EVN_ERR_USAGE, "grammar: expected a token that may come next, found %d", id);
	m->has_mask = false;
	if (is_end(w, id)) {
		m->ended = m->complete = true;
		return EVN_OK;
	}
	pthread_mutex_lock(&m->grammar->lock);
	const evn_status status = read_token(m, id, err);
	pthread_mutex_unlock(&m->grammar->lock);
	return status;
}

bool evn_matcher_may_end(const evn_matcher *m) { return m->may_end; }

bool evn_matcher_is_complete(const evn_matcher *m) { return m->complete; }
