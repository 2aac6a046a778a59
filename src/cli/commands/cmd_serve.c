/* cmd_serve.c - evener serve: listens, loads the model, serves until a signal comes. */
#include "cli/chat/talk.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/commands/drafter.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/trace.h"
#include "serve/serve.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRACE_S 2.0 /* for running answers, once a signal has come */

typedef struct serving serving;

/* A model that is served, loaded or not. */
typedef struct {
	serving *of;
	settings settings; /* those of the command, with the model's path */
	char *name;
	evn_model_info info;
	evn_model *model;
	evn_engine *engine;
	drafter drafter;
	evn_scheduler *scheduler;
	trace trace;
} hosted;

struct serving {
	server *server;
	hosted models[EVN_MOST_MODELS];
	size_t n;
	talk talk;        /* the chat template */
	evn_status ended; /* of the trace */
	evn_error end_error;
	atomic_bool ready;
};

/* ---- which models ---------------------------------------------------------------------------------------------- */

static const char *name_of_model(const settings *s, const evn_model_info *info)
{
	if (info->name && *info->name)
		return info->name;
	if (!s->model_path)
		return s->architecture;
	const char *slash = strrchr(s->model_path, '/');
	return slash && slash[1] ? slash + 1 : s->model_path;
}

/* What is wrong with a file is found before anything is served. */
static evn_status add_model(serving *v, const settings *s, const char *name, evn_error *err)
{
	hosted *h = &v->models[v->n];
	evn_model *m = NULL;
	*h = (hosted){.of = v, .settings = *s};
	const evn_status status = settings_open_model(s, &m, err);
	if (status != EVN_OK)
		return status;
	h->info = evn_model_get_info(m);
	h->name = evn_strdup(name ? name : name_of_model(s, &h->info));
	evn_model_close(m);
	if (!h->name)
		return evn_fail_memory(err, "models", 0);
	v->n++;
	return EVN_OK;
}

/* The draft model is that of the first model. */
static evn_status add_one_more(serving *v, settings *own, const char *name, evn_error *err)
{
	if (v->n == EVN_MOST_MODELS)
		return evn_fail(err, EVN_ERR_LIMIT, "more than %d models", EVN_MOST_MODELS);
	own->draft_path = NULL;
	if (own->speculate == EVN_SPECULATE_DRAFT)
		own->speculate = EVN_SPECULATE_AUTO;
	return add_model(v, own, name, err);
}

/* NAME=FILE, or FILE. The adapter of --lora is the first model's. */
static evn_status add_other(serving *v, const settings *s, const char *text, evn_error *err)
{
	const char *path = model_entry_path(text);
	const bool named = path > text;
	settings own = *s;
	char *name = named ? evn_format("%.*s", (int)(path - text - 1), text) : NULL;
	if (named && !name)
		return evn_fail_memory(err, "models", 0);
	own.model_path = path;
	own.architecture = own.lora = NULL;
	const evn_status status = add_one_more(v, &own, name, err);
	free(name);
	return status == EVN_OK ? EVN_OK : evn_fail_within(err, "--add-model");
}

/* NAME=FILE[:SCALE]: the first model with another adapter. */
static evn_status add_adapted(serving *v, const settings *s, const char *text, evn_error *err)
{
	const char *path = model_entry_path(text);
	settings own = *s;
	if (path == text)
		return evn_fail(err, EVN_ERR_USAGE, "--add-adapter: '%.100s': expected NAME=FILE or NAME=FILE:SCALE", text);
	char *name = evn_format("%.*s", (int)(path - text - 1), text);
	if (!name)
		return evn_fail_memory(err, "models", 0);
	own.lora = path;
	const evn_status status = add_one_more(v, &own, name, err);
	free(name);
	return status == EVN_OK ? EVN_OK : evn_fail_within(err, "--add-adapter");
}

static evn_status find_models(serving *v, const settings *s, evn_error *err)
{
	const char *comes_and_goes = s->more_models.n  ? "--add-model"
								 : s->adapters.n   ? "--add-adapter"
								 : s->unload_s > 0 ? "--unload-after"
												   : NULL;
	if (comes_and_goes && s->trace_path)
		return evn_fail(err, EVN_ERR_USAGE, "--trace follows one model that stays loaded: leave out %s",
						comes_and_goes);
	if (comes_and_goes && cluster_joined())
		return evn_fail(err, EVN_ERR_USAGE, "several machines share one model that stays loaded: leave out %s",
						comes_and_goes);
	evn_status status = add_model(v, s, s->served_name, err);
	for (size_t i = 0; i < s->more_models.n && status == EVN_OK; i++)
		status = add_other(v, s, s->more_models.items[i], err);
	for (size_t i = 0; i < s->adapters.n && status == EVN_OK; i++)
		status = add_adapted(v, s, s->adapters.items[i], err);
	return status;
}

