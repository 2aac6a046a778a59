/* cmd_plan.c - evener plan: the ranks, what each would hold, and the predicted speed. Loads no weights. */
#include "cli/cli.h"
#include "cli/commands/simulated.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "cli/show/text.h"
#include "evener/requests.h"

#include <stdio.h>
#include <string.h>

static json_t *range_json(const uint32_t range[2])
{
	return json_pack("[I, I]", (json_int_t)range[0], (json_int_t)range[1]);
}

static json_t *rank_json(size_t i, const evn_plan_rank *r)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "rank",
					 (json_int_t)i, "device", json_text(r->device), "name", json_text(r->name), "share_decode",
					 json_number(r->share_decode), "share_prefill", json_number(r->share_prefill), "heads",
					 range_json(r->heads), "kv_heads", range_json(r->kv_heads), "ff", range_json(r->ff), "prompt_ff",
					 range_json(r->prompt_ff), "vocab", range_json(r->vocab), "bytes", (json_int_t)r->bytes,
					 "gemv_gbs", json_number(r->gemv_gbs), "gemm_gflops", json_number(r->gemm_gflops), "launch_us",
					 json_number(r->launch_us), "map_us", json_number(r->map_us));
}

static json_t *with_node(json_t *rank, const evn_plan_rank *r)
{
	if (rank && r->node) {
		json_object_set_new(rank, "node", json_text(r->node));
		json_object_set_new(rank, "layers", range_json(r->layers));
	}
	return rank;
}

static json_t *predicted_json(const evn_plan_info *p)
{
	json_t *single = json_pack("{s:o, s:o, s:o}", "device", json_text(p->best_single_device), "decode_tok_s",
							   json_number(p->best_single_decode_tok_s), "prefill_tok_s",
							   json_number(p->best_single_prefill_tok_s));
	return json_pack("{s:o, s:o, s:o}", "decode_tok_s", json_number(p->decode_tok_s), "prefill_tok_s",
					 json_number(p->prefill_tok_s), "best_single", single);
}

static json_t *ranks_of(const evn_plan_info *p)
{
	json_t *ranks = json_array();
	for (size_t i = 0; i < p->n_ranks; i++)
		json_push(&ranks, with_node(rank_json(i, &p->ranks[i]), &p->ranks[i]));
	return ranks;
}

static evn_status print_plan_json(const evn_plan_info *p, const evn_plan_info *draft, evn_error *err)
{
	json_t *dropped = json_array();
	for (size_t i = 0; i < p->n_dropped; i++)
		json_push(&dropped, json_pack("{s:o, s:o}", "device", json_text(p->dropped[i].device), "reason",
									  json_text(p->dropped[i].reason)));
	json_t *root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "ranks", ranks_of(p), "dropped", dropped, "predicted",
							 predicted_json(p), "reduce", json_text(p->reduce), "all_reduce_us",
							 json_number(p->all_reduce_us), "measured", json_measured(&p->measured));
	if (root && p->cluster_split)
		json_object_set_new(root, "cluster_split", json_text(p->cluster_split));
	if (root && draft)
		json_object_set_new(root, "draft",
							json_pack("{s:o, s:o}", "ranks", ranks_of(draft), "predicted", predicted_json(draft)));
	return json_print(root, err);
}

static const char *share_bar(double share, char *buffer)
{
	enum { WIDTH = 20 };
	int full = (int)(share * WIDTH + 0.5);
	for (int i = 0; i < WIDTH; i++)
		buffer[i] = i < full ? '#' : '.';
	buffer[WIDTH] = 0;
	return buffer;
}

/* In a pipeline each node has some of the layers. */
static bool is_pipeline(const evn_plan_info *p)
{
	return p->cluster_split && strcmp(p->cluster_split, "pipeline") == 0;
}

