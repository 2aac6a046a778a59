/* cmd_bench.c - evener bench: prefill and decode speed of the device of each rank alone, and of all ranks together.
 * Repetitions are interleaved (alone 0, alone 1, ..., together, again), so that a machine that slows down slows all
 * of them alike. Medians are reported. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/kernel_times.h"
#include "cli/commands/loaded.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "evener/inspect.h"
#include "evener/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDUCE_SAMPLES 25

/* Statistics of the repetitions' tokens/s. */
typedef struct {
	double median, least, most;
} spread;

/* An engine under test: one device, or all of them. */
typedef struct {
	evn_engine *engine;
	evn_session *session;
	double *prefill, *decode; /* tokens/s of each repetition */
	spread prefill_tok_s, decode_tok_s;
} contender;

/* The message lengths of the timed all-reduces: from one token of a small model to a prompt. */
static const uint64_t message_bytes[] = {1024, 2560, 5120, 10240, 20480, 65536, 262144, 1048576};
#define N_MESSAGES (sizeof message_bytes / sizeof *message_bytes)

typedef struct {
	const settings *settings;
	evn_model *model;
	evn_model_info info;
	contender together, alone[EVN_MAX_RANKS];
	size_t n_alone;
	const evn_plan_info *plan; /* the plan of the set */
	size_t depth, prompt, decode, repeats;
	int32_t *ids;
	double all_reduce_us, message_us[N_MESSAGES]; /* 0: not measured */
	kernel_times kernels;
} bench;

static evn_status open_contender(bench *b, contender *c, const evn_options *o, evn_error *err)
{
	c->prefill = calloc(b->repeats, sizeof *c->prefill);
	c->decode = calloc(b->repeats, sizeof *c->decode);
	if (!c->prefill || !c->decode)
		return evn_fail_memory(err, "the measurements", 0);
	evn_status status = evn_engine_open(&c->engine, b->model, o, err);
	if (status == EVN_OK)
		status = evn_session_create(&c->session, c->engine, err);
	console_progress_end();
	return status;
}

static void close_contender(contender *c)
{
	evn_session_free(c->session);
	evn_engine_close(c->engine);
	free(c->prefill);
	free(c->decode);
}

static size_t longest(const bench *b) { return b->depth + (b->prompt > b->decode ? b->prompt : b->decode); }

static evn_status open_contenders(bench *b, evn_error *err)
{
	evn_options o = settings_engine_options(b->settings);
	if (o.context == 0)
		o.context = (uint32_t)longest(b);
	if (o.context < longest(b))
		return evn_fail(err, EVN_ERR_USAGE, "bench: %zu tokens do not fit into a context of %u (-c)", longest(b),
						o.context);
	evn_status status = open_contender(b, &b->together, &o, err);
	if (status != EVN_OK)
		return status;
	b->plan = evn_engine_plan(b->together.engine);
	b->n_alone = b->settings->no_alone ? 0 : b->plan->n_ranks;
	for (size_t i = 0; i < b->n_alone && status == EVN_OK; i++) {
		evn_device_rule rule = {.match = b->plan->ranks[i].device, .share = EVN_SHARE_AUTO};
		evn_options single = o;
		single.devices = &rule;
		single.n_devices = 1;
		single.shares = NULL;
		single.n_shares = 0;
		single.measure = false;
		status = open_contender(b, &b->alone[i], &single, err);
	}
	return status;
}

/* Computes n ids as a prompt, after the tokens that the context holds. */
static evn_status measure_prefill(bench *b, contender *c, size_t n, double *tok_s, evn_error *err)
{
	evn_status status = evn_session_rewind(c->session, (uint32_t)b->depth, err);
	double began = evn_now_s();
	if (status == EVN_OK)
		status = evn_session_eval(c->session, b->ids + b->depth, n, NULL, err);
	*tok_s = (double)n / (evn_now_s() - began);
	return status;
}

