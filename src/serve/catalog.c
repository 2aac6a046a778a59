#include "serve/catalog.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "serve/fields.h"
#include "serve/server.h"

#define LOOK_MS 200u   /* for models that nobody has used for long */
#define PATIENCE_S 3.0 /* after that a model that is in use makes room, as soon as its requests have ended */

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* The least recently used model, of those that nobody uses or of all. The lock is held. */
static served_model *find_oldest(catalog *c, bool idle)
{
	served_model *oldest = NULL;
	for (size_t i = 0; i < c->n; i++) {
		served_model *m = &c->models[i];
		if (m->state == MODEL_LOADED && !(idle && m->n_users) && (!oldest || m->used_ns < oldest->used_ns))
			oldest = m;
	}
	return oldest;
}

static served_model *find_idle(catalog *c) { return find_oldest(c, true); }

static double age_s(uint64_t since_ns) { return (double)(evn_now_ns() - since_ns) * 1e-9; }

/* Until something changes, or a fifth of a second. */
static void wait_a_little(catalog *c)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&c->changed, &c->lock, &until);
}

/* Waits until a model can make room for this one. */
static void wait_for_room(catalog *c, const served_model *m)
{
	while (!find_idle(c) && !c->stops) {
		if (!c->draining && age_s(m->wanted_ns) > PATIENCE_S)
			c->draining = find_oldest(c, false);
		wait_a_little(c);
	}
}

static size_t count_loaded(const catalog *c)
{
	size_t n = 0;
	for (size_t i = 0; i < c->n; i++)
		n += c->models[i].state == MODEL_LOADED;
	return n;
}

static void add_counts(evn_scheduler_stats *to, const evn_scheduler_stats *s)
{
	to->steps += s->steps;
	to->rows += s->rows;
	to->put_off += s->put_off;
	to->prompt_tokens += s->prompt_tokens;
	to->cached_tokens += s->cached_tokens;
	to->tokens += s->tokens;
	to->drafted += s->drafted;
	to->accepted += s->accepted;
	to->prompt_s += s->prompt_s;
	to->decode_s += s->decode_s;
	for (size_t i = 0; i <= EVN_END_FAILED; i++)
		to->ended[i] += s->ended[i];
}

/* The lock is held, but not while it takes its time. */
static void unload(catalog *c, served_model *m, const char *why)
{
	const evn_scheduler_stats last = evn_scheduler_get_stats(m->m.scheduler);
	add_counts(&c->retired, &last);
	m->state = MODEL_CHANGES;
	pthread_mutex_unlock(&c->lock);
	evn_log(EVN_LOG_INFO, "model '%s' is unloaded: %s", m->name, why);
	evn_vocabulary_free(m->vocabulary);
	m->entry.unload(m->entry.user);
	pthread_mutex_lock(&c->lock);
	if (c->draining == m)
		c->draining = NULL;
	m->vocabulary = NULL;
	m->m = (serve_model){0};
	m->state = MODEL_UNLOADED;
}

/* Who waits for the model goes on: with it, or with what went wrong. The lock is held. */
static void wake_waiting(served_model *m, const problem *p)
{
	for (exchange *x = m->waiting, *next; x; x = next) {
		next = x->next_waiting;
		x->served = p ? NULL : m;
		m->n_users += p == NULL;
		if (p)
			x->model_problem = *p;
		exchange_submit(x, &x->begin, x->again);
	}
	m->waiting = NULL;
}

static bool is_of_memory(evn_status s) { return s == EVN_ERR_LIMIT || s == EVN_ERR_MEMORY; }

static void keep_loaded(served_model *m, const serve_model *loaded)
{
	m->m = *loaded;
	m->state = MODEL_LOADED;
	m->used_ns = evn_now_ns();
}

/* Loads a model for which requests wait. If there is no room, one that nobody uses goes first; if all are used, this
 * is tried again when one is not. */
static void load(catalog *c, served_model *m)
{
	served_model *idle = find_idle(c);
	serve_model loaded = {0};
	evn_error err = {0};
	problem p = {0};
	if (c->options.most_loaded && count_loaded(c) >= c->options.most_loaded) {
		if (idle)
			unload(c, idle, "another one needs its place");
		else
			wait_for_room(c, m);
		return;
	}
	m->state = MODEL_CHANGES;
	pthread_mutex_unlock(&c->lock);
	const evn_status status = m->entry.load(m->entry.user, &loaded, &err);
	if (status != EVN_OK)
		m->entry.unload(m->entry.user);
	pthread_mutex_lock(&c->lock);
	m->state = MODEL_UNLOADED;
	if (status == EVN_OK) {
		keep_loaded(m, &loaded);
		wake_waiting(m, NULL);
	} else if (is_of_memory(status) && (idle = find_idle(c))) {
		unload(c, idle, "another one needs its memory");
	} else if (is_of_memory(status) && count_loaded(c) && !c->stops) {
		evn_log(EVN_LOG_INFO, "model '%s' waits until another one is not used: %s", m->name, err.text);
		wait_for_room(c, m);
	} else {
		problem_set(&p, 503, "model_not_loaded", "model", "model '%.100s' cannot be loaded: %.300s", m->name,
					err.text);
		wake_waiting(m, &p);
	}
}

