/* harness.h - shared by the engine's tests: engines on a list of devices, model files, and skipping. */
#ifndef EVN_TEST_HARNESS_H
#define EVN_TEST_HARNESS_H

#include "evener.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SKIPPED 77

/* The exit status of main when something is missing: a skip, or a failure if nothing may be skipped. */
static inline int missing(const char *what)
{
	const char *ci = getenv("CI");
	printf("skipped: %s\n", what);
	return ci && !strcmp(ci, "true") ? 1 : SKIPPED;
}

static inline bool file_exists(const char *path)
{
	struct stat st;
	return path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* True if a driver with this short name has a usable device. */
static inline bool driver_exists(const char *platform)
{
	evn_device_list *list;
	bool found = false;
	if (evn_devices_find(&list, false, NULL, NULL, NULL) != EVN_OK)
		return false;
	for (size_t i = 0; i < evn_devices_count(list); i++) {
		const evn_device_info *d = evn_devices_get(list, i);
		found |= d->usable && !strcmp(d->platform, platform);
	}
	evn_devices_free(list);
	return found;
}

#define require_ok(call) require_ok_(call, &err, #call, __FILE__, __LINE__)
static inline void require_ok_(evn_status s, const evn_error *err, const char *call, const char *file, int line)
{
	if (s != EVN_OK) {
		print_error("%s: %s: %s\n", call, evn_status_name(s), err->text);
		_fail(file, line);
	}
}

static inline int32_t likeliest(const float *logits, uint32_t vocab)
{
	int32_t best = 0;
	for (uint32_t i = 1; i < vocab; i++)
		best = logits[i] > logits[best] ? (int32_t)i : best;
	return best;
}

/* One configuration: "pocl,pocl" with shares {5, 3}. */
typedef struct {
	const char *devices; /* items with commas between them */
	const double *shares, *prompt_shares;
	size_t n_shares;
	uint32_t context, batch;
	evn_reduce reduce;
	evn_kv_cache kv_cache;
	bool rounds; /* activations may be rounded to 8 bits; else f32, which references and comparisons of splits are
					held to */
	bool rebalance;
	uint32_t verify_every;
	uint64_t memory_bytes;
	uint32_t deadline_s;
	evn_progress_fn progress;
	void *progress_user;
} engine_setup;

static inline evn_status open_engine(evn_engine **out, const evn_model *m, const engine_setup *w, evn_error *err)
{
	evn_device_rule rules[EVN_MAX_RANKS] = {0};
	char list[256], *rest = list;
	evn_options o = {.devices = rules,
					 .shares = w->shares,
					 .n_shares = w->n_shares,
					 .prompt_shares = w->prompt_shares,
					 .context = w->context,
					 .batch = w->batch,
					 .reduce = w->reduce,
					 .kv_cache = w->kv_cache,
					 .activations = w->rounds ? EVN_ACTIVATIONS_AUTO : EVN_ACTIVATIONS_F32,
					 .rebalance = w->rebalance,
					 .verify_every = w->verify_every,
					 .deadline_s = w->deadline_s,
					 .progress = w->progress,
					 .progress_user = w->progress_user};
	snprintf(list, sizeof list, "%s", w->devices);
	for (char *item; (item = strsep(&rest, ",")) && o.n_devices < EVN_MAX_RANKS;)
		rules[o.n_devices++] =
			(evn_device_rule){.match = item, .share = EVN_SHARE_AUTO, .memory_bytes = w->memory_bytes};
	return evn_engine_open(out, m, &o, err);
}

/* A model, its engine and one session. */
typedef struct {
	evn_model *model;
	evn_engine *engine;
	evn_session *session;
	uint32_t vocab;
} running;

static inline running start(const char *path, const engine_setup *w)
{
	running r = {0};
	evn_error err = {0};
	require_ok(evn_model_open(&r.model, path, &err));
	r.vocab = evn_model_get_info(r.model).vocab;
	require_ok(open_engine(&r.engine, r.model, w, &err));
	require_ok(evn_session_create(&r.session, r.engine, &err));
	return r;
}

static inline void stop(running *r)
{
	evn_session_free(r->session);
	evn_engine_close(r->engine);
	evn_model_close(r->model);
	*r = (running){0};
}

#endif