/* Decodes n tokens one by one. */
static evn_status measure_decode(bench *b, contender *c, size_t n, double *tok_s, evn_error *err)
{
	evn_status status = evn_session_rewind(c->session, (uint32_t)b->depth, err);
	double began = evn_now_s();
	for (size_t i = 0; i < n && status == EVN_OK; i++) {
		status = evn_session_eval(c->session, &b->ids[b->depth + i], 1, NULL, err);
		if (status == EVN_OK && interrupted())
			status = evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
	}
	*tok_s = (double)n / (evn_now_s() - began);
	return status;
}

static evn_status measure_contender(bench *b, contender *c, size_t repetition, evn_error *err)
{
	evn_status status = measure_prefill(b, c, b->prompt, &c->prefill[repetition], err);
	if (status == EVN_OK)
		status = measure_decode(b, c, b->decode, &c->decode[repetition], err);
	return status;
}

/* Warms up: the first use compiles kernels and touches memory, which must not be measured. This also fills the
 * context to its depth. */
static evn_status warm_up(bench *b, contender *c, evn_error *err)
{
	double ignored;
	evn_status status = b->depth ? evn_session_eval(c->session, b->ids, b->depth, NULL, err) : EVN_OK;
	if (status == EVN_OK)
		status = measure_prefill(b, c, b->prompt, &ignored, err);
	if (status == EVN_OK)
		status = measure_decode(b, c, 1, &ignored, err);
	return status;
}

/* ---- how long it will take --------------------------------------------------------------------------------------
 */

#define FIRST_TOKENS 512u
#define MORE_TOKENS 2048u   /* over which the growth is measured */
#define WORTH_A_WORD_S 20.0 /* shorter work is not announced */

/* What a token of a prompt takes: attention adds to it for each token before. */
typedef struct {
	double token_s, depth_s;
} pace;

static double prompt_s(pace p, size_t depth, size_t n)
{
	return (double)n * (p.token_s + p.depth_s * ((double)depth + (double)n / 2));
}

static evn_status time_eval(bench *b, size_t from, size_t n, double *seconds, evn_error *err)
{
	evn_session *s = b->together.session;
	evn_status status = evn_session_rewind(s, (uint32_t)from, err);
	double began = evn_now_s();
	if (status == EVN_OK)
		status = evn_session_eval(s, b->ids + from, n, NULL, err);
	*seconds = evn_now_s() - began;
	return status;
}

/* The plan predicts short prompts. How a long one becomes slower is measured at its beginning. */
static evn_status find_pace(bench *b, pace *out, evn_error *err)
{
	const double n = FIRST_TOKENS, m = MORE_TOKENS - FIRST_TOKENS;
	double first_s = 0, more_s = 0;
	*out = (pace){1 / b->plan->prefill_tok_s, 0};
	if (b->depth + b->prompt <= MORE_TOKENS)
		return EVN_OK;
	evn_status status = time_eval(b, 0, FIRST_TOKENS, &first_s, err); /* compiles */
	if (status == EVN_OK)
		status = time_eval(b, 0, FIRST_TOKENS, &first_s, err);
	if (status == EVN_OK)
		status = time_eval(b, FIRST_TOKENS, MORE_TOKENS - FIRST_TOKENS, &more_s, err);
	if (status == EVN_OK)
		status = evn_session_rewind(b->together.session, 0, err);
	console_progress_end();
	/* first_s = n token_s + n n / 2 depth_s; more_s = m token_s + m (n + m / 2) depth_s */
	out->depth_s = fmax(0, (more_s / m - first_s / n) / ((n + m) / 2));
	out->token_s = first_s / n - n / 2 * out->depth_s;
	return status;
}

static void note_duration(double seconds, const bench *b)
{
	char text[32];
	if (seconds < 100)
		snprintf(text, sizeof text, "%.0f s", seconds);
	else if (seconds < 6000)
		snprintf(text, sizeof text, "%.0f min", seconds / 60);
	else
		snprintf(text, sizeof text, "%.1f hours", seconds / 3600);
	console_note("measuring takes about %s: %zu rounds of a prompt of %zu tokens and %zu decoded ones (-r, -p, -n)",
				 text, b->repeats + 1, b->prompt, b->decode);
}