/* The model for which requests have waited longest. */
static served_model *find_wanted(catalog *c)
{
	served_model *wanted = NULL;
	for (size_t i = 0; i < c->n; i++) {
		served_model *m = &c->models[i];
		if (m->waiting && m->state == MODEL_UNLOADED && (!wanted || m->wanted_ns < wanted->wanted_ns))
			wanted = m;
	}
	return wanted;
}

static void wait_for_change(catalog *c)
{
	if (c->options.idle_s > 0)
		wait_a_little(c);
	else
		pthread_cond_wait(&c->changed, &c->lock);
}

/* Nobody needs its room any more: it goes on. */
static void end_draining(catalog *c)
{
	served_model *m = c->draining;
	c->draining = NULL;
	if (m && m->state == MODEL_LOADED)
		wake_waiting(m, NULL);
}

static void *run(void *user)
{
	catalog *c = user;
	pthread_mutex_lock(&c->lock);
	while (!c->stops) {
		served_model *wanted = find_wanted(c);
		if (!wanted)
			end_draining(c);
		served_model *idle = find_idle(c);
		if (wanted)
			load(c, wanted);
		else if (idle && c->options.idle_s > 0 && age_s(idle->used_ns) > c->options.idle_s)
			unload(c, idle, "nobody has used it for a while");
		else
			wait_for_change(c);
	}
	problem p = {0};
	problem_set(&p, 503, NULL, NULL, "the server is stopping");
	for (size_t i = 0; i < c->n; i++)
		wake_waiting(&c->models[i], &p);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status read_variables(catalog *c, const char *text, evn_error *err)
{
	json_error_t e;
	if (!text)
		return EVN_OK;
	c->chat_variables = json_loads(text, 0, &e);
	if (!c->chat_variables)
		return evn_fail(err, EVN_ERR_USAGE, "variables of the chat template: %s", e.text);
	return json_is_object(c->chat_variables)
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_USAGE, "variables of the chat template: expected a JSON object");
}

static evn_status copy_entries(catalog *c, const serve_catalog *from, evn_error *err)
{
	c->models = calloc(from->n, sizeof *c->models);
	if (!c->models)
		return evn_fail_memory(err, "models", from->n * sizeof *c->models);
	for (c->n = 0; c->n < from->n; c->n++) {
		served_model *m = &c->models[c->n];
		m->entry = from->entries[c->n];
		m->name = evn_strdup(m->entry.name);
		if (!m->name)
			return evn_fail_memory(err, "models", 0);
		for (size_t i = 0; i < c->n; i++)
			if (strcmp(c->models[i].name, m->name) == 0) {
				free(m->name);
				return evn_fail(err, EVN_ERR_USAGE, "two models have the name '%.100s'", m->entry.name);
			}
	}
	return EVN_OK;
}

evn_status catalog_start(server *s, const serve_catalog *from, evn_error *err)
{
	catalog *c = &s->catalog;
	serve_model loaded = {0};
	c->options = *from;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	EVN_TRY(read_variables(c, from->chat.variables_json, err));
	EVN_TRY(copy_entries(c, from, err));
	served_model *first = &c->models[0];
	const evn_status status = first->entry.load(first->entry.user, &loaded, err);
	if (status != EVN_OK) {
		first->entry.unload(first->entry.user);
		return status;
	}
	keep_loaded(first, &loaded);
	if (c->n > 1 || c->options.idle_s > 0) {
		c->has_thread = pthread_create(&c->thread, NULL, run, c) == 0;
		if (!c->has_thread)
			return evn_fail(err, EVN_ERR_MEMORY, "the thread that loads models cannot be started");
	}
	return EVN_OK;
}

void catalog_stop(server *s)
{
	catalog *c = &s->catalog;
	if (!c->has_thread)
		return;
	pthread_mutex_lock(&c->lock);
	c->stops = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	c->has_thread = false;
}

