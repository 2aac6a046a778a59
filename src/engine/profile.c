/* profile.c - profiles from facts: measured in the helper program, kept as its lines of text on disk. */
#include "engine/profile.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "engine/doubt.h"
#include "ocl/gemm_params.h"
#include "proof/proof.h"

#define TIME_LIMIT_S 360u
#define FILE_LIMIT ((size_t)1 << 20)
#define LINE_FORMAT "15" /* of the lines; part of the key */
#define FRESH_S 60
#define OTHERS 0.25 /* cores: what an idle desktop does is not worth a word */

/* Settings that change what a driver does with the machine. */
static const char *const driver_settings[] = {
	"OPENCL_LAYERS",     "POCL_MAX_PTHREAD_COUNT",    "POCL_AFFINITY", "POCL_WORK_GROUP_METHOD",
	"DPCPP_CPU_NUM_CUS", "CL_CONFIG_CPU_TARGET_ARCH", "LP_NUM_THREADS"};

static char *cache_file(const evn_system *s, const evn_pick *picks, uint32_t n)
{
	uint64_t h = evn_hash_str(EVN_HASH_START, LINE_FORMAT);
	h = evn_hash_str(h, evn_version());
	for (uint32_t i = 0; i < n; i++) {
		uint64_t device =
			evn_pick_fingerprint(s, &picks[i], evn_kernels_hash()); /* not its id: other drivers come and go */
		h = evn_hash(h, &device, sizeof device);
		evn_gemm_params gemm; /* other parameters, other rates */
		char text[EVN_GEMM_TEXT] = "";
		if (evn_gemm_params_of(s, picks[i].device, &gemm))
			evn_gemm_params_text(&gemm, text);
		h = evn_hash_str(h, text);
	}
	for (size_t i = 0; i < sizeof driver_settings / sizeof *driver_settings; i++) {
		const char *value = getenv(driver_settings[i]);
		h = evn_hash_str(h, value ? value : "");
	}
	char name[64];
	snprintf(name, sizeof name, "profiles/%016llx.txt", (unsigned long long)h);
	return evn_cache_path(name);
}

/* ---- a model's profile ------------------------------------------------------------------------------------------
 */

/* What a model needs to be known. */
typedef struct {
	uint64_t signature;
	evn_weight_mix mix;
	bool any; /* no model: whatever format was measured */
} model_needs;

static evn_status find_needs(model_needs *out, const evn_model *m, const evn_workload *w, evn_error *err)
{
	/* What a device can choose from follows from the device, and is no part of what the model needs. */
	const evn_proof_subject subject = {m, 1u << EVN_DOT_NONE | 1u << EVN_DOT_PLAIN, w->kv_cache};
	EVN_TRY(evn_proof_signature(&out->signature, &subject, err));
	out->signature = evn_hash(out->signature, &w->purpose, sizeof w->purpose);
	out->signature = evn_hash(out->signature, &w->activations, sizeof w->activations);
	return evn_facts_mix(&out->mix, m, err);
}

/* A model of the first format that was measured. */
static evn_weight_mix any_format(const evn_rank_facts *r)
{
	evn_weight_mix mix = {.head = 0};
	for (size_t i = 0; i < evn_quant_count() && mix.bytes[mix.head] <= 0; i++)
		for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
			if (r->products[i][dot].gbs > 0) {
				mix.head = i;
				mix.bytes[i] = mix.macs[i] = 1;
			}
	return mix;
}

