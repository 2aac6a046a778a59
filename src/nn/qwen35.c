/* qwen35.c - Qwen 3.5 and its successors: three of four layers are gated DeltaNets, the fourth is attention whose
 * output is gated. With experts it has a shared one in every layer. */
#include "nn/graph.h"

#define USUAL_INTERVAL 4u
#define MOST_TAPS 16u

typedef struct {
	evn_block delta;
	uint32_t interval;        /* every interval-th layer is attention */
	const uint8_t *recurrent; /* a bool for each layer: it is a DeltaNet; NULL: the interval says it */
} layers;

static evn_status check_delta(const evn_graph *g, const evn_block *b, uint32_t inner, evn_error *err)
{
	const char *name = evn_gguf_name(evn_model_gguf(g->model));
	const evn_delta_spec *d = &b->delta;
	if (d->state % EVN_TILE_ROWS)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: states of size %u, expected a multiple of %d", name, d->state,
						EVN_TILE_ROWS);
	if (d->taps < 2 || d->taps > MOST_TAPS)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: a convolution of %u taps, expected 2 to %u", name, d->taps,
						MOST_TAPS);
	if (b->n_units % d->n_keys || (uint64_t)b->n_units * d->state != inner)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: %u value heads of size %u, %u key heads and an inner size of %u do not fit together",
						name, b->n_units, d->state, d->n_keys, inner);
	return EVN_OK;
}

static evn_status read_layers(const evn_graph *g, layers *l, evn_error *err)
{
	evn_block *b = &l->delta;
	uint32_t inner = 0;
	*l = (layers){.interval = USUAL_INTERVAL,
				  .delta = {.kind = EVN_BLOCK_DELTA,
							.group = 1,
							.norm = {.kind = EVN_NORM_RMS, .stem = "attn_norm"},
							.in = {{"attn_qkv", "attn_gate"}, 2},
							.out = "ssm_out",
							.residual_scale = 1,
							.kept = 1}};
	EVN_TRY(evn_graph_u32(g, "ssm.time_step_rank", &b->n_units, err));
	EVN_TRY(evn_graph_u32(g, "ssm.group_count", &b->delta.n_keys, err));
	EVN_TRY(evn_graph_u32(g, "ssm.state_size", &b->delta.state, err));
	EVN_TRY(evn_graph_u32(g, "ssm.conv_kernel", &b->delta.taps, err));
	EVN_TRY(evn_graph_u32(g, "ssm.inner_size", &inner, err));
	b->unit_width = b->delta.state;
	EVN_TRY(evn_graph_u32(g, "full_attention_interval", &l->interval, err));
	EVN_TRY(evn_graph_flags(g, "attention.recurrent_layers", &l->recurrent, err));
	evn_graph_ignore(g, "rope.dimension_sections"); /* of images: all have a text's one position */
	return check_delta(g, b, inner, err);
}

static evn_block mixer_of(const evn_graph *g, const layers *l, uint32_t layer)
{
	evn_block b = l->delta;
	if (l->recurrent ? !l->recurrent[layer] : (layer + 1) % l->interval == 0) {
		b = evn_attention_block(g, layer);
		b.attention.rope_neox = b.attention.qk_norm = b.attention.gated = true;
	}
	b.layer = layer;
	return b;
}

static evn_status fill(evn_graph *g, evn_error *err)
{
	layers l;
	uint32_t n_experts;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	EVN_TRY(read_layers(g, &l, err));
	EVN_TRY(evn_graph_experts(g, &n_experts, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		const evn_block mixer = mixer_of(g, &l, layer);
		evn_block feed_forward = evn_feed_forward_block(g, layer), shared;
		if (n_experts) {
			EVN_TRY(evn_experts_block(g, layer, &feed_forward, err));
			EVN_TRY(evn_shared_expert_block(g, layer, &shared, err));
			shared.norm.stem = "post_attention_norm";
		}
		feed_forward.norm.stem = "post_attention_norm";
		EVN_TRY(evn_graph_add(g, &mixer, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
		if (n_experts)
			EVN_TRY(evn_graph_add(g, &shared, err));
	}
	return EVN_OK;
}

EVN_ARCH(qwen35) = {"qwen35", true, fill};
EVN_ARCH(qwen35moe) = {"qwen35moe", true, fill};