static evn_status announce(bench *b, evn_error *err)
{
	pace p;
	evn_status status = find_pace(b, &p, err);
	if (status != EVN_OK)
		return status;
	double rounds = (double)b->repeats + 1;
	double decode_s = (double)b->decode * (1 / b->plan->decode_tok_s + p.depth_s * (double)b->depth);
	double together_s =
		prompt_s(p, 0, b->depth) + rounds * prompt_s(p, b->depth, b->prompt) + (double)b->repeats * decode_s;
	double seconds = together_s;
	for (size_t i = 0; i < b->n_alone; i++)
		seconds += together_s * b->plan->prefill_tok_s / evn_engine_plan(b->alone[i].engine)->prefill_tok_s;
	if (seconds >= WORTH_A_WORD_S && isfinite(seconds))
		note_duration(seconds, b);
	return EVN_OK;
}

/* ---- measuring ------------------------------------------------------------------------------------------------- */

static evn_status measure_sums(bench *b, evn_error *err)
{
	evn_engine *e = b->together.engine;
	evn_status status = evn_engine_measure_all_reduce(e, 0, REDUCE_SAMPLES, &b->all_reduce_us, err);
	for (size_t i = 0; i < N_MESSAGES && status == EVN_OK; i++) {
		status = evn_engine_measure_all_reduce(e, message_bytes[i], REDUCE_SAMPLES, &b->message_us[i], err);
		if (status == EVN_ERR_LIMIT) /* this context has no message of this length */
			return EVN_OK;
	}
	return status;
}

static evn_status measure_contenders(bench *b, evn_error *err)
{
	uint64_t done = 0, total = (uint64_t)((b->n_alone + 1) * (b->repeats + 1));
	for (size_t repetition = 0; repetition <= b->repeats; repetition++)
		for (size_t i = 0; i <= b->n_alone; i++) {
			contender *c = i < b->n_alone ? &b->alone[i] : &b->together;
			evn_status status = repetition == 0 ? warm_up(b, c, err) : measure_contender(b, c, repetition - 1, err);
			if (status != EVN_OK)
				return status;
			if (!console_progress(NULL, "measuring", ++done, total))
				return evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
		}
	return measure_sums(b, err);
}

/* ---- kernels --------------------------------------------------------------------------------------------------- */

#define TIMED_TOKENS 8u

/* Times the kernels of n_steps steps that compute n tokens together. */
static evn_status time_kernels(bench *b, const char *phase, size_t n, size_t n_steps, evn_error *err)
{
	double ignored;
	contender *c = &b->together;
	evn_status status = evn_engine_time_kernels(c->engine, true, err);
	if (status == EVN_OK)
		status = (n_steps == n ? measure_decode : measure_prefill)(b, c, n, &ignored, err);
	if (status == EVN_OK)
		status = evn_engine_time_kernels(c->engine, false, err);
	if (status == EVN_OK)
		kernel_times_take(&b->kernels, c->engine, phase, (double)n_steps);
	return status;
}

static evn_status measure_kernels(bench *b, evn_error *err)
{
	const size_t n = b->decode < TIMED_TOKENS ? b->decode : TIMED_TOKENS;
	if (!b->settings->kernels)
		return EVN_OK;
	evn_status status = time_kernels(b, "prefill", b->prompt, 1, err);
	return status == EVN_OK ? time_kernels(b, "decode", n, n, err) : status;
}