static void make_rank(evn_rank_profile *r, const evn_facts *f, uint32_t rank, const model_needs *needs,
					  const evn_workload *w)
{
	const evn_rank_facts *facts = &f->ranks[rank];
	evn_model_rates rates;
	*r = (evn_rank_profile){0};
	snprintf(r->fault, sizeof r->fault, "%s", f->fault);
	if (r->fault[0])
		return;
	const evn_weight_mix of_any = any_format(facts);
	if (!(needs->any || f->knows_model) ||
		!evn_facts_rates(facts, needs->any ? &of_any : &needs->mix, w->activations, &rates)) {
		snprintf(r->fault, sizeof r->fault, "nothing was measured");
		return;
	}
	r->dot = rates.dot;
	r->gemv_gbs = rates.gbs;
	r->prompt_gflops = rates.prompt_gflops;
	r->gemm_gflops = rates.gemm_gflops;
	r->gemm = rates.gemm;
	r->block_cost = rates.block_cost;
	r->training_gflops = facts->training_gflops > 0 ? facts->training_gflops : rates.gemm_gflops;
	r->launch_us = facts->launch_us;
	r->map_us = facts->map_us;
	r->steps = rates.steps;
}

static void make_profile(evn_profile *p, const evn_facts *f, uint32_t n, const model_needs *needs,
						 const evn_workload *w)
{
	const evn_reduce_cost *reduce = f->reduce;
	*p = (evn_profile){.host_us = reduce[EVN_REDUCE_HOST].token_us,
					   .events_us = reduce[EVN_REDUCE_EVENTS].token_us,
					   .flags_us = reduce[EVN_REDUCE_FLAGS].token_us,
					   .host_prompt_us = reduce[EVN_REDUCE_HOST].prompt_us,
					   .events_prompt_us = reduce[EVN_REDUCE_EVENTS].prompt_us,
					   .flags_prompt_us = reduce[EVN_REDUCE_FLAGS].prompt_us,
					   .measured = f->steps.taken_s > 0 ? f->steps : f->trial};
	for (uint32_t i = 0; i < n; i++)
		make_rank(&p->ranks[i], f, i, needs, w);
	p->measured.thorough = f->steps.taken_s > 0;
	p->measured_again = f->again > 0 && !p->measured.thorough;
	p->measured.doubted = !p->measured_again && evn_doubt_covers(p->measured.taken_s);
	p->is_fresh = fabs((double)time(NULL) - f->trial.taken_s) < FRESH_S;
}

/* ---- measuring ------------------------------------------------------------------------------------------------ */

/* One of the sets that are measured, and where its facts are kept. */
typedef struct {
	const evn_profile_request *request;
	char names[EVN_MAX_RANKS][96];
	char *cache; /* file; NULL: there is no folder */
	char *lines; /* that are known */
	evn_facts facts;
	evn_child child;
} measured_set;

/* A caller that waits sees which device is measured, and may end it. */
typedef struct {
	const evn_profile_options *o;
	char what[160];
	bool stopped;
} waiting;

static uint32_t limit_of(const evn_profile_options *o) { return o->limit_s ? o->limit_s : TIME_LIMIT_S; }

static bool go_on(void *user)
{
	waiting *w = user;
	if (w->o->progress && !w->o->progress(w->o->progress_user, w->what, 0, 0))
		w->stopped = true;
	return !w->stopped;
}

_Static_assert(5 + EVN_MAX_ADAPTERS + EVN_MAX_RANKS < sizeof((evn_child *)0)->argv / sizeof(char *),
			   "arguments of a helper");

static void name_work(char *out, size_t size, const measured_set *sets, uint32_t n_sets, bool thorough)
{
	snprintf(out, size, "%s %.90s%s", thorough ? "measuring" : "first use: proving and timing the kernels of",
			 sets[0].names[0],
			 n_sets > 1               ? " whole and in parts"
			 : sets[0].request->n > 1 ? " and others together"
									  : "");
}

