/* profile.c - profiles by name: measured in the helper program, kept as its lines of text on disk. */
#include "engine/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/child.h"
#include "ocl/gemm_params.h"

#define TIME_LIMIT_NS ((uint64_t)360 * 1000000000u)
#define FILE_LIMIT ((size_t)64 << 10)
#define LINE_FORMAT "13" /* of the lines; part of the key */
#define OTHERS 0.25      /* cores: what an idle desktop does is not worth a word */

/* Settings that change what a driver does with the machine. */
static const char *const driver_settings[] = {"POCL_MAX_PTHREAD_COUNT",    "POCL_AFFINITY",
											  "POCL_WORK_GROUP_METHOD",    "DPCPP_CPU_NUM_CUS",
											  "CL_CONFIG_CPU_TARGET_ARCH", "LP_NUM_THREADS"};

static char *cache_file(const evn_system *s, const evn_pick *picks, uint32_t n, const evn_model *m,
						const evn_profile_options *o)
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
	h = evn_hash(h, &o->workload, sizeof o->workload);
	uint64_t model = m ? evn_model_fingerprint(m) : 0;
	h = evn_hash(h, &model, sizeof model);
	for (size_t i = 0; i < sizeof driver_settings / sizeof *driver_settings; i++) {
		const char *value = getenv(driver_settings[i]);
		h = evn_hash_str(h, value ? value : "");
	}
	char name[64];
	snprintf(name, sizeof name, "profiles/%016llx.txt", (unsigned long long)h);
	return evn_cache_path(name);
}

/* What a line may set. */
static double *slot(evn_profile *p, uint32_t rank, const char *key)
{
	evn_rank_profile *r = &p->ranks[rank];
	struct {
		const char *key;
		double *at;
	} slots[] = {{"gemv_gbs", &r->gemv_gbs},
				 {"gemm_gflops", &r->gemm_gflops},
				 {"prompt_gflops", &r->prompt_gflops},
				 {"training_gflops", &r->training_gflops},
				 {"launch_us", &r->launch_us},
				 {"map_us", &r->map_us},
				 {"host_us", &p->host_us},
				 {"events_us", &p->events_us},
				 {"flags_us", &p->flags_us},
				 {"others", &p->others},
				 {"late", &p->late},
				 {"host_prompt_us", &p->host_prompt_us},
				 {"events_prompt_us", &p->events_prompt_us},
				 {"flags_prompt_us", &p->flags_prompt_us},
				 {"step_gbs", &r->steps.gemv_gbs},
				 {"step_gflops", &r->steps.gemm_gflops},
				 {"vocab_gbs", &r->steps.vocab_gbs},
				 {"block_us", &r->steps.block_us},
				 {"block_row_us", &r->steps.block_row_us},
				 {"key_ns", &r->steps.key_ns},
				 {"prompt_key_ns", &r->steps.prompt_key_ns}};
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
		if (!strcmp(slots[i].key, key))
			return slots[i].at;
	return NULL;
}

static void parse_line(evn_profile *p, uint32_t rank, const char *key, const char *value)
{
	evn_rank_profile *r = &p->ranks[rank];
	double number = strtod(value, NULL), *at = slot(p, rank, key);
	if (at && isfinite(number) && number >= 0)
		*at = number;
	else if (!strcmp(key, "gemm_from") && number >= 1 && number < 1e6)
		r->gemm_from = (uint32_t)number;
	else if (!strcmp(key, "dot") && number >= 0 && number < EVN_DOT_COUNT)
		r->dot = (evn_dot)number;
	else if (!strcmp(key, "fault"))
		snprintf(r->fault, sizeof r->fault, "%s", value);
}

/* Reads "rank<TAB>key<TAB>value" lines. A fault counts only where it kept the rates from being known. */
static void parse(evn_profile *p, uint32_t n, const char *text)
{
	*p = (evn_profile){0};
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		p->ranks[i].gemm_from = UINT32_MAX;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned rank;
		char key[32], value[256];
		if (sscanf(line, "%u\t%31[^\t]\t%255[^\n]", &rank, key, value) == 3 && rank < EVN_MAX_RANKS)
			parse_line(p, rank, key, value);
	}
	for (uint32_t i = 0; i < n; i++) {
		evn_rank_profile *r = &p->ranks[i];
		if (r->gemm_gflops == 0)
			r->gemm_gflops = r->prompt_gflops;
		if (r->training_gflops == 0)
			r->training_gflops = r->gemm_gflops;
		if (r->gemv_gbs > 0)
			r->fault[0] = '\0';
		else if (!r->fault[0])
			snprintf(r->fault, sizeof r->fault, "nothing was measured");
	}
}

