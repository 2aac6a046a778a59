/* measure.c - what devices can do, run in the helper program. Every rank has a thread. Each figure is taken while all
 * ranks do the same, because devices that share a memory bus slow each other down. Only what is not known yet is
 * proved and measured. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "probe/bench.h"
#include "probe/steps.h"

#define GEMM_BUDGET_NS 10000000000u /* no further format is tried by GEMM after so long */
#define KNOWN_LIMIT ((size_t)1 << 20)

/* Of a format that only the output matrix has, the rate of single rows is enough. */
static bool is_known_on(const bench *b, uint32_t rank, size_t format, evn_dot dot)
{
	const evn_product_rates *r = &b->facts.ranks[rank].products[format][dot];
	const bool knows_prompts = r->prompt_gflops > 0 && (evn_dot_lanes(dot) > 1 || r->block_gflops > 0);
	return r->gbs > 0 && (knows_prompts || b->mix.bytes[format] <= 0);
}

/* A format of the model that must be measured. */
static bool is_wanted(const bench *b, size_t format)
{
	bool known = b->mode == EVN_TRIAL;
	for (uint32_t i = 0; i < b->n; i++)
		for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
			if (bench_dots(&b->ranks[i], evn_quant_at(format)) >> dot & 1)
				known &= is_known_on(b, i, format, dot);
	return !known && (b->mix.bytes[format] > 0 || b->mix.head == format);
}

static evn_status measure_products(bench *b, evn_queue **queues, evn_error *err)
{
	for (size_t i = 0; i < evn_quant_count(); i++) {
		if (!is_wanted(b, i))
			continue;
		EVN_TRY(bench_make_blocks(b, evn_quant_at(i), err));
		EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, bench_measure_format, err));
	}
	return EVN_OK;
}

static evn_status measure_reduces(bench *b, evn_queue **queues, evn_error *err)
{
	bool shared = true;
	for (uint32_t i = 1; i < b->n; i++)
		shared &= evn_devices_share_context(b->ranks[0].device, b->ranks[i].device);
	EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, bench_measure_reduce, err));
	if (shared)
		EVN_TRY(bench_run(b, queues, EVN_REDUCE_EVENTS, bench_measure_reduce, err));
	/* The trial of flags: where it fails, ranks share workers or do not share memory, and have other methods. */
	evn_error why = {0};
	if (bench_run(b, queues, EVN_REDUCE_FLAGS, bench_measure_reduce, &why) != EVN_OK)
		evn_log(EVN_LOG_INFO, "%s", why.text);
	return EVN_OK;
}

/* A device whose work-groups are too small for the kernels of its usual width is tried with the other one. */
static evn_status prove(bench *b, uint32_t rank, evn_error *err)
{
	bench_rank *r = &b->ranks[rank];
	evn_error why = {0};
	const evn_status s = bench_prove(b, rank, &b->record, &why);
	const uint32_t other =
		s == EVN_ERR_UNSUPPORTED && b->n == 1 ? evn_dots_of_other_width(b->workload->activations, r->device) : 0;
	if (!other)
		return s == EVN_OK ? s : evn_fail(err, s, "%s", why.text);
	evn_log(EVN_LOG_INFO, "%s", why.text);
	r->dots = other;
	r->other_dots = 0;
	return bench_prove(b, rank, &b->record, err);
}

static evn_status set_up(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	EVN_TRY(prove(b, rank, err));
	bench_prove_other_width(b, &b->ranks[rank], &b->record);
	return bench_make_input(arg, rank, err);
}

