/* cmd_bench.c - evener bench: prefill and decode speed of each rank's device alone and of all together. Repetitions
 * are interleaved (alone 0, alone 1, ..., together, again), so that a machine that slows down slows all alike;
 * medians are reported. */
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/loaded.h"
#include "cli/table.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

#define REDUCE_SAMPLES 100

/* An engine under test: one device, or all. */
typedef struct {
	evn_engine *engine;
	evn_session *session;
	double *prefill, *decode; /* tokens/s of each repetition */
	double prefill_tok_s, decode_tok_s;
} contender;

typedef struct {
	const settings *settings;
	evn_model *model;
	evn_model_info info;
	contender together, alone[EVN_MAX_RANKS];
	const evn_plan_info *plan; /* of together */
	int32_t *ids;
	double all_reduce_us;
} bench;

static evn_status open_contender(bench *b, contender *c, const evn_options *o, evn_error *err)
{
	size_t repeats = (size_t)b->settings->bench_repeats;
	c->prefill = calloc(repeats, sizeof *c->prefill);
	c->decode = calloc(repeats, sizeof *c->decode);
	if (!c->prefill || !c->decode)
		return cli_fail_memory(err, "the measurements");
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

static evn_status open_all(bench *b, evn_error *err)
{
	const settings *s = b->settings;
	int64_t longest = s->bench_prompt > s->bench_decode ? s->bench_prompt : s->bench_decode;
	evn_options o = settings_engine_options(s);
	if (o.context == 0)
		o.context = (uint32_t)longest;
	if (o.context < longest)
		return cli_fail(err, EVN_ERR_USAGE, "bench: %lld tokens do not fit into a context of %u (-c)",
						(long long)longest, o.context);
	evn_status status = open_contender(b, &b->together, &o, err);
	if (status != EVN_OK)
		return status;
	b->plan = evn_engine_plan(b->together.engine);
	for (size_t i = 0; i < b->plan->n_ranks && status == EVN_OK; i++) {
		/* "0:0/1@1" is one unit from unit 1 on; alone, the first part of that size stands for it */
		char item[128];
		snprintf(item, sizeof item, "%.*s", (int)strcspn(b->plan->ranks[i].device, "@"), b->plan->ranks[i].device);
		evn_device_rule rule = {.match = item, .share = EVN_SHARE_AUTO};
		evn_options single = o;
		single.devices = &rule;
		single.n_devices = 1;
		single.shares = NULL;
		single.n_shares = 0;
		single.remeasure = false;
		status = open_contender(b, &b->alone[i], &single, err);
	}
	return status;
}

/* One prefill of n ids from an empty context. */
static evn_status measure_prefill(bench *b, contender *c, size_t n, double *tok_s, evn_error *err)
{
	evn_status status = evn_session_rewind(c->session, 0, err);
	double began = clock_s();
	if (status == EVN_OK)
		status = evn_session_eval(c->session, b->ids, n, NULL, err);
	*tok_s = (double)n / (clock_s() - began);
	return status;
}

/* n tokens one by one, from an empty context. */
static evn_status measure_decode(bench *b, contender *c, size_t n, double *tok_s, evn_error *err)
{
	evn_status status = evn_session_rewind(c->session, 0, err);
	double began = clock_s();
	for (size_t i = 0; i < n && status == EVN_OK; i++) {
		status = evn_session_eval(c->session, &b->ids[i], 1, NULL, err);
		if (status == EVN_OK && interrupted())
			status = cli_fail(err, EVN_ERR_CANCELLED, "interrupted");
	}
	*tok_s = (double)n / (clock_s() - began);
	return status;
}

static evn_status measure_contender(bench *b, contender *c, size_t repetition, evn_error *err)
{
	evn_status status = measure_prefill(b, c, (size_t)b->settings->bench_prompt, &c->prefill[repetition], err);
	if (status == EVN_OK)
		status = measure_decode(b, c, (size_t)b->settings->bench_decode, &c->decode[repetition], err);
	return status;
}

/* First use compiles kernels and touches memory: not what is measured. */
static evn_status warm_up(bench *b, contender *c, evn_error *err)
{
	double ignored;
	evn_status status = measure_prefill(b, c, (size_t)b->settings->bench_prompt, &ignored, err);
	if (status == EVN_OK)
		status = measure_decode(b, c, 1, &ignored, err);
	return status;
}

static evn_status measure_all(bench *b, evn_error *err)
{
	size_t n = b->plan->n_ranks, repeats = (size_t)b->settings->bench_repeats;
	uint64_t done = 0, total = (uint64_t)((n + 1) * (repeats + 1));
	for (size_t repetition = 0; repetition <= repeats; repetition++)
		for (size_t i = 0; i <= n; i++) {
			contender *c = i < n ? &b->alone[i] : &b->together;
			evn_status status = repetition == 0 ? warm_up(b, c, err) : measure_contender(b, c, repetition - 1, err);
			if (status != EVN_OK)
				return status;
			if (!console_progress(NULL, "measuring", ++done, total))
				return cli_fail(err, EVN_ERR_CANCELLED, "interrupted");
		}
	return evn_engine_measure_all_reduce(b->together.engine, REDUCE_SAMPLES, &b->all_reduce_us, err);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void take_medians(bench *b)
{
	size_t repeats = (size_t)b->settings->bench_repeats;
	for (size_t i = 0; i <= b->plan->n_ranks; i++) {
		contender *c = i < b->plan->n_ranks ? &b->alone[i] : &b->together;
		c->prefill_tok_s = median(c->prefill, repeats);
		c->decode_tok_s = median(c->decode, repeats);
	}
}

/* Bytes of weights that one decoded token reads: all but an embedding table that is only looked up. */
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
	double prefill_efficiency, decode_efficiency, fraction_of_bandwidth;
} summary;

static summary summarise(const bench *b)
{
	double prefill = 0, decode = 0, gbs = 0;
	for (size_t i = 0; i < b->plan->n_ranks; i++) {
		prefill += b->alone[i].prefill_tok_s;
		decode += b->alone[i].decode_tok_s;
		gbs += b->plan->ranks[i].gemv_gbs;
	}
	return (summary){b->together.prefill_tok_s / prefill, b->together.decode_tok_s / decode,
					 b->together.decode_tok_s * (double)decode_bytes(b) / (gbs * 1e9)};
}

static evn_status print_json(const bench *b, const summary *s, evn_error *err)
{
	json_t *alone = json_array();
	for (size_t i = 0; i < b->plan->n_ranks; i++)
		json_push(&alone, json_pack("{s:o, s:o, s:o}", "device", json_text(b->plan->ranks[i].device), "prefill_tok_s",
									json_number(b->alone[i].prefill_tok_s), "decode_tok_s",
									json_number(b->alone[i].decode_tok_s)));
	return json_print(
		json_pack("{s:o, s:{s:o, s:o}, s:{s:o, s:o}, s:o, s:o, s:o, s:I, s:I, s:I}", "alone", alone, "together",
				  "prefill_tok_s", json_number(b->together.prefill_tok_s), "decode_tok_s",
				  json_number(b->together.decode_tok_s), "efficiency", "prefill", json_number(s->prefill_efficiency),
				  "decode", json_number(s->decode_efficiency), "fraction_of_bandwidth",
				  json_number(s->fraction_of_bandwidth), "all_reduce_us", json_number(b->all_reduce_us), "reduce",
				  json_text(b->plan->reduce), "prompt_tokens", (json_int_t)b->settings->bench_prompt, "decode_tokens",
				  (json_int_t)b->settings->bench_decode, "repeats", (json_int_t)b->settings->bench_repeats),
		err);
}

static evn_status print_table(const bench *b, const summary *s, evn_error *err)
{
	char prefill[48], decode[48];
	snprintf(prefill, sizeof prefill, "prefill %lld, tokens/s", (long long)b->settings->bench_prompt);
	snprintf(decode, sizeof decode, "decode %lld, tokens/s", (long long)b->settings->bench_decode);
	table t = table_start("lrrl");
	table_cell(&t, "device");
	table_cell(&t, "%s", prefill);
	table_cell(&t, "%s", decode);
	table_cell(&t, "name");
	for (size_t i = 0; i < b->plan->n_ranks; i++) {
		table_cell(&t, "%s alone", b->plan->ranks[i].device);
		table_cell(&t, "%.1f", b->alone[i].prefill_tok_s);
		table_cell(&t, "%.1f", b->alone[i].decode_tok_s);
		table_cell(&t, "%s", b->plan->ranks[i].name);
	}
	table_cell(&t, "together");
	table_cell(&t, "%.1f", b->together.prefill_tok_s);
	table_cell(&t, "%.1f", b->together.decode_tok_s);
	table_cell(&t, "%s", "");
	table_cell(&t, "efficiency");
	table_cell(&t, "%.2f", s->prefill_efficiency);
	table_cell(&t, "%.2f", s->decode_efficiency);
	table_cell(&t, "%s", "");
	evn_status status = table_print(&t, err);
	printf("\ndecode reads %.0f %% of the measured bandwidth; a sum over the ranks takes %.1f us (%s)\n",
		   100 * s->fraction_of_bandwidth, b->all_reduce_us, b->plan->reduce);
	return status;
}

/* The same ids every time, spread over the vocabulary. */
static evn_status make_ids(bench *b, evn_error *err)
{
	const settings *s = b->settings;
	size_t n = (size_t)(s->bench_prompt > s->bench_decode ? s->bench_prompt : s->bench_decode);
	b->ids = calloc(n, sizeof *b->ids);
	if (!b->ids)
		return cli_fail_memory(err, "the tokens");
	for (size_t i = 0; i < n && b->info.vocab > 0; i++)
		b->ids[i] = (int32_t)((i * 7919 + 13) % b->info.vocab);
	return EVN_OK;
}

evn_status cmd_bench(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	bench b = {.settings = s};
	evn_status status = settings_open_model(s, &b.model, err);
	if (status == EVN_OK) {
		b.info = evn_model_get_info(b.model);
		status = make_ids(&b, err);
	}
	if (status == EVN_OK)
		status = open_all(&b, err);
	if (status == EVN_OK)
		status = measure_all(&b, err);
	console_progress_end();
	if (status == EVN_OK) {
		take_medians(&b);
		summary result = summarise(&b);
		status = s->json ? print_json(&b, &result, err) : print_table(&b, &result, err);
	}
	close_contender(&b.together);
	for (size_t i = 0; i < EVN_MAX_RANKS; i++)
		close_contender(&b.alone[i]);
	free(b.ids);
	evn_model_close(b.model);
	return status;
}