/* Several sets are measured in time slices, each set in a helper of its own. */
static evn_status run_helpers(measured_set *sets, uint32_t n_sets, const char *helper, const evn_model *m,
							  const evn_profile_options *o, evn_error *err)
{
	const bool thorough = o->measuring == EVN_MEASURE_THOROUGH;
	const evn_measure_mode mode = thorough ? EVN_THOROUGH : sets[0].facts.knows_model ? EVN_TRIAL_AGAIN : EVN_TRIAL;
	evn_child children[EVN_MAX_CANDIDATES] = {0};
	char workload[64];
	waiting w = {.o = o};
	const char *const *adapters = NULL;
	const uint32_t n_adapters = m ? evn_model_adapters(m, &adapters) : 0;
	snprintf(workload, sizeof workload, "%d,%d,%d,%d,%d,%u", (int)o->workload.purpose, (int)o->workload.activations,
			 (int)o->workload.kv_cache, (int)mode, n_sets > 1, n_adapters);
	name_work(w.what, sizeof w.what, sets, n_sets, thorough);
	for (uint32_t i = 0; i < n_sets; i++) {
		const char **argv = children[i].argv;
		argv[0] = helper;
		argv[1] = "measure";
		argv[2] = workload;
		argv[3] = sets[i].cache ? sets[i].cache : "-";
		argv[4] = m ? evn_gguf_name(evn_model_gguf(m)) : "-";
		for (uint32_t k = 0; k < n_adapters; k++)
			argv[5 + k] = adapters[k];
		for (uint32_t k = 0; k < sets[i].request->n; k++)
			argv[5 + n_adapters + k] = sets[i].names[k];
		children[i].time_sliced = n_sets > 1;
		free(sets[i].child.output);
	}
	evn_children_run(children, n_sets, limit_of(o) * (uint64_t)1000000000, &(evn_patience){go_on, &w});
	bool started = true;
	for (uint32_t i = 0; i < n_sets; i++) {
		sets[i].child = children[i];
		started &= children[i].started && children[i].output;
	}
	if (w.stopped)
		return evn_fail(err, EVN_ERR_CANCELLED, "%s was stopped", w.what);
	return started ? EVN_OK : evn_fail(err, EVN_ERR_FILE, "%s: could not be started", helper);
}

/* The text behind `key` in the helper's lines, up to the end of its line; "": none. */
static const char *said(const char *lines, const char *key, char *out, size_t size)
{
	const char *at = strstr(lines, key);
	snprintf(out, size, "%.*s", at ? (int)strcspn(at + strlen(key), "\n") : 0, at ? at + strlen(key) : "");
	return out;
}

/* A helper that hangs keeps the time-slice lock from the others. Then each set is measured by itself. */
static evn_status run_all(measured_set *sets, uint32_t n_sets, const char *helper, const evn_model *m,
						  const evn_profile_options *o, evn_error *err)
{
	EVN_TRY(run_helpers(sets, n_sets, helper, m, o, err));
	for (uint32_t i = 0; i < n_sets && n_sets > 1; i++)
		if (sets[i].child.timed_out)
			EVN_TRY(run_helpers(&sets[i], 1, helper, m, o, err));
	/* A file that the helper cannot read says nothing about devices, and is not kept as if it did. */
	for (uint32_t i = 0; i < n_sets; i++) {
		char error[512];
		if (said(sets[i].child.output, "\terror\t", error, sizeof error)[0])
			return evn_fail(err, EVN_ERR_FILE, "%s: %s", helper, error);
	}
	return EVN_OK;
}

/* Why the helper did not come to its end; "": it did. */
static void find_fault(const measured_set *set, uint32_t limit_s, char *out, size_t size)
{
	if (set->child.timed_out)
		snprintf(out, size, "measuring took more than %u s", limit_s);
	else if (WIFSIGNALED(set->child.status))
		snprintf(out, size, "the driver crashed (%s) while it was measured", strsignal(WTERMSIG(set->child.status)));
	else
		said(set->child.output, "\tfault\t", out, size);
}

static bool is_doubted(const evn_facts *f)
{
	return !(f->again > 0) && f->steps.taken_s <= 0 && evn_doubt_covers(f->trial.taken_s);
}

/* The lines for one model: all is known, or why it cannot run on this set. Failures of drivers are kept as rates are.
 * What the helper knew when it said "enough" counts, also if a driver failed later. */