static int compare_numbers(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static spread spread_of(double *values, size_t n)
{
	qsort(values, n, sizeof *values, compare_numbers);
	return (spread){n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2, values[0], values[n - 1]};
}

static void compute_medians(bench *b)
{
	for (size_t i = 0; i <= b->n_alone; i++) {
		contender *c = i < b->n_alone ? &b->alone[i] : &b->together;
		c->prefill_tok_s = spread_of(c->prefill, b->repeats);
		c->decode_tok_s = spread_of(c->decode, b->repeats);
	}
}

/* The weight bytes that one decoded token reads: all except an embedding table that is only looked up. */
static uint64_t decode_bytes(const bench *b)
{
	uint64_t bytes = b->info.tensor_bytes, embedding = 0;
	bool untied = false;
	for (uint32_t i = 0; i < b->info.n_tensors; i++) {
		evn_tensor_info t = evn_model_tensor(b->model, i);
		if (strcmp(t.name, "token_embd.weight") == 0)
			embedding = t.size_bytes;
		untied = untied || strcmp(t.name, "output.weight") == 0;
	}
	return untied ? bytes - embedding : bytes;
}

typedef struct {
	double prefill_efficiency, decode_efficiency; /* NAN if nothing was measured alone */
	double fraction_of_bandwidth;
} summary;

static summary summarise(const bench *b)
{
	double prefill = 0, decode = 0, gbs = 0;
	for (size_t i = 0; i < b->n_alone; i++) {
		prefill += b->alone[i].prefill_tok_s.median;
		decode += b->alone[i].decode_tok_s.median;
	}
	for (size_t i = 0; i < b->plan->n_ranks; i++)
		gbs += b->plan->ranks[i].gemv_gbs;
	return (summary){b->n_alone ? b->together.prefill_tok_s.median / prefill : NAN,
					 b->n_alone ? b->together.decode_tok_s.median / decode : NAN,
					 b->together.decode_tok_s.median * (double)decode_bytes(b) / (gbs * 1e9)};
}

/* {"device", "prefill_tok_s", "decode_tok_s", "prefill_range", "decode_range"} */
static json_t *speed_json(const contender *c, const char *device)
{
	json_t *speed = json_pack("{s:o, s:o, s:[o, o], s:[o, o]}", "prefill_tok_s", json_number(c->prefill_tok_s.median),
							  "decode_tok_s", json_number(c->decode_tok_s.median), "prefill_range",
							  json_number(c->prefill_tok_s.least), json_number(c->prefill_tok_s.most), "decode_range",
							  json_number(c->decode_tok_s.least), json_number(c->decode_tok_s.most));
	if (!device || !speed || json_object_set_new(speed, "device", json_text(device)) == 0)
		return speed;
	json_decref(speed);
	return NULL;
}

static json_t *sums_json(const bench *b)
{
	json_t *sums = json_array();
	for (size_t i = 0; i < N_MESSAGES; i++)
		if (b->message_us[i] > 0)
			json_push(&sums, json_pack("{s:I, s:o}", "bytes", (json_int_t)message_bytes[i], "us",
									   json_number(b->message_us[i])));
	return sums;
}

static evn_status print_bench_json(const bench *b, const summary *s, evn_error *err)
{
	json_t *alone = json_array();
	json_t *devices = json_array();
	for (size_t i = 0; i < b->n_alone; i++)
		json_push(&alone, speed_json(&b->alone[i], b->plan->ranks[i].device));
	for (size_t i = 0; i < b->plan->n_ranks; i++)
		json_push(&devices, json_text(b->plan->ranks[i].device));
	return json_print(
		json_pack("{s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "devices",
				  devices, "alone", alone, "together", speed_json(&b->together, NULL), "efficiency", "prefill",
				  json_number(s->prefill_efficiency), "decode", json_number(s->decode_efficiency),
				  "fraction_of_bandwidth", json_number(s->fraction_of_bandwidth), "decode_bytes",
				  (json_int_t)decode_bytes(b), "all_reduce_us", json_number(b->all_reduce_us), "all_reduce",
				  sums_json(b), "reduce", json_text(b->plan->reduce), "depth", (json_int_t)b->depth, "prompt_tokens",
				  (json_int_t)b->prompt, "decode_tokens", (json_int_t)b->decode, "repeats", (json_int_t)b->repeats,
				  "kernels", b->settings->kernels ? kernel_times_json(&b->kernels) : json_null()),
		err);
}

/* Adds one row to the table. */
static void speed_cells(table *t, const contender *c)
{
	const spread *p = &c->prefill_tok_s, *d = &c->decode_tok_s;
	table_cell(t, "%.1f", p->median);
	table_cell(t, "%.1f-%.1f", p->least, p->most);
	table_cell(t, "%.1f", d->median);
	table_cell(t, "%.1f-%.1f", d->least, d->most);
}

static evn_status print_bench_table(const bench *b, const summary *s, evn_error *err)
{
	table t = table_start("lrrrrl");
	table_cell(&t, "device");
	table_cell(&t, "prefill %zu, tokens/s", b->prompt);
	table_cell(&t, "range");
	table_cell(&t, "decode %zu, tokens/s", b->decode);
	table_cell(&t, "range");
	table_cell(&t, "name");
	for (size_t i = 0; i < b->n_alone; i++) {
		table_cell(&t, "%s alone", b->plan->ranks[i].device);
		speed_cells(&t, &b->alone[i]);
		table_cell(&t, "%s", b->plan->ranks[i].name);
	}
	table_cell(&t, "together");
	speed_cells(&t, &b->together);
	table_cell(&t, "%s", "");
	if (b->n_alone) {
		table_cell(&t, "efficiency");
		table_cell(&t, "%.2f", s->prefill_efficiency);
		table_cell(&t, "%s", "");
		table_cell(&t, "%.2f", s->decode_efficiency);
		table_cell(&t, "%s", "");
		table_cell(&t, "%s", "");
	}
	evn_status status = table_print(&t, err);
	printf("\n");
	if (b->depth)
		printf("after %zu tokens; ", b->depth);
	printf("decode reads %.0f %% of the measured bandwidth; an all-reduce takes %.1f us (%s)\n",
		   100 * s->fraction_of_bandwidth, b->all_reduce_us, b->plan->reduce);
	return status == EVN_OK && b->settings->kernels ? kernel_times_print(&b->kernels, err) : status;
}

/* The same ids on every run, spread over the vocabulary. */
static evn_status make_ids(bench *b, evn_error *err)
{
	size_t n = longest(b);
	b->ids = calloc(n, sizeof *b->ids);
	if (!b->ids)
		return evn_fail_memory(err, "the tokens", 0);
	for (size_t i = 0; i < n && b->info.vocab > 0; i++)
		b->ids[i] = (int32_t)((i * 7919 + 13) % b->info.vocab);
	return EVN_OK;
}

evn_status cmd_bench(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	bench b = {.settings = s,
			   .depth = (size_t)s->bench_depth,
			   .prompt = (size_t)s->bench_prompt,
			   .decode = (size_t)s->bench_decode,
			   .repeats = (size_t)s->bench_repeats};
	evn_status status = settings_open_model(s, &b.model, err);
	if (status == EVN_OK) {
		b.info = evn_model_get_info(b.model);
		status = make_ids(&b, err);
	}
	if (status == EVN_OK)
		status = open_contenders(&b, err);
	if (status == EVN_OK)
		status = announce(&b, err);
	if (status == EVN_OK)
		status = measure_contenders(&b, err);
	if (status == EVN_OK)
		status = measure_kernels(&b, err);
	console_progress_end();
	if (status == EVN_OK) {
		compute_medians(&b);
		summary result = summarise(&b);
		status = s->json ? print_bench_json(&b, &result, err) : print_bench_table(&b, &result, err);
	}
	close_contender(&b.together);
	for (size_t i = 0; i < EVN_MAX_RANKS; i++)
		close_contender(&b.alone[i]);
	kernel_times_free(&b.kernels);
	free(b.ids);
	evn_model_close(b.model);
	return status;
}