/* What every plan needs. */
static evn_status measure_trial(bench *b, evn_queue **queues, evn_error *err)
{
	const bool trains = b->workload->purpose == EVN_FOR_TRAINING;
	EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, set_up, err));
	const evn_cpu_time began = evn_cpu_time_now();
	EVN_TRY(measure_products(b, queues, err));
	if (b->mode != EVN_TRIAL || b->facts.ranks[0].launch_us <= 0)
		EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, bench_measure_launches, err));
	if (b->n > 1 && (b->mode != EVN_TRIAL || b->facts.reduce[EVN_REDUCE_HOST].token_us <= 0))
		EVN_TRY(measure_reduces(b, queues, err));
	if (trains && (b->mode != EVN_TRIAL || b->facts.ranks[0].training_gflops <= 0)) {
		EVN_TRY(bench_make_blocks(b, evn_quant_by_name("F32"), err));
		EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, bench_measure_training, err));
	}
	double spread = 0, n = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		spread += b->ranks[i].spread;
		n += b->ranks[i].n_spreads;
	}
	if (n > 0) {
		bench_report(b, 0, spread / n, "trial/spread");
		bench_report(b, 0, evn_cpu_others(&began), "trial/others");
		bench_report(b, 0, (double)time(NULL), "trial/taken");
	}
	bench_report(b, 0, 1, "enough");
	return EVN_OK;
}

/* GEMM alone only, and last, because drivers' compilers have been seen to crash on CLBlast's kernels. */
static evn_status measure_gemms(bench *b, evn_queue **queues, evn_error *err)
{
	const evn_proof_subject of = {b->model, b->ranks[0].dots, b->workload->kv_cache};
	const uint64_t began = evn_now_ns();
	if (b->workload->purpose == EVN_FOR_TEXT && evn_dots_suffice(b->model, b->ranks[0].dots))
		return EVN_OK;
	if (b->ranks[0].prompt_tokens < PROMPT_TOKENS)
		return EVN_OK; /* so slow that building CLBlast's kernels alone would try the user's patience */
	EVN_TRY(evn_prove_gemm(b->ranks[0].device, &of, &b->record, err));
	for (size_t i = 0; i < evn_quant_count() && evn_now_ns() - began < GEMM_BUDGET_NS; i++) {
		if (b->mix.bytes[i] <= 0)
			continue;
		EVN_TRY(bench_make_blocks(b, evn_quant_at(i), err));
		EVN_TRY(bench_run(b, queues, EVN_REDUCE_HOST, bench_measure_gemm, err));
	}
	return EVN_OK;
}

static void report_rates(bench *b, uint32_t rank, const evn_rates *r, const evn_model_rates *of)
{
	bench_report(b, rank, r->gemv_gbs, "steps/gbs");
	bench_report(b, rank, r->gemm_gflops, "steps/gflops");
	bench_report(b, rank, r->vocab_gbs, "steps/vocab_gbs");
	bench_report(b, rank, r->block_us, "steps/block_us");
	bench_report(b, rank, r->block_row_us, "steps/block_row_us");
	bench_report(b, rank, r->key_ns, "steps/key_ns");
	bench_report(b, rank, r->prompt_key_ns, "steps/prompt_key_ns");
	bench_report(b, rank, of->gbs, "steps_of/gbs");
	bench_report(b, rank, of->gemm ? of->gemm_gflops : of->prompt_gflops, "steps_of/prompt");
	bench_report(b, rank, of->head_gbs, "steps_of/head_gbs");
}

/* What all-reduces add in the middle of work takes the place of what they take alone. */
static void report_reduce_costs(bench *b, const evn_reduce_cost *costs)
{
	for (evn_reduce method = EVN_REDUCE_HOST; method <= EVN_REDUCE_FLAGS; method++) {
		if (!b->fit[method])
			continue;
		bench_report(b, 0, costs[method].token_us, "reduce/%d/token", (int)method);
		bench_report(b, 0, costs[method].prompt_us, "reduce/%d/prompt", (int)method);
	}
}

/* Products say what a device can do, steps what it will do. Where a model or a device is not fit for steps, products
 * must do. */
