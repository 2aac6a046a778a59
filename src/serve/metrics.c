/* metrics.c - GET /metrics in Prometheus' text format. The names are llama-server's and vLLM's where they mean the
 * same; what both lack begins with evener. */
#include "serve/metrics.h"
#include "serve/endpoints.h"
#include "serve/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const double bounds[N_BOUNDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600};

void histogram_add(histogram *h, double seconds)
{
	size_t i = 0;
	if (!(seconds >= 0))
		return;
	while (i < N_BOUNDS && seconds > bounds[i])
		i++;
	atomic_fetch_add(&h->counts[i], 1);
	atomic_fetch_add(&h->sum_ns, (uint64_t)(seconds * 1e9));
}

void metrics_request(metrics *m, const evn_request_result *r, double seconds)
{
	uint64_t n = (uint64_t)r->n_prompt + r->n_tokens, most = atomic_load(&m->most_tokens);
	histogram_add(&m->whole, seconds);
	histogram_add(&m->queue, r->queue_s);
	histogram_add(&m->prefill, r->prompt_s);
	histogram_add(&m->decode, r->decode_s);
	while (n > most && !atomic_compare_exchange_weak(&m->most_tokens, &most, n))
		;
}

static void head(buffer *b, const char *name, const char *type, const char *help)
{
	buffer_print(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(buffer *b, const char *name, const char *type, const char *help, double value)
{
	head(b, name, type, help);
	buffer_print(b, "%s %.15g\n", name, value);
}

static void print_histogram(buffer *b, const char *name, const char *help, histogram *h)
{
	uint64_t n = 0;
	head(b, name, "histogram", help);
	for (size_t i = 0; i < N_BOUNDS; i++) {
		n += atomic_load(&h->counts[i]);
		buffer_print(b, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i], n);
	}
	n += atomic_load(&h->counts[N_BOUNDS]);
	buffer_print(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9f\n%s_count %" PRIu64 "\n", name, n, name,
				 (double)atomic_load(&h->sum_ns) * 1e-9, name, n);
}

static double rate(uint64_t n, double seconds) { return seconds > 0 ? (double)n / seconds : 0; }

static void print_tokens(buffer *b, const evn_scheduler_stats *s)
{
	double prompts = (double)s->prompt_tokens, tokens = (double)s->tokens;
	one(b, "llamacpp:prompt_tokens_total", "counter", "Prompt tokens computed.", prompts);
	one(b, "llamacpp:prompt_seconds_total", "counter", "Time of steps with prompt tokens.", s->prompt_s);
	one(b, "llamacpp:prompt_tokens_seconds", "gauge", "Mean prompt tokens per second.",
		rate(s->prompt_tokens, s->prompt_s));
	one(b, "llamacpp:tokens_predicted_total", "counter", "Tokens drawn.", tokens);
	one(b, "llamacpp:tokens_predicted_seconds_total", "counter", "Time of steps without prompt tokens.", s->decode_s);
	one(b, "llamacpp:predicted_tokens_seconds", "gauge", "Mean tokens drawn per second.",
		rate(s->tokens, s->decode_s));
	one(b, "llamacpp:n_decode_total", "counter", "Steps.", (double)s->steps);
	one(b, "llamacpp:n_busy_slots_per_decode", "gauge", "Mean rows of a step.",
		s->steps ? (double)s->rows / (double)s->steps : 0);
	one(b, "vllm:prompt_tokens_total", "counter", "Prompt tokens, those found in the cache too.",
		prompts + (double)s->cached_tokens);
	one(b, "vllm:generation_tokens_total", "counter", "Tokens drawn.", tokens);
	one(b, "vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the cache.",
		prompts + (double)s->cached_tokens);
	one(b, "vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the cache.", (double)s->cached_tokens);
	one(b, "vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed and verified.", (double)s->drafted);
	one(b, "vllm:spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were drawn.",
		(double)s->accepted);
	one(b, "vllm:num_preemptions_total", "counter", "Requests that were put off and computed again.",
		(double)s->put_off);
}

static void print_requests(buffer *b, const evn_scheduler_stats *s)
{
	static const char *const reasons[] = {"stop", "length", "abort", "error"}; /* in evn_request_end's order */
	one(b, "llamacpp:requests_processing", "gauge", "Requests being computed.", s->n_running);
	one(b, "llamacpp:requests_deferred", "gauge", "Requests that wait.", s->n_waiting);
	one(b, "vllm:num_requests_running", "gauge", "Requests being computed.", s->n_running);
	one(b, "vllm:num_requests_waiting", "gauge", "Requests that wait.", s->n_waiting);
	head(b, "vllm:request_success_total", "counter", "Requests that have ended, by reason.");
	for (size_t i = 0; i <= EVN_END_FAILED; i++)
		buffer_print(b, "vllm:request_success_total{finished_reason=\"%s\"} %" PRIu64 "\n", reasons[i], s->ended[i]);
	one(b, "vllm:kv_cache_usage_perc", "gauge", "Cache blocks in use; 1 is all.",
		s->n_blocks ? (double)s->n_used / s->n_blocks : 0);
	head(b, "evener:cache_blocks", "gauge", "Cache blocks of 64 positions.");
	buffer_print(b,
				 "evener:cache_blocks{state=\"used\"} %u\nevener:cache_blocks{state=\"cached\"} "
				 "%u\nevener:cache_blocks{state=\"free\"} %u\n",
				 s->n_used, s->n_cached, s->n_blocks - s->n_used - s->n_cached);
}

typedef struct {
	char text[384];
} labels;

/* Ranks of several models are told apart by the model's name. */
static labels labels_of(const server *s, const served_model *m, const evn_plan_rank *r)
{
	labels l;
	size_t used = (size_t)snprintf(l.text, sizeof l.text, "device=\"%.80s\"", r->device);
	if (r->node)
		used += (size_t)snprintf(l.text + used, sizeof l.text - used, ",node=\"%.100s\"", r->node);
	if (s->catalog.n > 1)
		snprintf(l.text + used, sizeof l.text - used, ",model=\"%.100s\"", m->name);
	return l;
}

typedef struct {
	served_model *models[EVN_MOST_MODELS]; /* those that are loaded */
	evn_scheduler_stats stats[EVN_MOST_MODELS];
	size_t n;
} looks;

typedef enum { BUSY_S, WAIT_S, GBS } rank_figure;

static void print_rank_figure(buffer *b, const server *s, const looks *l, const char *name, rank_figure what)
{
	for (size_t k = 0; k < l->n; k++) {
		const evn_plan_info *plan = evn_engine_plan(l->models[k]->m.engine);
		for (size_t i = 0; i < plan->n_ranks; i++) {
			const evn_rank_stats *r = &l->stats[k].ranks[i];
			buffer_print(b, "%s{%s} %.6f\n", name, labels_of(s, l->models[k], &plan->ranks[i]).text,
						 what == BUSY_S   ? r->busy_s
						 : what == WAIT_S ? r->wait_s
										  : r->gbs);
		}
	}
}

static void print_shares(buffer *b, const server *s, const looks *l)
{
	for (size_t k = 0; k < l->n; k++) {
		const evn_plan_info *plan = evn_engine_plan(l->models[k]->m.engine);
		for (size_t i = 0; i < plan->n_ranks; i++) {
			const labels label = labels_of(s, l->models[k], &plan->ranks[i]);
			buffer_print(b,
						 "evener:rank_share{%s,phase=\"decode\"} %.6f\nevener:rank_share{%s,phase=\"prompt\"} %.6f\n",
						 label.text, l->stats[k].ranks[i].share, label.text, plan->ranks[i].share_prefill);
		}
	}
}

static void print_ranks(buffer *b, server *s)
{
	looks l = {.n = 0};
	double events = 0;
	for (size_t i = 0; i < s->catalog.n; i++) {
		served_model *m = catalog_look(s, i);
		if (!m)
			continue;
		events += (double)evn_engine_events(m->m.engine, NULL, 0);
		l.stats[l.n] = evn_scheduler_get_stats(m->m.scheduler);
		l.models[l.n++] = m;
	}
	one(b, "evener:engine_events_total", "counter", "Devices that failed, and moves of shares.", events);
	head(b, "evener:rank_share", "gauge",
		 "Part of the matrices that a device computes, decoding now and prompts as planned.");
	print_shares(b, s, &l);
	head(b, "evener:rank_busy_seconds_total", "counter", "Time in which a device computed.");
	print_rank_figure(b, s, &l, "evener:rank_busy_seconds_total", BUSY_S);
	head(b, "evener:rank_wait_seconds_total", "counter", "Time in which a device waited for others.");
	print_rank_figure(b, s, &l, "evener:rank_wait_seconds_total", WAIT_S);
	head(b, "evener:rank_gigabytes_per_second", "gauge", "Weights that a device read, per second of computing.");
	print_rank_figure(b, s, &l, "evener:rank_gigabytes_per_second", GBS);
	for (size_t i = 0; i < l.n; i++)
		catalog_look_away(s, l.models[i]);
}

bool endpoint_metrics(exchange *x)
{
	server *s = x->server;
	metrics *m = &s->metrics;
	buffer b = {0};
	evn_scheduler_stats stats = catalog_stats(s);
	print_requests(&b, &stats);
	print_tokens(&b, &stats);
	one(&b, "llamacpp:n_tokens_max", "counter", "Most tokens of a request, with its prompt.",
		(double)atomic_load(&m->most_tokens));
	print_histogram(&b, "vllm:time_to_first_token_seconds", "From the request to its first token.", &m->first_token);
	print_histogram(&b, "vllm:inter_token_latency_seconds", "Between tokens of a request.", &m->next_token);
	print_histogram(&b, "vllm:e2e_request_latency_seconds", "From the request to its end.", &m->whole);
	print_histogram(&b, "vllm:request_queue_time_seconds", "Waiting.", &m->queue);
	print_histogram(&b, "vllm:request_prefill_time_seconds", "From being admitted to the first token.", &m->prefill);
	print_histogram(&b, "vllm:request_decode_time_seconds", "From the first token to the end.", &m->decode);
	print_ranks(&b, s);
	x->reply.status = b.failed ? 500 : 200;
	x->reply.type = "text/plain; version=0.0.4";
	x->reply.body = b.data;
	x->reply.bytes = b.used;
	return true;
}