/* ---- measuring ------------------------------------------------------------------------------------------------ */

/* One of the sets that are measured, and where it is remembered. */
typedef struct {
	const evn_profile_request *request;
	char names[EVN_MAX_RANKS][96];
	char *cache;   /* file; NULL: there is no folder */
	bool was_late; /* the last time it was not ready within the limit */
	evn_child child;
} measuring;

/* A caller that waits sees which device is measured, and may end it. */
typedef struct {
	const evn_profile_options *o;
	char what[160];
	bool stopped;
} waiting;

static bool go_on(void *user)
{
	waiting *w = user;
	if (w->o->progress && !w->o->progress(w->o->progress_user, w->what, 0, 0))
		w->stopped = true;
	return !w->stopped;
}

_Static_assert(4 + EVN_MAX_ADAPTERS + EVN_MAX_RANKS < sizeof((evn_child *)0)->argv / sizeof(char *),
			   "arguments of a helper");

/* Several sets are measured in time slices, each set in a helper of its own. */
static evn_status run_helpers(measuring *sets, uint32_t n_sets, const char *helper, const evn_model *m,
							  const evn_profile_options *o, evn_error *err)
{
	evn_child children[EVN_MAX_CANDIDATES] = {0};
	char workload[48];
	waiting w = {.o = o};
	const char *const *adapters = NULL;
	const uint32_t n_adapters = m ? evn_model_adapters(m, &adapters) : 0;
	snprintf(workload, sizeof workload, "%d,%d,%d,%u", (int)o->workload.purpose, (int)o->workload.activations,
			 n_sets > 1, n_adapters);
	snprintf(w.what, sizeof w.what, "measuring %.95s%s", sets[0].names[0],
			 n_sets > 1               ? " whole and in parts"
			 : sets[0].request->n > 1 ? " and others together"
									  : "");
	for (uint32_t i = 0; i < n_sets; i++) {
		const char **argv = children[i].argv;
		argv[0] = helper;
		argv[1] = "measure";
		argv[2] = workload;
		argv[3] = m ? evn_gguf_name(evn_model_gguf(m)) : "-";
		for (uint32_t k = 0; k < n_adapters; k++)
			argv[4 + k] = adapters[k];
		for (uint32_t k = 0; k < sets[i].request->n; k++)
			argv[4 + n_adapters + k] = sets[i].names[k];
		children[i].time_sliced = n_sets > 1;
		free(sets[i].child.output);
	}
	evn_children_run(children, n_sets, TIME_LIMIT_NS, &(evn_patience){go_on, &w});
	bool started = true;
	for (uint32_t i = 0; i < n_sets; i++) {
		sets[i].child = children[i];
		started &= children[i].started && children[i].output;
	}
	if (w.stopped)
		return evn_fail(err, EVN_ERR_CANCELLED, "%s was stopped", w.what);
	return started ? EVN_OK : evn_fail(err, EVN_ERR_FILE, "%s: could not be started", helper);
}

/* A helper that hangs keeps the time-slice lock from the others. Then each set is measured by itself. */
static evn_status run_all(measuring *sets, uint32_t n_sets, const char *helper, const evn_model *m,
						  const evn_profile_options *o, evn_error *err)
{
	EVN_TRY(run_helpers(sets, n_sets, helper, m, o, err));
	for (uint32_t i = 0; i < n_sets && n_sets > 1; i++)
		if (sets[i].child.timed_out)
			EVN_TRY(run_helpers(&sets[i], 1, helper, m, o, err));
	return EVN_OK;
}