static evn_status measure_steps(bench *b, evn_error *err)
{
	evn_step_rank ranks[EVN_MAX_RANKS];
	evn_model_rates of[EVN_MAX_RANKS];
	evn_rates rates[EVN_MAX_RANKS];
	evn_reduce_cost costs[EVN_REDUCE_FLAGS + 1];
	evn_steps *steps;
	for (uint32_t i = 0; i < b->n; i++) {
		const bench_rank *r = &b->ranks[i];
		if (!evn_facts_rates(&b->facts.ranks[i], &b->mix, b->workload->activations, &of[i]))
			return evn_fail(err, EVN_ERR_DEVICE, "%s: its products were not measured", evn_device_name(r->device));
		of[i].gemm &= b->n == 1;
		ranks[i] = (evn_step_rank){r->queue, of[i].gbs, r->kind, of[i].dot, of[i].gemm, of[i].block_cost};
	}
	evn_status s = evn_steps_create(&steps, b->model, ranks, b->n, err);
	if (s == EVN_OK)
		s = evn_steps_measure(steps, b->fit, rates, costs, err);
	for (uint32_t i = 0; s == EVN_OK && i < b->n; i++)
		report_rates(b, i, &rates[i], &of[i]);
	if (s == EVN_OK && b->n > 1)
		report_reduce_costs(b, costs);
	if (s == EVN_OK)
		bench_report(b, 0, evn_steps_spread(steps), "steps/spread");
	evn_steps_free(steps);
	return s;
}

static void release_waiting(void *arg) { evn_comm_cancel(((bench *)arg)->comm); }

static evn_status measure_all(bench *b, evn_queue **queues, evn_error *err)
{
	EVN_TRY(
		evn_team_create(&b->team, &(evn_team_config){.n_ranks = b->n, .on_failure = release_waiting, .arg = b}, err));
	EVN_TRY(measure_trial(b, queues, err));
	if (b->mode != EVN_THOROUGH)
		return EVN_OK;
	if (b->n == 1)
		EVN_TRY(measure_gemms(b, queues, err));
	evn_error why = {0};
	if (b->model && measure_steps(b, &why) != EVN_OK)
		evn_log(EVN_LOG_INFO, "%s", why.text);
	return EVN_OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------
 */

static evn_status read_known(bench *b, const char *path, evn_error *err)
{
	size_t size;
	if (!path || evn_read_file(&b->known, &size, path, KNOWN_LIMIT, NULL) != EVN_OK)
		b->known = evn_strdup("");
	if (!b->known)
		return evn_fail_memory(err, "facts", 1);
	evn_facts_parse(&b->facts, b->known, 0);
	return EVN_OK;
}

static evn_status read_files(bench *b, const evn_measure_request *r, evn_error *err)
{
	EVN_TRY(read_known(b, r->known, err));
	if (r->model.path)
		EVN_TRY(evn_model_open_adapted(&b->model, &r->model, err));
	return evn_facts_mix(&b->mix, b->model, err);
}

static evn_status run(bench *b, const evn_measure_request *r, evn_error *err)
{
	evn_queue *queues[EVN_MAX_RANKS];
	if (r->n == 1)
		bench_prove_in_parallel(b, r->picks[0]);
	EVN_TRY(bench_open(b, r->picks, r->n, queues, err));
	return measure_all(b, queues, err);
}

evn_status evn_profile_measure(int fd, const evn_measure_request *r, evn_error *err)
{
	bench *b = calloc(1, sizeof *b);
	evn_error why = {0};
	if (!b)
		return evn_fail_memory(err, "measuring", sizeof *b);
	b->fd = fd;
	b->workload = &r->workload;
	b->mode = r->mode;
	b->record = bench_record(b);
	evn_status s = read_files(b, r, &why);
	const bool read = s == EVN_OK; /* else it is no fault of a device */
	if (read)
		s = run(b, r, &why);
	if (s != EVN_OK)
		dprintf(fd, "0\t%s\t%s\n", read ? "fault" : "error", why.text);
	bench_free(b);
	return s == EVN_OK ? EVN_OK : evn_fail(err, s, "%s", why.text);
}