static evn_status listen_first(serving *v, const settings *s, evn_error *err)
{
	const serve_options o = {
		.host = s->serve_host,
		.port = (uint16_t)s->serve_port,
		.api_key_file = s->api_key_file,
		.cors = s->cors,
		.max_body_bytes = (uint64_t)s->max_body_mib << 20,
		.max_connections = (uint32_t)s->max_connections,
		.receive_s = s->request_s,
	};
	evn_status status = serve_start(&v->server, &o, err);
	if (status != EVN_OK)
		return status;
	printf("%s\n", serve_url(v->server));
	return console_check_output(err);
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* A signal stops loading. Of a loaded model it does not stop a step at once: running answers have their time. */
static bool show_loading(void *user, const char *what, uint64_t done, uint64_t total)
{
	const hosted *h = user;
	if (h->scheduler)
		return true;
	return atomic_load(&h->of->ready) ? !interrupted() : console_progress(NULL, what, done, total);
}

static evn_status open_model(hosted *h, evn_error *err)
{
	const settings *s = &h->settings;
	evn_options o = settings_engine_options(s);
	o.cache_tokens = (uint32_t)s->cache_tokens;
	o.rebalance = s->rebalance;
	o.progress = show_loading;
	o.progress_user = h;
	EVN_TRY(settings_open_model(s, &h->model, err));
	EVN_TRY(drafter_open(&h->drafter, s, h->model, err));
	EVN_TRY(evn_engine_open(&h->engine, h->model, &o, err));
	EVN_TRY(drafter_load(&h->drafter, h->engine, &o, err));
	EVN_TRY(trace_begin(&h->trace, s, h->engine, err));
	const evn_scheduler_options scheduling = {.max_waiting = (uint32_t)s->max_waiting,
											  .speculate = (evn_speculate)s->speculate,
											  .draft = h->drafter.engine};
	return evn_scheduler_create(&h->scheduler, h->engine, &scheduling, err);
}

static evn_status load_model(void *user, serve_model *out, evn_error *err)
{
	hosted *h = user;
	const double began = evn_now_s();
	EVN_TRY(open_model(h, err));
	*out = (serve_model){h->model, h->engine, h->scheduler};
	if (atomic_load(&h->of->ready))
		console_note("loaded '%s' in %.2f s", h->name, evn_now_s() - began);
	return EVN_OK;
}

static void unload_model(void *user)
{
	hosted *h = user;
	const bool was_loaded = h->scheduler != NULL;
	evn_scheduler_free(h->scheduler);
	drafter_close(&h->drafter);
	if (was_loaded)
		h->of->ended = trace_end(&h->trace, EVN_OK, &h->of->end_error);
	else
		trace_end(&h->trace, EVN_ERR_CANCELLED, &h->of->end_error);
	evn_engine_close(h->engine);
	evn_model_close(h->model);
	h->scheduler = NULL;
	h->engine = NULL;
	h->model = NULL;
	if (was_loaded && !interrupted())
		console_note("unloaded '%s'", h->name);
}

static evn_status start(serving *v, const settings *s, evn_error *err)
{
	const double began = evn_now_s();
	serve_entry entries[EVN_MOST_MODELS];
	for (size_t i = 0; i < v->n; i++)
		entries[i] = (serve_entry){v->models[i].name, v->models[i].info, load_model, unload_model, &v->models[i]};
	const serve_catalog c = {
		.entries = entries,
		.n = v->n,
		.most_loaded = (size_t)s->most_loaded,
		.idle_s = s->unload_s,
		.sampling = settings_sample_options(s),
		.chat = v->talk.options,
	};
	EVN_TRY(serve_set_models(v->server, &c, err));
	console_progress_end();
	atomic_store(&v->ready, true);
	console_note("serving '%s'%s at %s, loaded in %.2f s", v->models[0].name, v->n > 1 ? " and others" : "",
				 serve_url(v->server), evn_now_s() - began);
	return EVN_OK;
}

static void wait_for_signal(void)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	while (!interrupted())
		nanosleep(&pause, NULL);
}

evn_status cmd_serve(const invocation *in, evn_error *err)
{
	static serving v; /* it is large */
	interrupt_serves();
	evn_status status = listen_first(&v, &in->settings, err);
	if (status == EVN_OK)
		status = talk_open(&v.talk, &in->settings, err);
	if (status == EVN_OK)
		status = find_models(&v, &in->settings, err);
	if (status == EVN_OK)
		status = start(&v, &in->settings, err);
	if (status == EVN_OK)
		wait_for_signal();
	serve_stop(v.server, status == EVN_OK ? GRACE_S : 0);
	talk_close(&v.talk);
	for (size_t i = 0; i < v.n; i++)
		free(v.models[i].name);
	if (status == EVN_OK && v.ended != EVN_OK)
		*err = v.end_error;
	if (!interrupted())
		return status;
	interrupt_done();
	return status == EVN_OK ? v.ended : EVN_OK;
}