/* How a helper ended, as lines of its own output: NULL when it came to its end. */
static char *ending(const measuring *set)
{
	if (set->child.timed_out)
		return evn_format("0\tfault\tmeasuring took more than %u s\n0\tlate\t%u\n",
						  (unsigned)(TIME_LIMIT_NS / 1000000000u), set->was_late ? 2u : 1u);
	if (WIFSIGNALED(set->child.status))
		return evn_format("0\tfault\tthe driver crashed (%s) while it was measured\n",
						  strsignal(WTERMSIG(set->child.status)));
	return NULL;
}

/* The helper's lines, how it ended and how busy the machine was: remembered, and what the profile is made of.
 * Failures of drivers are in the lines; they are kept as rates are. */
static evn_status keep(measuring *set, double others, evn_error *err)
{
	const uint32_t n = set->request->n;
	char *end = ending(set), busy[64] = "";
	if (others > OTHERS) {
		evn_log(EVN_LOG_INFO, "%s was measured while other programs kept %.1f cores busy", set->names[0], others);
		snprintf(busy, sizeof busy, "0\tothers\t%.2f\n", others);
	}
	if (end)
		evn_log(EVN_LOG_WARN, "%s%s: %.*s", set->names[0], n > 1 ? " and others together" : "",
				(int)strcspn(end + 8, "\n"), end + 8);
	char *lines = evn_format("%s%s%s", set->child.output, busy, end ? end : "");
	free(end);
	if (!lines)
		return evn_fail_memory(err, "profile", strlen(set->child.output));
	if (set->cache)
		evn_write_file(set->cache, lines, strlen(lines), NULL);
	parse(set->request->out, n, lines);
	free(lines);
	return EVN_OK;
}

static evn_status measure(measuring *sets, uint32_t n_sets, const evn_model *m, const evn_profile_options *o,
						  evn_error *err)
{
	char *helper = evn_find_probe();
	if (!helper)
		return evn_fail(err, EVN_ERR_FILE, "evener-probe, which measures devices, is not installed beside evener");
	evn_cpu_time began = evn_cpu_time_now();
	evn_status status = run_all(sets, n_sets, helper, m, o, err);
	double others = evn_cpu_others(&began);
	for (uint32_t i = 0; i < n_sets && status == EVN_OK; i++)
		status = keep(&sets[i], others, err);
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

/* Reads what is known; not where it was measured on a busy machine that has become quiet, nor where a device was not
 * ready in time for once: drivers that keep what they have compiled are, the next time. */
static bool read_cache(measuring *set)
{
	char *lines;
	size_t size;
	evn_profile *p = set->request->out;
	if (!set->cache || evn_read_file(&lines, &size, set->cache, FILE_LIMIT, NULL) != EVN_OK)
		return false;
	parse(p, set->request->n, lines);
	free(lines);
	set->was_late = p->late > 0;
	return p->late != 1 && (p->others == 0 || evn_cpu_wanted() > p->others / 2);
}

evn_status evn_profiles_get(const evn_profile_request *requests, uint32_t n, const evn_system *s, const evn_model *m,
							const evn_profile_options *o, evn_error *err)
{
	m = m && evn_model_path(m) ? m : NULL; /* the helper opens files */
	measuring *sets = calloc(n, sizeof *sets);
	bool known = !o->remeasure;
	if (!sets)
		return evn_fail_memory(err, "profiles", n * sizeof *sets);
	for (uint32_t i = 0; i < n; i++) {
		const evn_profile_request *r = sets[i].request = &requests[i];
		sets[i].cache = cache_file(s, r->picks, r->n, m, o);
		for (uint32_t k = 0; k < r->n; k++)
			evn_pick_name(s, &r->picks[k], sets[i].names[k], sizeof sets[i].names[k]);
		known = read_cache(&sets[i]) && known;
	}
	evn_status status = known ? EVN_OK : measure(sets, n, m, o, err);
	for (uint32_t i = 0; i < n; i++) {
		if (status == EVN_OK)
			average_alike(requests[i].out, requests[i].picks, requests[i].n);
		free(sets[i].child.output);
		free(sets[i].cache);
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
		r->gemm_from = a->gemm_from;
		if (a->prompt_gflops <= 0 || r->prompt_gflops <= 0)
			continue;
		double slower = r->prompt_gflops / a->prompt_gflops;
		r->gemm_gflops = a->gemm_gflops * slower;
		if (evn_profile_gemm(a) && r->steps.gemm_gflops > 0) {
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