void catalog_free(server *s)
{
	catalog *c = &s->catalog;
	catalog_stop(s);
	for (size_t i = 0; i < c->n; i++) {
		served_model *m = &c->models[i];
		evn_vocabulary_free(m->vocabulary);
		if (m->state == MODEL_LOADED)
			m->entry.unload(m->entry.user);
		free(m->name);
	}
	free(c->models);
	json_decref(c->chat_variables);
	*c = (catalog){0};
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

/* The model that the body names, or the first one. NULL: there is no such model; or the body is no object with a
 * name, which the route will say. */
static served_model *find_named(catalog *c, const exchange *x)
{
	served_model *found = NULL;
	json_t *root = NULL, *name;
	problem p = {0};
	if (c->n == 1)
		return &c->models[0];
	if (!fields_parse(&root, x->body.data, x->body.used, &p))
		return NULL;
	name = json_object_get(root, "model");
	for (size_t i = 0; i < c->n && !found; i++)
		if (!name || json_is_null(name) ||
			(json_is_string(name) && strcmp(json_string_value(name), c->models[i].name) == 0))
			found = &c->models[i];
	json_decref(root);
	return found;
}

bool catalog_choose(exchange *x, void (*again)(exchange *x))
{
	catalog *c = &x->server->catalog;
	if (x->served || x->model_problem.status)
		return true;
	served_model *m = find_named(c, x);
	if (!m)
		return true;
	pthread_mutex_lock(&c->lock);
	const bool is_there = m->state == MODEL_LOADED && m != c->draining;
	if (is_there) {
		x->served = m;
		m->n_users++;
	} else if (c->stops) {
		problem_set(&x->model_problem, 503, NULL, NULL, "the server is stopping");
	} else {
		x->again = again;
		m->wanted_ns = m->waiting ? m->wanted_ns : evn_now_ns();
		x->next_waiting = m->waiting;
		m->waiting = x;
		pthread_cond_broadcast(&c->changed);
	}
	const bool goes_on = is_there || c->stops;
	pthread_mutex_unlock(&c->lock);
	return goes_on;
}

bool catalog_check(const exchange *x, const char *name, problem *p)
{
	const catalog *c = &x->server->catalog;
	char names[256] = "";
	if (x->model_problem.status) {
		*p = x->model_problem;
		return false;
	}
	if (x->served && (!name || strcmp(name, x->served->name) == 0))
		return true;
	for (size_t i = 0; i < c->n; i++) {
		const size_t used = strlen(names);
		snprintf(names + used, sizeof names - used, "%s'%.100s'", i ? " or " : "", c->models[i].name);
	}
	return problem_set(p, 404, "model_not_found", "model", "model: expected %s, found '%.100s'", names,
					   name ? name : "");
}

static void let_go(catalog *c, served_model *m, bool used)
{
	pthread_mutex_lock(&c->lock);
	m->n_users--;
	if (used)
		m->used_ns = evn_now_ns();
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void catalog_release(exchange *x)
{
	if (x->served)
		let_go(&x->server->catalog, x->served, true);
	x->served = NULL;
}

/* ---- looks from outside ---------------------------------------------------------------------------------------- */

served_model *catalog_look(server *s, size_t i)
{
	catalog *c = &s->catalog;
	pthread_mutex_lock(&c->lock);
	served_model *m = i < c->n && c->models[i].state == MODEL_LOADED ? &c->models[i] : NULL;
	if (m)
		m->n_users++;
	pthread_mutex_unlock(&c->lock);
	return m;
}

void catalog_look_away(server *s, served_model *m)
{
	if (m)
		let_go(&s->catalog, m, false);
}

served_model *catalog_look_latest(server *s)
{
	catalog *c = &s->catalog;
	served_model *latest = NULL;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n; i++) {
		served_model *m = &c->models[i];
		if (m->state == MODEL_LOADED && (!latest || m->used_ns > latest->used_ns))
			latest = m;
	}
	if (latest)
		latest->n_users++;
	pthread_mutex_unlock(&c->lock);
	return latest;
}

/* What was retired is read last: a model that is unloaded meanwhile is counted there. */
evn_scheduler_stats catalog_stats(server *s)
{
	evn_scheduler_stats sum = {0};
	for (size_t i = 0; i < s->catalog.n; i++) {
		served_model *m = catalog_look(s, i);
		if (!m)
			continue;
		const evn_scheduler_stats one = evn_scheduler_get_stats(m->m.scheduler);
		add_counts(&sum, &one);
		sum.n_running += one.n_running;
		sum.n_waiting += one.n_waiting;
		sum.n_blocks += one.n_blocks;
		sum.n_used += one.n_used;
		sum.n_cached += one.n_cached;
		catalog_look_away(s, m);
	}
	pthread_mutex_lock(&s->catalog.lock);
	add_counts(&sum, &s->catalog.retired);
	pthread_mutex_unlock(&s->catalog.lock);
	return sum;
}