static char *model_lines(const measured_set *set, const model_needs *needs, double others,
						 const evn_profile_options *o)
{
	const unsigned long long of = needs->signature;
	const bool thorough = o->measuring == EVN_MEASURE_THOROUGH;
	const bool late = set->child.timed_out, enough = strstr(set->child.output, "\tenough\t") != NULL;
	const long long now = (long long)time(NULL);
	char fault[200], when[128] = "";
	const char *again = thorough ? "0\ttrial/again\t0\n" : is_doubted(&set->facts) ? "0\ttrial/again\t1\n" : "";
	find_fault(set, limit_of(o), fault, sizeof fault);
	if (fault[0])
		evn_log(enough ? EVN_LOG_INFO : EVN_LOG_WARN, "%s%s: %s", set->names[0],
				set->request->n > 1 ? " and others together" : "", fault);
	if (thorough)
		snprintf(when, sizeof when, "0\tsteps/taken\t%lld\n0\tsteps/others\t%.2f\n", now, others);
	return evn_format("0\tmodel/%llx\t%d\n0\tfault/%llx\t%s\n0\tlate/%llx\t%u\n%s%s", of, enough, of,
					  enough || !fault[0] ? "-" : fault, of, late ? (set->facts.late ? 2u : 1u) : 0, when, again);
}

/* What the helper measured joins what is known. */
static evn_status keep(measured_set *set, const model_needs *needs, double others, const evn_profile_options *o,
					   evn_error *err)
{
	const bool thorough = o->measuring == EVN_MEASURE_THOROUGH;
	char *of_model = model_lines(set, needs, others, o);
	char *more = of_model ? evn_format("%s%s", set->child.output, of_model) : NULL;
	char *lines = more ? evn_facts_merge(set->lines ? set->lines : "", more) : NULL;
	free(of_model);
	free(more);
	if (!lines)
		return evn_fail_memory(err, "profile", strlen(set->child.output));
	if (set->cache)
		evn_write_file(set->cache, lines, strlen(lines), NULL);
	free(set->lines);
	set->lines = lines;
	evn_facts_parse(&set->facts, lines, needs->signature);
	const double busy = thorough ? set->facts.steps.others : set->facts.trial.others;
	if (busy > OTHERS)
		evn_log(EVN_LOG_INFO, "%s was measured while other programs kept %.1f cores busy", set->names[0], busy);
	return EVN_OK;
}

static evn_status measure(measured_set *sets, uint32_t n_sets, const evn_model *m, const model_needs *needs,
						  const evn_profile_options *o, evn_error *err)
{
	char *helper = evn_find_probe();
	if (!helper)
		return evn_fail(err, EVN_ERR_FILE, "evener-probe, which measures devices, is not installed beside evener");
	evn_cpu_time began = evn_cpu_time_now();
	evn_status status = run_all(sets, n_sets, helper, m, o, err);
	double others = evn_cpu_others(&began);
	for (uint32_t i = 0; i < n_sets && status == EVN_OK; i++)
		status = keep(&sets[i], needs, others, o, err);
	free(helper);
	return status;
}

/* What was measured of ranks that are alike differs by chance. Steps are averaged where they are measured. */
static void average_alike(evn_profile *p, const evn_pick *picks, uint32_t n)
{
	const evn_profile measured = *p;
	for (uint32_t i = 0; i < n; i++) {
		double gemv_gbs = 0, prompt_gflops = 0, training_gflops = 0, n_alike = 0;
		for (uint32_t k = 0; k < n; k++) {
			const evn_rank_profile *r = &measured.ranks[k];
			if (!evn_picks_alike(&picks[i], &picks[k]))
				continue;
			gemv_gbs += r->gemv_gbs;
			prompt_gflops += r->prompt_gflops;
			training_gflops += r->training_gflops;
			n_alike++;
		}
		p->ranks[i].gemv_gbs = gemv_gbs / n_alike;
		p->ranks[i].prompt_gflops = prompt_gflops / n_alike;
		p->ranks[i].training_gflops = training_gflops / n_alike;
	}
}

