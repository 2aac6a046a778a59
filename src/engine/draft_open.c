/* draft_open.c - which models can guess for another one, and on which devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "evener/requests.h"

#define CONTEXT 512u /* it reads the end of a text only */
#define BATCH 128u
#define TEXTS 8u /* for which the cache has room */

/* ---- the vocabulary -------------------------------------------------------------------------------------------- */

typedef struct {
	const evn_tokenizer *a, *b;
	char *text_a, *text_b;
} spelling;

static evn_status compare(const spelling *s, const char *name, uint32_t n, evn_error *err)
{
	for (uint32_t id = 0; id < n; id++) {
		const size_t n_a = evn_tokenizer_spell(s->a, (int32_t)id, true, s->text_a);
		const size_t n_b = evn_tokenizer_spell(s->b, (int32_t)id, true, s->text_b);
		if (n_a != n_b || memcmp(s->text_a, s->text_b, n_a) != 0)
			return evn_fail(err, EVN_ERR_UNSUPPORTED,
							"draft model %s: another vocabulary: token %u is '%.*s', expected '%.*s' as in the model",
							name, id, n_a < 40 ? (int)n_a : 40, s->text_a, n_b < 40 ? (int)n_b : 40, s->text_b);
	}
	return EVN_OK;
}

static evn_status check_words(const evn_model *draft, const evn_model *m, const char *name, uint32_t n,
							  evn_error *err)
{
	evn_error own = {0};
	spelling s = {.a = evn_model_tokenizer(draft, err ? err : &own), .b = evn_model_tokenizer(m, err ? err : &own)};
	if (!s.a || !s.b)
		return err ? err->code : own.code;
	s.text_a = malloc(evn_tokenizer_max_bytes(s.a) + 1);
	s.text_b = malloc(evn_tokenizer_max_bytes(s.b) + 1);
	const evn_status status =
		s.text_a && s.text_b ? compare(&s, name, n, err) : evn_fail_memory(err, "vocabulary", 0);
	free(s.text_a);
	free(s.text_b);
	return status;
}

evn_status evn_model_check_draft(const evn_model *draft, const evn_model *m, evn_error *err)
{
	const evn_hparams *a, *b;
	const char *name = evn_model_path(draft) ? evn_model_path(draft) : "in memory";
	EVN_TRY(evn_model_require_hparams(draft, &a, err));
	EVN_TRY(evn_model_require_hparams(m, &b, err));
	if (a->vocab != b->vocab)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"draft model %s: another vocabulary: %u tokens, expected %u as in the model", name, a->vocab,
						b->vocab);
	return check_words(draft, m, name, a->vocab, err);
}

/* ---- devices --------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_options options;
	evn_device_rule rules[EVN_MAX_RANKS]; /* of the user's list, without shares: those are of the model */
	size_t n_rules;
	evn_device_rule *only; /* the one item of the list that is fastest; NULL: all of it */
} placing;

static void begin_placing(placing *p, const evn_model *draft, const evn_options *o)
{
	const uint32_t trained = evn_model_hparams(draft)->n_ctx_train;
	*p = (placing){.options = *o, .n_rules = o->n_devices};
	p->options.context = trained && trained < CONTEXT ? trained : CONTEXT;
	p->options.cache_tokens = TEXTS * p->options.context;
	p->options.batch = BATCH;
	p->options.shares = p->options.prompt_shares = NULL;
	p->options.n_shares = 0;
	p->options.cluster = NULL; /* the first node guesses */
	p->options.rebalance = p->options.measure = false;
	for (size_t i = 0; i < p->n_rules; i++) {
		p->rules[i] = o->devices[i];
		p->rules[i].share = EVN_SHARE_AUTO;
		p->rules[i].prompt_share = NULL;
	}
	p->options.devices = p->n_rules ? p->rules : NULL;
}

/* Without a list the planner tries all sets of devices. A list is used as it is, so its items are tried alone, too.
 */
static evn_status place(placing *p, const evn_model *draft, evn_plan **best, evn_error *err)
{
	evn_status status = evn_plan_make(best, draft, &p->options, err);
	for (size_t i = 0; i < p->n_rules && p->n_rules > 1; i++) {
		evn_plan *plan = NULL;
		evn_options o = p->options;
		o.devices = &p->rules[i];
		o.n_devices = 1;
		const evn_status one = evn_plan_make(&plan, draft, &o, status == EVN_OK ? NULL : err);
		if (one == EVN_OK &&
			(status != EVN_OK || evn_plan_get(plan)->decode_tok_s > evn_plan_get(*best)->decode_tok_s)) {
			evn_plan_free(*best);
			*best = plan;
			plan = NULL;
			status = EVN_OK;
			p->only = &p->rules[i];
		}
		evn_plan_free(plan);
	}
	if (p->only) {
		p->options.devices = p->only;
		p->options.n_devices = 1;
	}
	return status;
}

evn_status evn_plan_draft(evn_plan **out, const evn_model *draft, const evn_options *o, evn_error *err)
{
	placing p;
	const evn_hparams *h;
	*out = NULL;
	EVN_TRY(evn_model_require_hparams(draft, &h, err));
	begin_placing(&p, draft, o);
	return place(&p, draft, out, err);
}

static bool uses(const evn_plan_info *p, const char *device)
{
	for (size_t i = 0; i < p->n_ranks; i++)
		if (strcmp(p->ranks[i].device, device) == 0)
			return true;
	return false;
}

static void say_where(evn_engine *e, const evn_engine *draft)
{
	const evn_plan_info *p = evn_engine_plan(draft), *of = evn_engine_plan(e);
	char list[256] = "";
	bool shared = false;
	for (size_t i = 0; i < p->n_ranks; i++) {
		const size_t used = strlen(list);
		snprintf(list + used, sizeof list - used, "%s%s (%.60s)", i ? ", " : "", p->ranks[i].device,
				 p->ranks[i].name);
		shared |= uses(of, p->ranks[i].device);
	}
	evn_engine_note(e, EVN_LOG_INFO,
					"the draft model is on %s, where it is predicted to be fastest: %.1f tokens/s beside %.1f of the "
					"model, %s",
					list, p->decode_tok_s, of->decode_tok_s,
					shared ? "which uses it, too: their steps alternate" : "which leaves it idle");
}

evn_status evn_engine_open_draft(evn_engine **out, const evn_model *draft, evn_engine *e, const evn_options *o,
								 evn_error *err)
{
	placing p;
	evn_plan *plan = NULL;
	*out = NULL;
	EVN_TRY(evn_model_check_draft(draft, e->model, err));
	begin_placing(&p, draft, o);
	evn_status status = p.n_rules > 1 ? place(&p, draft, &plan, err) : EVN_OK;
	evn_plan_free(plan);
	if (status == EVN_OK)
		status = evn_engine_open(out, draft, &p.options, err);
	if (status == EVN_OK)
		status = evn_engine_check_decoder(*out, err);
	if (status == EVN_OK && (*out)->prepared.graph->has_states)
		status = evn_fail(err, EVN_ERR_UNSUPPORTED,
						  "draft model %s: it has states, so it cannot go back behind a wrong guess",
						  evn_model_path(draft) ? evn_model_path(draft) : "in memory");
	if (status == EVN_OK) {
		say_where(e, *out);
		return EVN_OK;
	}
	evn_engine_close(*out);
	*out = NULL;
	return status;
}
