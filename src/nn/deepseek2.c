/* deepseek2.c - DeepSeek V2 and relatives (DeepSeek-AI 2024): heads share a latent vector, which is all that the
 * cache has of a position, beside a rotated key. The first layers are dense, the others have experts, which are
 * chosen by a softmax or by logistic functions, of all or of some groups, and a shared expert without a gate. */
#include <math.h>
#include <stdio.h>

#include "kernels/constants.h"
#include "nn/graph.h"

enum { GATED_BY_SOFTMAX = 1, GATED_BY_SIGMOID = 2 };

typedef struct {
	evn_block attention;
	uint32_t n_dense, n_shared, gating, n_groups, n_used_groups;
	bool normed;
	float factor;
} parts;

static evn_status check_heads(const evn_graph *g, const evn_block *b, uint32_t width, evn_error *err)
{
	const evn_latent_spec *l = &b->attention.latent;
	const bool is_one = g->h->n_kv_heads == 1 && b->attention.head_dim == l->latent + l->rotated;
	if (is_one && width > l->rotated && l->rotated)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT,
					"%s: %u KV heads of %u, heads of %u dimensions, of which %u rotate, and a latent vector of %u; "
					"expected one KV head of the latent vector and the rotated ones",
					evn_gguf_name(evn_model_gguf(g->model)), g->h->n_kv_heads, b->attention.head_dim, width,
					l->rotated, l->latent);
}

/* YaRN multiplies scores, and not cosines and sines. The file has a tenth of its multiplier. */
static evn_status find_scale(evn_graph *g, evn_block *b, uint32_t width, evn_error *err)
{
	float tenth = 0;
	EVN_TRY(evn_graph_cap(g, "rope.scaling.yarn_log_multiplier", &tenth, err));
	const float sharper =
		g->ropes[0].scaling == EVN_ROPE_SCALING_YARN ? 1 + tenth * logf(fmaxf(g->ropes[0].factor, 1)) : 1;
	g->ropes[0].log_multiplier = 1;
	b->attention.scale = sharper * sharper / sqrtf((float)width);
	return EVN_OK;
}

/* Files from before llama.cpp knew the latent cache say how many keys and values the heads would have: as many as
 * queries, of key_length and value_length. */
static evn_status find_older_sizes(const evn_graph *g, evn_block *b, uint32_t *width, evn_error *err)
{
	evn_latent_spec *l = &b->attention.latent;
	*width = g->h->head_dim;
	EVN_TRY(evn_graph_u32(g, "attention.value_length", &l->value, err));
	if (g->h->n_kv_heads != g->h->n_heads || *width <= l->rotated || !l->rotated)
		return evn_fail(
			err, EVN_ERR_FORMAT,
			"%s: %u KV heads for %u of %u dimensions, of which %u rotate; without "
			"\"deepseek2.attention.key_length_mla\" expected a KV head for each head, which rotates in part",
			evn_gguf_name(evn_model_gguf(g->model)), g->h->n_kv_heads, g->h->n_heads, *width, l->rotated);
	b->group = g->h->n_heads;
	b->attention.head_dim = l->latent + l->rotated;
	return EVN_OK;
}

static evn_status find_sizes(const evn_graph *g, evn_block *b, uint32_t *width, evn_error *err)
{
	EVN_TRY(evn_graph_count(g, "attention.key_length_mla", width, err));
	if (!*width)
		return find_older_sizes(g, b, width, err);
	EVN_TRY(evn_graph_u32(g, "attention.value_length_mla", &b->attention.latent.value, err));
	return check_heads(g, b, *width, err);
}

static evn_status find_attention(evn_graph *g, evn_block *b, evn_error *err)
{
	evn_latent_spec *l = &b->attention.latent;
	uint32_t width = 0;
	*b = evn_attention_block(g, 0);
	l->rotated = g->h->rope.dim;
	EVN_TRY(evn_graph_u32(g, "attention.kv_lora_rank", &l->latent, err));
	EVN_TRY(evn_graph_count(g, "attention.q_lora_rank", &l->query, err));
	EVN_TRY(find_sizes(g, b, &width, err));
	l->plain = width - l->rotated;
	b->unit_width = l->value;
	b->in = (evn_stack){{l->query ? "attn_q_a" : "attn_q", "attn_kv_a_mqa"}, 2};
	return find_scale(g, b, width, err);
}

