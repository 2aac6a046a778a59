/* cmd_serve.c - evener serve: listens, loads the model, serves until a signal comes. */
#include "cli/chat/talk.h"
#include "cli/cli.h"
#include "cli/commands/drafter.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/trace.h"
#include "serve/serve.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define GRACE_S 2.0 /* for running answers, once a signal has come */

typedef struct {
	server *server;
	evn_model *model;
	evn_engine *engine;
	drafter drafter;
	evn_scheduler *scheduler;
	trace trace;
	talk talk; /* the chat template */
	atomic_bool ready;
} serving;

static const char *served_name(const settings *s, const evn_model *m)
{
	evn_model_info info = evn_model_get_info(m);
	if (s->served_name)
		return s->served_name;
	if (info.name && *info.name)
		return info.name;
	if (!s->model_path)
		return s->architecture;
	const char *slash = strrchr(s->model_path, '/');
	return slash ? slash + 1 : s->model_path;
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

/* A signal stops loading. Later it does not stop a step at once: running answers have their time. */
static bool show_loading(void *user, const char *what, uint64_t done, uint64_t total)
{
	const serving *v = user;
	return atomic_load(&v->ready) || console_progress(NULL, what, done, total);
}

static evn_status load(serving *v, const settings *s, evn_error *err)
{
	double began = evn_now_s();
	evn_options o = settings_engine_options(s);
	o.cache_tokens = (uint32_t)s->cache_tokens;
	o.rebalance = s->rebalance;
	o.progress = show_loading;
	o.progress_user = v;
	EVN_TRY(settings_open_model(s, &v->model, err));
	EVN_TRY(drafter_open(&v->drafter, s, v->model, err));
	EVN_TRY(evn_engine_open(&v->engine, v->model, &o, err));
	EVN_TRY(drafter_load(&v->drafter, v->engine, &o, err));
	EVN_TRY(trace_begin(&v->trace, s, v->engine, err));
	const evn_scheduler_options scheduling = {.max_waiting = (uint32_t)s->max_waiting,
											  .speculate = (evn_speculate)s->speculate,
											  .draft = v->drafter.engine};
	EVN_TRY(evn_scheduler_create(&v->scheduler, v->engine, &scheduling, err));
	const serve_model m = {
		.name = served_name(s, v->model),
		.model = v->model,
		.engine = v->engine,
		.scheduler = v->scheduler,
		.sampling = settings_sample_options(s),
		.chat = v->talk.options,
	};
	console_progress_end();
	atomic_store(&v->ready, true);
	EVN_TRY(serve_set_model(v->server, &m, err));
	console_note("serving '%s' at %s, loaded in %.2f s", m.name, serve_url(v->server), evn_now_s() - began);
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
	serving v = {0};
	interrupt_serves();
	evn_status status = listen_first(&v, &in->settings, err);
	if (status == EVN_OK)
		status = talk_open(&v.talk, &in->settings, err);
	if (status == EVN_OK)
		status = load(&v, &in->settings, err);
	if (status == EVN_OK)
		wait_for_signal();
	serve_stop(v.server, status == EVN_OK ? GRACE_S : 0);
	evn_scheduler_free(v.scheduler);
	drafter_close(&v.drafter);
	const evn_status ended = trace_end(&v.trace, status, err);
	evn_engine_close(v.engine);
	evn_model_close(v.model);
	talk_close(&v.talk);
	if (!interrupted())
		return status;
	interrupt_done();
	return status == EVN_OK ? ended : EVN_OK;
}
