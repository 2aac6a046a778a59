/* live.c - the page, and GET /events: what the devices do, once a second, as server-sent events. */
#include "serve/endpoints.h"
#include "serve/server.h"
#include "serve/static_files.h"

#include <string.h>

bool endpoint_page(exchange *x)
{
	x->reply.status = 200;
	reply_copy(&x->reply, "text/html; charset=utf-8", static_page_html, static_page_html_bytes);
	return true;
}

static json_t *ranks_json(const served_model *m, const evn_scheduler_stats *stats)
{
	const evn_plan_info *plan = evn_engine_plan(m->m.engine);
	json_t *ranks = json_array();
	for (size_t i = 0; i < plan->n_ranks; i++) {
		const evn_plan_rank *r = &plan->ranks[i];
		json_t *rank = json_pack("{s:s, s:o, s:f, s:f, s:f, s:f, s:f}", "device", r->device, "name",
								 reply_text(r->name, strlen(r->name)), "share_decode", r->share_decode,
								 "share_prefill", r->share_prefill, "busy_s", stats->ranks[i].busy_s, "wait_s",
								 stats->ranks[i].wait_s, "gbs", stats->ranks[i].gbs);
		if (rank && r->node)
			json_object_set_new(rank, "node", reply_text(r->node, strlen(r->node)));
		json_array_append_new(ranks, rank);
	}
	return ranks;
}

/* Of the model that was used last; counters count from when it was loaded. Zeros while none is loaded. */
static json_t *snapshot(server *s)
{
	served_model *m = catalog_look_latest(s);
	const evn_scheduler_stats t = m ? evn_scheduler_get_stats(m->m.scheduler) : (evn_scheduler_stats){0};
	json_t *root =
		json_pack("{s:s, s:f, s:o, s:i, s:i, s:{s:i, s:i, s:i}, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model",
				  m ? m->name : "", "time_s", evn_now_s(), "ranks", m ? ranks_json(m, &t) : json_array(), "running",
				  (int)t.n_running, "waiting", (int)t.n_waiting, "blocks", "all", (int)t.n_blocks, "used",
				  (int)t.n_used, "cached", (int)t.n_cached, "steps", (json_int_t)t.steps, "rows", (json_int_t)t.rows,
				  "tokens", (json_int_t)t.tokens, "prompt_tokens", (json_int_t)t.prompt_tokens, "cached_tokens",
				  (json_int_t)t.cached_tokens, "put_off", (json_int_t)t.put_off, "cancelled",
				  (json_int_t)t.ended[EVN_END_CANCELLED], "failed", (json_int_t)t.ended[EVN_END_FAILED]);
	catalog_look_away(s, m);
	return root;
}

/* The request has no body, so x->body holds what is not sent yet. */
static void add_snapshot(exchange *x)
{
	reply_event(&x->body, snapshot(x->server));
	x->told_ns = evn_now_ns();
}

static ssize_t read_events(exchange *x, char *to, size_t n)
{
	ssize_t given = 0;
	pthread_mutex_lock(&x->lock);
	bool ends = x->abandoned || atomic_load(&x->server->stopping);
	if (!x->body.used && !ends && exchange_is_due(x, evn_now_ns()))
		add_snapshot(x);
	if (ends) {
		given = MHD_CONTENT_READER_END_OF_STREAM;
	} else if (x->body.failed) {
		given = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (x->body.used) {
		given = (ssize_t)buffer_take(&x->body, to, n);
	} else {
		exchange_suspend(x);
	}
	pthread_mutex_unlock(&x->lock);
	return given;
}

bool endpoint_events(exchange *x)
{
	x->reply.status = 200;
	x->reply.type = "text/event-stream";
	pthread_mutex_lock(&x->lock);
	x->ticks = true;
	pthread_mutex_unlock(&x->lock);
	x->read = read_events;
	return true;
}