static evn_status print_ranks(const evn_plan_info *p, evn_error *err)
{
	static const char *const heads[] = {"rank",     "device",       "share",       "",           "prefill", "heads",
										"KV heads", "feed-forward", "for prompts", "vocabulary", "holds",   "name"};
	const bool pipeline = is_pipeline(p);
	table t = table_start(pipeline ? "rlrlrrrrrrrrl" : "rlrlrrrrrrrl");
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		if (i == 5 && pipeline)
			table_cell(&t, "layers");
		table_cell(&t, "%s", heads[i]);
	}
	for (size_t i = 0; i < p->n_ranks; i++) {
		const evn_plan_rank *r = &p->ranks[i];
		char drawn[32], bytes[32];
		table_cell(&t, "%zu", i);
		table_cell(&t, "%s", r->device);
		table_cell(&t, "%.1f %%", 100 * r->share_decode);
		table_cell(&t, "%s", share_bar(r->share_decode, drawn));
		table_cell(&t, "%.1f %%", 100 * r->share_prefill);
		if (pipeline)
			table_cell(&t, "%u-%u", r->layers[0], r->layers[1]);
		table_cell(&t, "%u-%u", r->heads[0], r->heads[1]);
		table_cell(&t, "%u-%u", r->kv_heads[0], r->kv_heads[1]);
		table_cell(&t, "%u-%u", r->ff[0], r->ff[1]);
		table_cell(&t, "%u-%u", r->prompt_ff[0], r->prompt_ff[1]);
		table_cell(&t, "%u-%u", r->vocab[0], r->vocab[1]);
		table_cell(&t, "%s", text_bytes(r->bytes, bytes, sizeof bytes));
		table_cell(&t, "%s%s%s", r->name, r->node ? ", node " : "", r->node ? r->node : "");
	}
	return table_print(&t, err);
}

static evn_status print_plan(const evn_plan_info *p, evn_error *err)
{
	evn_status status = print_ranks(p, err);
	if (is_pipeline(p))
		printf("\nranges are half-open, of the first of the layers; rows go from node to node\n");
	else if (p->n_ranks > 1)
		printf("\nranges are half-open, of the first layer; an all-reduce by '%s' takes %.0f us for a token\n",
			   p->reduce, p->all_reduce_us);
	printf("\npredicted      decode %.1f tokens/s, prefill %.1f\n", p->decode_tok_s, p->prefill_tok_s);
	printf("best alone     decode %.1f tokens/s, prefill %.1f, on %s\n", p->best_single_decode_tok_s,
		   p->best_single_prefill_tok_s, p->best_single_device ? p->best_single_device : "none");
	char measured[160];
	printf("rates          %s\n", text_measured(&p->measured, measured, sizeof measured));
	for (size_t i = 0; i < p->n_dropped; i++)
		printf("left out       %s: %s\n", p->dropped[i].device, p->dropped[i].reason);
	return status;
}

/* Where a draft model would be. */
static evn_status print_draft(const evn_plan_info *p)
{
	printf("draft model    decode %.1f tokens/s, prefill %.1f, on ", p->decode_tok_s, p->prefill_tok_s);
	for (size_t i = 0; i < p->n_ranks; i++)
		printf("%s%s (%s)", i ? ", " : "", p->ranks[i].device, p->ranks[i].name);
	printf(": predicted to be fastest there; its steps and the model's alternate\n");
	return EVN_OK;
}

static evn_status print_both(const settings *s, const evn_plan *plan, const evn_plan *draft, evn_error *err)
{
	const evn_plan_info *d = draft ? evn_plan_get(draft) : NULL;
	if (s->json)
		return print_plan_json(evn_plan_get(plan), d, err);
	const evn_status status = print_plan(evn_plan_get(plan), err);
	return status == EVN_OK && d ? print_draft(d) : status;
}

static evn_status plan_draft(const settings *s, const evn_model *m, const evn_options *o, evn_plan **out,
							 evn_error *err)
{
	evn_model *draft = NULL;
	if (!s->draft_path)
		return EVN_OK;
	evn_status status = evn_model_open(&draft, s->draft_path, err);
	if (status == EVN_OK)
		status = evn_model_check_draft(draft, m, err);
	if (status == EVN_OK)
		status = evn_plan_draft(out, draft, o, err);
	evn_model_close(draft);
	return status;
}

evn_status cmd_plan(const invocation *in, evn_error *err)
{
	evn_options o = settings_engine_options(&in->settings);
	evn_model *model = NULL;
	evn_plan *plan = NULL, *draft = NULL;
	if (in->settings.simulate)
		return simulated_print(&in->settings, err);
	evn_status status = settings_open_model(&in->settings, &model, err);
	if (status == EVN_OK)
		status = evn_plan_make(&plan, model, &o, err);
	if (status == EVN_OK)
		status = plan_draft(&in->settings, model, &o, &draft, err);
	console_progress_end();
	if (status == EVN_OK)
		status = print_both(&in->settings, plan, draft, err);
	evn_plan_free(draft);
	evn_plan_free(plan);
	evn_model_close(model);
	return status;
}
