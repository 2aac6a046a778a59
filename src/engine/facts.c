#include "engine/facts.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ------------------------------------------------------------------------------------------------------
 */

#define RANK(field) offsetof(evn_rank_facts, field)
static const struct {
	const char *key;
	size_t at;
} rank_keys[] = {
	{"launch_us", RANK(launch_us)},
	{"map_us", RANK(map_us)},
	{"training_gflops", RANK(training_gflops)},
	{"steps/gbs", RANK(steps.gemv_gbs)},
	{"steps/gflops", RANK(steps.gemm_gflops)},
	{"steps/vocab_gbs", RANK(steps.vocab_gbs)},
	{"steps/block_us", RANK(steps.block_us)},
	{"steps/block_row_us", RANK(steps.block_row_us)},
	{"steps/key_ns", RANK(steps.key_ns)},
	{"steps/prompt_key_ns", RANK(steps.prompt_key_ns)},
	{"steps_of/gbs", RANK(steps_of.gbs)},
	{"steps_of/prompt", RANK(steps_of.prompt_gflops)},
	{"steps_of/head_gbs", RANK(steps_head_gbs)},
};

#define SET(field) offsetof(evn_facts, field)
static const struct {
	const char *key;
	size_t at;
} set_keys[] = {
	{"trial/taken", SET(trial.taken_s)}, {"trial/others", SET(trial.others)}, {"trial/spread", SET(trial.spread)},
	{"trial/again", SET(again)},         {"steps/taken", SET(steps.taken_s)}, {"steps/others", SET(steps.others)},
	{"steps/spread", SET(steps.spread)},
};

/* The number that "product/Q4_1/3/gbs" (or prompt, or block) or "gemm/Q4_1" sets; NULL: none. */
static double *format_slot(evn_rank_facts *r, const char *key)
{
	char name[16], what[8];
	unsigned dot;
	const bool product = sscanf(key, "product/%15[^/]/%u/%7s", name, &dot, what) == 3;
	if (!product && sscanf(key, "gemm/%15s", name) != 1)
		return NULL;
	const evn_quant *q = evn_quant_by_name(name);
	if (!q || (product && dot >= EVN_DOT_COUNT))
		return NULL;
	const size_t format = evn_quant_index(q);
	if (!product)
		return &r->gemm_gflops[format];
	return strcmp(what, "gbs") == 0      ? &r->products[format][dot].gbs
		   : strcmp(what, "prompt") == 0 ? &r->products[format][dot].prompt_gflops
		   : strcmp(what, "block") == 0  ? &r->products[format][dot].block_gflops
										 : NULL;
}

static double *reduce_slot(evn_facts *f, const char *key)
{
	char what[8];
	unsigned method;
	if (sscanf(key, "reduce/%u/%7s", &method, what) != 2 || method > EVN_REDUCE_FLAGS)
		return NULL;
	return strcmp(what, "token") == 0 ? &f->reduce[method].token_us : &f->reduce[method].prompt_us;
}

static double *slot(evn_facts *f, uint32_t rank, const char *key)
{
	for (size_t i = 0; i < sizeof rank_keys / sizeof *rank_keys; i++)
		if (!strcmp(rank_keys[i].key, key))
			return (double *)((char *)&f->ranks[rank] + rank_keys[i].at);
	for (size_t i = 0; i < sizeof set_keys / sizeof *set_keys; i++)
		if (!strcmp(set_keys[i].key, key))
			return (double *)((char *)f + set_keys[i].at);
	double *of_format = format_slot(&f->ranks[rank], key);
	return of_format ? of_format : reduce_slot(f, key);
}

/* "model/<signature>", "fault/<signature>", "late/<signature>" */
static void parse_model_line(evn_facts *f, const char *key, const char *value, uint64_t signature)
{
	char kind[8];
	unsigned long long of;
	if (sscanf(key, "%7[a-z]/%llx", kind, &of) != 2 || of != signature)
		return;
	if (!strcmp(kind, "model"))
		f->knows_model = strcmp(value, "1") == 0;
	else if (!strcmp(kind, "fault"))
		snprintf(f->fault, sizeof f->fault, "%s", strcmp(value, "-") ? value : "");
	else if (!strcmp(kind, "late"))
		f->late = (uint32_t)strtoul(value, NULL, 10);
}

void evn_facts_parse(evn_facts *out, const char *text, uint64_t signature)
{
	*out = (evn_facts){0};
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned rank;
		char key[160], value[256];
		if (sscanf(line, "%u\t%159[^\t\n]\t%255[^\n]", &rank, key, value) != 3 || rank >= EVN_MAX_RANKS)
			continue;
		double number = strtod(value, NULL), *at = slot(out, rank, key);
		if (at && isfinite(number) && number >= 0)
			*at = number;
		else if (!at)
			parse_model_line(out, key, value, signature);
	}
}

/* The length of "rank<TAB>key<TAB>". */
static size_t name_length(const char *line)
{
	size_t n = strcspn(line, "\t\n");
	n += line[n] == '\t';
	return n + strcspn(line + n, "\t\n");
}

static bool has_line(const char *text, const char *line)
{
	const size_t n = name_length(line);
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
		if (name_length(text) == n && !strncmp(text, line, n))
			return true;
	return false;
}