/* Reads what is known of the set. */
static void read_cache(measured_set *set, const model_needs *needs)
{
	size_t size;
	free(set->lines);
	set->lines = NULL;
	if (!set->cache || evn_read_file(&set->lines, &size, set->cache, FILE_LIMIT, NULL) != EVN_OK)
		set->lines = NULL;
	evn_facts_parse(&set->facts, set->lines ? set->lines : "", needs->signature);
}

/* Figures from a busy machine do not count once it is quieter, nor does a trial that runs proved wrong. A device that
 * was late once is tried again, because its driver may keep what it compiled. */
static bool suffices(const measured_set *set, const model_needs *needs, const evn_profile_options *o)
{
	const evn_facts *f = &set->facts;
	evn_model_rates rates;
	const double others = f->steps.taken_s > 0 ? 0 : f->trial.others;
	if (f->fault[0])
		return f->late != 1;
	for (uint32_t i = 0; i < set->request->n; i++)
		if (!evn_facts_rates(&f->ranks[i], &needs->mix, o->workload.activations, &rates))
			return false;
	return f->knows_model && !is_doubted(f) && (others <= OTHERS || evn_cpu_wanted() > others / 2);
}

static bool all_suffice(const measured_set *sets, uint32_t n, const model_needs *needs, const evn_profile_options *o)
{
	bool all = true;
	for (uint32_t i = 0; i < n; i++)
		all = all && suffices(&sets[i], needs, o);
	return all;
}

/* One process measures at a time, so that two that start together share what the first measures. Returns a file to be
 * closed; -1: there is no folder, or the wait was ended. */
static int wait_for_others(const evn_profile_options *o, bool *stopped)
{
	char *path = evn_cache_path("measuring.lock");
	const int lock = path ? open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600) : -1;
	waiting w = {.o = o, .what = "waiting for another evener that measures the devices"};
	free(path);
	while (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0 && go_on(&w))
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	*stopped = w.stopped;
	return lock;
}

static evn_status measure_missing(measured_set *sets, uint32_t n, const evn_model *m, const model_needs *needs,
								  const evn_profile_options *o, evn_error *err)
{
	bool stopped;
	const int lock = wait_for_others(o, &stopped);
	evn_status s = EVN_OK;
	for (uint32_t i = 0; i < n; i++)
		read_cache(&sets[i], needs);
	if (stopped)
		s = evn_fail(err, EVN_ERR_CANCELLED, "waiting for another evener that measures the devices was stopped");
	else if (o->measuring == EVN_MEASURE_THOROUGH || !all_suffice(sets, n, needs, o))
		s = measure(sets, n, m, needs, o, err);
	if (lock >= 0)
		close(lock);
	return s;
}

evn_status evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s, const evn_model *m,
							const evn_profile_options *o, evn_error *err)
{
	m = m && evn_model_path(m) ? m : NULL; /* the helper opens files */
	model_needs needs = {.any = !m && o->measuring == EVN_MEASURE_NOTHING};
	EVN_TRY(find_needs(&needs, m, &o->workload, err));
	measured_set *sets = calloc(n, sizeof *sets);
	if (!sets)
		return evn_fail_memory(err, "profiles", n * sizeof *sets);
	for (uint32_t i = 0; i < n; i++) {
		const evn_profile_request *r = sets[i].request = &requests[i];
		sets[i].cache = cache_file(s, r->picks, r->n);
		for (uint32_t k = 0; k < r->n; k++)
			evn_pick_name(s, &r->picks[k], sets[i].names[k], sizeof sets[i].names[k]);
		read_cache(&sets[i], &needs);
	}
	evn_status status = EVN_OK;
	if (o->measuring == EVN_MEASURE_THOROUGH ||
		(o->measuring == EVN_MEASURE_NEEDED && !all_suffice(sets, n, &needs, o)))
		status = measure_missing(sets, n, m, &needs, o, err);
	for (uint32_t i = 0; i < n; i++) {
		if (status == EVN_OK) {
			make_profile(requests[i].out, &sets[i].facts, requests[i].n, &needs, &o->workload);
			average_alike(requests[i].out, requests[i].picks, requests[i].n);
		}
		free(sets[i].child.output);
		free(sets[i].cache);
		free(sets[i].lines);
	}
	free(sets);
	return status;
}