static evn_status find_parts(evn_graph *g, parts *p, evn_error *err)
{
	*p = (parts){.gating = GATED_BY_SOFTMAX, .factor = 1};
	EVN_TRY(find_attention(g, &p->attention, err));
	EVN_TRY(evn_graph_count(g, "leading_dense_block_count", &p->n_dense, err));
	EVN_TRY(evn_graph_count(g, "expert_shared_count", &p->n_shared, err));
	EVN_TRY(evn_graph_count(g, "expert_gating_func", &p->gating, err));
	EVN_TRY(evn_graph_bool(g, "expert_weights_norm", &p->normed, err));
	EVN_TRY(evn_graph_cap(g, "expert_weights_scale", &p->factor, err));
	EVN_TRY(evn_graph_count(g, "expert_group_count", &p->n_groups, err));
	EVN_TRY(evn_graph_count(g, "expert_group_used_count", &p->n_used_groups, err));
	p->factor = p->factor > 0 ? p->factor : 1;
	if (p->gating != GATED_BY_SOFTMAX && p->gating != GATED_BY_SIGMOID)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: \"deepseek2.expert_gating_func\" is %u, expected 1 (softmax) or 2 (sigmoid)",
						evn_gguf_name(evn_model_gguf(g->model)), p->gating);
	return EVN_OK;
}

/* How a row's experts are chosen: by their scores, with a bias for each expert (V3), within some groups. */
static evn_status find_choice(const evn_graph *g, const parts *p, evn_block *b, evn_error *err)
{
	evn_experts_spec *e = &b->feed_forward.experts;
	const char *file = evn_gguf_name(evn_model_gguf(g->model));
	char name[64];
	snprintf(name, sizeof name, "blk.%u.exp_probs_b.bias", b->layer);
	e->biased = evn_model_find(g->model, name) != NULL;
	if (e->biased && !e->sigmoid)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: \"%s\" and experts by softmax, expected experts by sigmoid",
						file, name);
	if (p->n_groups <= 1 || p->n_used_groups == p->n_groups)
		return EVN_OK;
	const uint32_t in_group = e->n / p->n_groups;
	if (p->n_groups > EVN_EXPERT_GROUPS || e->n % p->n_groups || in_group < (e->biased ? 2 : 1) ||
		!p->n_used_groups || p->n_used_groups > p->n_groups || e->k > p->n_used_groups * in_group)
		return evn_fail(
			err, EVN_ERR_FORMAT,
			"%s: %u of %u experts in %u of %u groups, expected at most %u groups of equal size, and as many "
			"experts in those that are used",
			file, e->k, e->n, p->n_used_groups, p->n_groups, EVN_EXPERT_GROUPS);
	e->n_groups = p->n_groups;
	e->n_used_groups = p->n_used_groups;
	return EVN_OK;
}

static evn_status add_experts(evn_graph *g, const parts *p, uint32_t layer, evn_error *err)
{
	evn_block experts, shared;
	EVN_TRY(evn_experts_block(g, layer, &experts, err));
	experts.feed_forward.experts.normed = p->normed;
	experts.feed_forward.experts.sigmoid = p->gating == GATED_BY_SIGMOID;
	experts.feed_forward.experts.factor = p->factor;
	EVN_TRY(find_choice(g, p, &experts, err));
	EVN_TRY(evn_graph_add(g, &experts, err));
	if (!p->n_shared)
		return EVN_OK;
	if (p->n_shared > experts.feed_forward.experts.n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: %u shared experts beside %u, expected no more",
						evn_gguf_name(evn_model_gguf(g->model)), p->n_shared, experts.feed_forward.experts.n);
	EVN_TRY(evn_shared_expert_block(g, layer, &shared, err));
	shared.n_units = p->n_shared * experts.n_units;
	shared.feed_forward.share = NULL;
	return evn_graph_add(g, &shared, err);
}

static evn_status fill(evn_graph *g, evn_error *err)
{
	parts p;
	uint32_t n_experts;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	EVN_TRY(find_parts(g, &p, err));
	EVN_TRY(evn_graph_experts(g, &n_experts, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		const evn_block dense = evn_feed_forward_block(g, layer);
		p.attention.layer = layer;
		EVN_TRY(evn_graph_add(g, &p.attention, err));
		EVN_TRY(n_experts && layer >= p.n_dense ? add_experts(g, &p, layer, err) : evn_graph_add(g, &dense, err));
	}
	return EVN_OK;
}

EVN_ARCH(deepseek2) = {"deepseek2", true, fill};