char *evn_facts_merge(const char *old, const char *more)
{
	char *out = malloc(strlen(old) + strlen(more) + 1), *at = out;
	if (!out)
		return NULL;
	for (const char *line = old; *line;) {
		const size_t n = strcspn(line, "\n"), whole = n + (line[n] == '\n');
		if (!has_line(more, line)) {
			memcpy(at, line, whole);
			at += whole;
		}
		line += whole;
	}
	strcpy(at, more);
	return out;
}

/* ---- rates of a model -------------------------------------------------------------------------------------------
 */

evn_status evn_facts_mix(evn_weight_mix *out, const evn_model *m, evn_error *err)
{
	evn_graph *g;
	*out = (evn_weight_mix){.head = evn_quant_index(evn_quant_by_name("Q4_0"))};
	out->bytes[out->head] = out->macs[out->head] = 1;
	if (!m)
		return EVN_OK;
	EVN_TRY(evn_graph_make(&g, m, err));
	evn_status s = evn_graph_mix(g, out, err);
	evn_graph_free(g);
	return s;
}

typedef enum { ONE_ROW, PROMPT, PROMPT_IN_BLOCKS } row_kind;

static double rate_of(const evn_product_rates *p, row_kind kind)
{
	return kind == ONE_ROW ? p->gbs : kind == PROMPT ? p->prompt_gflops : p->block_gflops;
}

/* Amounts over rates, summed: the time of a row. INFINITY where a rate is not known. */
static double row_time(const evn_rank_facts *r, const evn_weight_mix *mix, evn_dot dot, row_kind kind)
{
	double t = 0;
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const bool floats = evn_quant_at(i)->block_len == 1;
		const evn_product_rates *p = &r->products[i][floats ? evn_dot_f32(evn_dot_lanes(dot)) : dot];
		const double amount = kind == ONE_ROW ? mix->bytes[i] : 2 * mix->macs[i], rate = rate_of(p, kind);
		if (amount > 0)
			t += rate > 0 ? amount / rate : INFINITY;
	}
	return t;
}

static double gemm_time(const evn_rank_facts *r, const evn_weight_mix *mix)
{
	double t = 0;
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (mix->macs[i] > 0)
			t += r->gemm_gflops[i] > 0 ? 2 * mix->macs[i] / r->gemm_gflops[i] : INFINITY;
	return t;
}

static double sum(const double *values)
{
	double s = 0;
	for (size_t i = 0; i < EVN_FORMATS; i++)
		s += values[i];
	return s;
}

/* Steps were measured with layers of one model. For another model, its products say how much faster it is. */
static evn_rates scale_steps(const evn_rank_facts *r, const evn_model_rates *m)
{
	evn_rates s = r->steps;
	if (s.gemv_gbs <= 0 || r->steps_of.gbs <= 0 || r->steps_of.prompt_gflops <= 0)
		return (evn_rates){0};
	s.gemv_gbs *= m->gbs / r->steps_of.gbs;
	s.gemm_gflops *= (m->gemm ? m->gemm_gflops : m->prompt_gflops) / r->steps_of.prompt_gflops;
	if (r->steps_head_gbs > 0 && m->head_gbs > 0)
		s.vocab_gbs *= m->head_gbs / r->steps_head_gbs;
	return s;
}

static bool has_only_floats(const evn_weight_mix *mix)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (mix->bytes[i] > 0 && evn_quant_at(i)->block_len > 1)
			return false;
	return true;
}

static bool allows(evn_activation_type activations, evn_dot dot)
{
	return activations == EVN_ACTIVATIONS_AUTO || (activations == EVN_ACTIVATIONS_F32) != evn_dot_reads_bytes(dot);
}

bool evn_facts_rates(const evn_rank_facts *r, const evn_weight_mix *mix, evn_activation_type activations,
					 evn_model_rates *out)
{
	const double bytes = sum(mix->bytes), flops = 2 * sum(mix->macs);
	const bool only_floats = has_only_floats(mix);
	double best = INFINITY;
	*out = (evn_model_rates){.dot = EVN_DOT_NONE};
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++) {
		const double t = row_time(r, mix, dot, ONE_ROW);
		if (t < best && (allows(activations, dot) || only_floats)) {
			best = t;
			out->dot = dot;
		}
	}
	if (!(best > 0) || !isfinite(best))
		return false;
	const double by_eight = row_time(r, mix, out->dot, PROMPT);
	const double blocks = evn_dot_lanes(out->dot) == 1 ? row_time(r, mix, out->dot, PROMPT_IN_BLOCKS) : INFINITY;
	const double prompt = fmin(by_eight, blocks), gemm = gemm_time(r, mix);
	if (!isfinite(by_eight))
		return false;
	out->block_cost = isfinite(blocks) && by_eight > 0 ? blocks / by_eight : 0;
	out->gbs = bytes / best;
	out->prompt_gflops = flops / prompt;
	out->gemm = gemm < prompt;
	out->gemm_gflops = isfinite(gemm) ? flops / gemm : out->prompt_gflops;
	const bool floats = evn_quant_at(mix->head)->block_len == 1;
	out->head_gbs = r->products[mix->head][floats ? evn_dot_f32(evn_dot_lanes(out->dot)) : out->dot].gbs;
	out->steps = scale_steps(r, out);
	return true;
}