evn_status evn_profile_get(evn_profile *out, const evn_system *s, const evn_pick *picks, uint32_t n,
						   const evn_model *m, const evn_profile_options *o, evn_error *err)
{
	return evn_profiles_get(&(evn_profile_request){out, picks, n}, 1, s, m, o, err);
}

void evn_profile_complete(evn_profile *set, const evn_rank_profile *const *apart, uint32_t n)
{
	bool measured = true;
	for (uint32_t i = 0; i < n; i++)
		measured &= !set->ranks[i].fault[0];
	for (uint32_t i = 0; i < n; i++) {
		evn_rank_profile *r = &set->ranks[i];
		const evn_rank_profile *a = apart[i];
		if (!measured)
			*r = *a;
		/* Running with others slows GEMM as it slows the kernels that were measured together. */
		r->gemm = a->gemm;
		if (a->prompt_gflops <= 0 || r->prompt_gflops <= 0)
			continue;
		double slower = r->prompt_gflops / a->prompt_gflops;
		r->gemm_gflops = a->gemm_gflops * slower;
		if (a->gemm && r->steps.gemm_gflops > 0) {
			r->steps.gemm_gflops = a->steps.gemm_gflops * slower;
			r->steps.block_row_us = a->steps.block_row_us / slower;
		}
	}
}

/* A later method is taken unless it costs clearly more. A cost that is measured in the middle of work contains
 * whatever else delayed that work, on a busy machine several times the cost of an all-reduce. Chance would then
 * decide between methods of which one, alone, takes five times as long as the other. Where spinning really disturbs,
 * it costs more than this factor. */
#define CLEARLY 1.5

evn_reduce evn_profile_reduce(const evn_profile *p, evn_reduce asked, evn_reduce_cost *cost)
{
	const double token_us[] = {
		[EVN_REDUCE_HOST] = p->host_us, [EVN_REDUCE_EVENTS] = p->events_us, [EVN_REDUCE_FLAGS] = p->flags_us};
	evn_reduce method = asked == EVN_REDUCE_AUTO ? EVN_REDUCE_HOST : asked;
	double least = token_us[method];
	for (evn_reduce other = EVN_REDUCE_EVENTS; asked == EVN_REDUCE_AUTO && other <= EVN_REDUCE_FLAGS; other++)
		if (token_us[other] > 0 && token_us[other] <= CLEARLY * least) {
			method = other;
			least = fmin(least, token_us[other]);
		}
	const double prompt_us[] = {[EVN_REDUCE_HOST] = p->host_prompt_us,
								[EVN_REDUCE_EVENTS] = p->events_prompt_us,
								[EVN_REDUCE_FLAGS] = p->flags_prompt_us};
	*cost = (evn_reduce_cost){token_us[method], prompt_us[method]};
	return method;
}

evn_rates evn_profile_rates(const evn_rank_profile *r)
{
	enum { LAUNCHES = 5 }; /* of a block */
	if (r->steps.gemv_gbs > 0 && r->steps.gemm_gflops > 0)
		return r->steps;
	return (evn_rates){.gemv_gbs = r->gemv_gbs,
					   .gemm_gflops = fmax(r->gemm_gflops, r->prompt_gflops),
					   .vocab_gbs = r->gemv_gbs,
					   .block_us = LAUNCHES * r->launch_us,
					   .block_row_us = LAUNCHES * r->launch_us / EVN_PLAN_PROMPT};
}
