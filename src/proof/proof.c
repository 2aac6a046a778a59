#include "proof/proof.h"

#include <stdio.h>
#include <string.h>

#include "nn/ops_internal.h"
#include "nn/shape.h"
#include "nn/top.h"
#include "nn/workspace.h"
#include "proof/selftest_parts.h"

/* x86's */
static bool has_instruction(uint32_t dots)
{
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		if ((dots >> dot & 1) && evn_dot_is_x86(dot))
			return true;
	return false;
}

uint32_t evn_dots_possible(evn_activation_type activations, const evn_device *d)
{
	const evn_dot best = evn_dot_best(d);
	const uint32_t f32 = 1u << evn_dot_f32(evn_device_lanes(d)), bytes = 1u << best;
	if (activations == EVN_ACTIVATIONS_F32 || (activations == EVN_ACTIVATIONS_AUTO && evn_dot_is_plain(best)))
		return f32;
	return activations == EVN_ACTIVATIONS_Q8 || evn_dot_is_x86(best) ? bytes : f32 | bytes;
}

uint32_t evn_dots_of_other_width(evn_activation_type activations, evn_device *d)
{
	const uint32_t lanes = evn_device_lanes(d), other = lanes == 1 ? EVN_TILE_ROWS : 1;
	if (has_instruction(evn_dots_possible(activations, d)))
		return 0;
	evn_device_set_lanes(d, other);
	const uint32_t dots = evn_device_lanes(d) == other ? evn_dots_possible(activations, d) : 0;
	evn_device_set_lanes(d, lanes);
	return dots;
}

static bool has_format(const evn_model *m, const evn_quant *q)
{
	if (!m)
		return !strcmp(q->name, "F32") || !strcmp(q->name, "Q4_0");
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++)
		if (evn_gguf_tensor_at(g, i)->quant == q && evn_gguf_tensor_at(g, i)->n_dims == 2)
			return true;
	return false;
}

static bool has_weights(const evn_model *m, bool floats)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if ((evn_quant_at(i)->block_len == 1) == floats && has_format(m, evn_quant_at(i)))
			return true;
	return false;
}

bool evn_dots_suffice(const evn_model *m, uint32_t dots)
{
	return m && has_instruction(dots) && !has_weights(m, true);
}

/* The proof of one model on one device. */
typedef struct {
	evn_device *device; /* NULL: nothing is run, keys are only hashed */
	const evn_model *m;
	uint32_t dots;
	evn_kv_cache kv_cache;
	evn_weight_mix mix;
	const evn_proof_record *record;
	uint32_t group;                             /* of proofs that share programs: one process gives all of them */
	uint64_t hash;                              /* of all keys */
	bool norms[EVN_NORM_KINDS], gated, ungated; /* what the model has; gated blocks that are no experts */
	evn_activation activation;
	evn_nonlinearity gate; /* how it combines gate and up */
	bool biased;           /* it has biases */
	bool separate; /* gate and up are multiplied before SwiGLU: they have biases or unlike formats, or GEMM is used */
	bool experts;  /* it has experts */
	uint32_t state, taps;                                /* of DeltaNets; 0: there are none */
	bool gates;                                          /* of heads */
	bool latent;                                         /* heads share a latent vector */
	bool layers;                                         /* have inputs by the token */
	bool norms_all;                                      /* queries and keys are normed over all heads */
	bool posts;                                          /* sums over ranks are normed before they are added */
	bool fuses;                                          /* its feed-forward blocks may be fused */
	uint32_t n_kinds;                                    /* the number of different heads */
	evn_attention_config kinds[EVN_PLAN_CLASSES], heads; /* heads: those of the current proof */
	evn_selftest_options options;
} proof;

static bool same_heads(const evn_attention_config *a, const evn_attention_config *b)
{
	return a->head_dim == b->head_dim && a->rope_dim == b->rope_dim && a->group == b->group &&
		   a->rope_neox == b->rope_neox && a->qk_norm == b->qk_norm && a->v_norm == b->v_norm &&
		   a->whole == b->whole && a->windowed == b->windowed && a->soft_capped == b->soft_capped &&
		   a->sinks == b->sinks && a->query_scales == b->query_scales && a->biased == b->biased &&
		   a->crosses == b->crosses;
}

static void add_heads(proof *p, evn_attention_config config)
{
	for (uint32_t i = 0; i < p->n_kinds; i++)
		if (same_heads(&p->kinds[i], &config))
			return;
	if (p->n_kinds < EVN_PLAN_CLASSES)
		p->kinds[p->n_kinds++] = config;
}

static bool has_biases(const evn_model *m)
{
	static const char ending[] = ".bias";
	const evn_gguf *g = evn_model_gguf(m);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_str name = evn_gguf_tensor_at(g, i)->name;
		if (name.length >= strlen(ending) &&
			!strncmp(name.text + name.length - strlen(ending), ending, strlen(ending)))
			return true;
	}
	return false;
}

/* Gate and up of each block have one format and no bias. */
static bool all_gates_alike(const evn_graph *g)
{
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		const evn_tensor *first, *t;
		if (b->kind != EVN_BLOCK_FEED_FORWARD || evn_block_tensor(g, b, b->in.stems[0], &first, NULL) != EVN_OK)
			continue;
		for (uint32_t k = 1; k < b->in.n; k++)
			if (evn_block_tensor(g, b, b->in.stems[k], &t, NULL) != EVN_OK || t->quant != first->quant)
				return false;
	}
	return true;
}

static evn_status read_graph(proof *p, evn_error *err)
{
	evn_graph *g;
	EVN_TRY(evn_graph_make(&g, p->m, err));
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		p->norms[b->norm.kind] = true;
		p->posts |= b->post != NULL;
		p->experts |= b->kind == EVN_BLOCK_EXPERTS;
		p->gates |= b->kind == EVN_BLOCK_ATTENTION && b->attention.gated;
		if (b->kind == EVN_BLOCK_DELTA) {
			p->state = b->delta.state;
			p->taps = b->delta.taps;
		}
		p->latent |= b->kind == EVN_BLOCK_ATTENTION && b->attention.latent.latent;
		p->norms_all |= b->kind == EVN_BLOCK_ATTENTION && b->attention.qk_norm_all;
		if (b->kind == EVN_BLOCK_ATTENTION)
			add_heads(p, evn_attention_config_of(g, b, EVN_KV_F32));
		if (b->kind != EVN_BLOCK_FEED_FORWARD)
			continue;
		*(b->feed_forward.gated ? &p->gated : b->feed_forward.by_layer ? &p->layers : &p->ungated) = true;
		p->fuses |= b->feed_forward.gated && !b->joins && !g->biased;
	}
	p->layers |= g->patches.floats > 0;
	p->gate = evn_graph_gate(g);
	p->activation = g->activation;
	p->biased = has_biases(p->m);
	p->separate = p->experts || (p->gated && (p->biased || !all_gates_alike(g)));
	evn_status s = evn_graph_mix(g, &p->mix, err);
	evn_graph_free(g);
	return s;
}

static evn_status begin(proof *p, evn_device *d, const evn_proof_subject *s, const evn_proof_record *r,
						evn_error *err)
{
	static const evn_attention_config usual = {.head_dim = 64, .rope_dim = 64, .group = 3};
	*p = (proof){
		.device = d, .m = s->m, .dots = s->dots, .kv_cache = s->kv_cache, .record = r, .hash = EVN_HASH_START};
	if (p->m) {
		EVN_TRY(read_graph(p, err));
	} else {
		add_heads(p, usual);
		p->norms[EVN_NORM_RMS] = p->gated = p->fuses = true;
		p->mix.head = evn_quant_index(evn_quant_by_name("Q4_0"));
		p->mix.bytes[p->mix.head] = p->mix.bytes[evn_quant_index(evn_quant_by_name("F32"))] = 1;
	}
	bool floats = false, integers = false;
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (p->mix.bytes[i] > 0 || i == p->mix.head)
			*(evn_quant_at(i)->block_len == 1 ? &floats : &integers) = true;
	if (!integers)
		p->dots = evn_dots_for_floats(p->dots);
	else if (floats) /* float matrices and all that are stacked with them need f32 activations */
		p->dots |= evn_dots_for_floats(p->dots);
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++) /* with 1 lane: for several rows that are no block */
		p->separate |= p->gated && (p->dots >> dot & 1) && evn_dot_lanes(dot) == 1;
	for (size_t i = 0; i < evn_quant_count(); i++)
		p->separate |= p->gated && p->mix.bytes[i] > 0 && (p->dots & 1u << EVN_DOT_NONE) &&
					   !evn_reads_tiles(evn_quant_at(i), EVN_ACT_F32);
	p->options = (evn_selftest_options){.heads = &p->heads, .keeps_programs = r && r->keeps_programs};
	return EVN_OK;
}

typedef struct {
	char text[160];
} proof_key;

static proof_key key_of(const proof *p, bool with_heads)
{
	const evn_selftest_options *o = &p->options;
	const evn_attention_config *h = &p->heads;
	proof_key k;
	int n = snprintf(k.text, sizeof k.text, "%s/%s/%x", o->subject, o->quant ? o->quant->name : "", o->dots);
	if (with_heads && n > 0 && (size_t)n < sizeof k.text)
		snprintf(k.text + n, sizeof k.text - (size_t)n, "/%u,%u,%u,%d,%d,%d%s%s%s%s%s%s%s%s", h->head_dim,
				 h->rope_dim, h->group, h->rope_neox, h->qk_norm, (int)h->kv_cache, h->v_norm ? ",values" : "",
				 h->whole ? ",whole" : "", h->windowed ? ",window" : "", h->soft_capped ? ",cap" : "",
				 h->sinks ? ",sinks" : "", h->query_scales ? ",scales" : "", h->biased ? ",biases" : "",
				 h->crosses ? ",memory" : "");
	n = (int)strlen(k.text);
	if (o->state)
		n += snprintf(k.text + n, sizeof k.text - (size_t)n, "/%u,%u", o->state, o->taps);
	snprintf(k.text + n, sizeof k.text - (size_t)n, "%s", evn_gate_name(o->gate));
	return k;
}

/* One proof, if it belongs to this process and is not known. */
static evn_status prove_once(proof *p, bool with_heads, evn_error *err)
{
	const evn_proof_record *r = p->record;
	const proof_key key = key_of(p, with_heads);
	p->hash = evn_hash_str(p->hash, key.text);
	if (!p->device || (r->n_parts && p->group % r->n_parts != r->part) || r->known(r->user, key.text))
		return EVN_OK;
	EVN_TRY(evn_selftest_run(p->device, &p->options, NULL, NULL, err));
	r->proved(r->user, key.text);
	return EVN_OK;
}

/* For a kernel that multiplies, or whose output a product reads: a proof for each dot kind. Weights that are floats
 * are multiplied by f32 activations alone. */
static evn_status prove_dots(proof *p, const char *subject, const evn_quant *quant, bool with_heads, evn_error *err)
{
	const uint32_t dots = quant && quant->block_len == 1 ? evn_dots_for_floats(p->dots) : p->dots;
	p->options.subject = subject;
	p->options.quant = quant;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++) {
		p->options.dots = dots & 1u << dot;
		if (p->options.dots &&
			(!with_heads || !quant || !p->device || evn_selftest_has_fused(p->device, quant, p->options.dots)))
			EVN_TRY(prove_once(p, with_heads, err));
	}
	p->options.dots = 0;
	return EVN_OK;
}

static evn_status prove(proof *p, const char *subject, evn_error *err)
{
	return prove_dots(p, subject, NULL, false, err);
}

/* For a kernel that reads and writes f32 whatever the products read. */
static evn_status prove_f32(proof *p, const char *subject, evn_error *err)
{
	const uint32_t dots = p->dots;
	p->dots = evn_dots_for_floats(dots);
	evn_status s = prove_dots(p, subject, NULL, false, err);
	p->dots = dots;
	return s;
}

/* Proves the subject for each weight format of the model. */
static evn_status prove_formats(proof *p, const char *subject, evn_error *err)
{
	for (size_t i = 0; i < evn_quant_count(); i++)
		if (p->mix.bytes[i] > 0)
			EVN_TRY(prove_dots(p, subject, evn_quant_at(i), false, err));
	return EVN_OK;
}

/* Logits are computed by the kernel for single rows. */
static evn_status prove_rows_of_products(proof *p, evn_error *err)
{
	EVN_TRY(prove_formats(p, "matvec", err));
	EVN_TRY(prove_formats(p, "matvec of few rows", err));
	if (p->experts)
		EVN_TRY(prove_formats(p, EVN_EXPERTS, err));
	return p->mix.bytes[p->mix.head] > 0 ? EVN_OK : prove_dots(p, "matvec", evn_quant_at(p->mix.head), false, err);
}

static evn_status prove_blocks_of_rows(proof *p, evn_error *err)
{
	EVN_TRY(prove_formats(p, "matmul", err));
	p->options.gate = p->gate;
	evn_status s = p->gated ? prove_formats(p, "gate and up", err) : EVN_OK;
	p->options.gate = EVN_SILU;
	return s;
}

static evn_status prove_attention(proof *p, evn_error *err)
{
	static const char *const steps[] = {EVN_ATTENTION_TOKEN, EVN_ATTENTION_PROMPT, EVN_ATTENTION_SPLITS};
	for (uint32_t k = 0; k < p->n_kinds; k++) {
		p->heads = p->kinds[k];
		p->heads.kv_cache = p->kv_cache;
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
			EVN_TRY(prove_dots(p, steps[i], NULL, true, err));
	}
	return EVN_OK;
}

/* Proves only formats that the device has fused kernels for. */
static evn_status prove_fused(proof *p, evn_error *err)
{
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const evn_quant *q = evn_quant_at(i);
		if (p->mix.bytes[i] <= 0)
			continue;
		for (uint32_t k = 0; k < p->n_kinds; k++) {
			p->heads = p->kinds[k];
			if (!p->heads.crosses)
				EVN_TRY(prove_dots(p, "attention block", q, true, err));
		}
		p->options.gate = p->gate;
		if (p->n_kinds && p->fuses)
			EVN_TRY(prove_dots(p, "feed-forward block", q, true, err));
		p->options.gate = EVN_SILU;
	}
	return EVN_OK;
}

static evn_status prove_heads_with_state(proof *p, evn_error *err)
{
	if (p->gates)
		EVN_TRY(prove_f32(p, EVN_HEAD_GATES, err));
	p->options.state = p->state;
	p->options.taps = p->taps;
	const evn_status s = p->state ? prove_f32(p, EVN_DELTA, err) : EVN_OK;
	p->options.state = p->options.taps = 0;
	return s;
}

/* Small shapes: these kernels treat all rows and columns alike. */
static evn_status prove_rows(proof *p, evn_error *err)
{
	static const char *const norms[EVN_NORM_KINDS] = {
		[EVN_NORM_RMS] = "rmsnorm", [EVN_NORM_LAYER] = "layernorm", [EVN_NORM_REPLACE] = EVN_LAYERNORM_REPLACES};
	p->options.tiny = true;
	for (evn_norm_kind kind = 0; kind < EVN_NORM_KINDS; kind++)
		if (p->norms[kind] && norms[kind])
			EVN_TRY(prove(p, norms[kind], err));
	p->options.gate = p->gate;
	if (p->separate)
		EVN_TRY(prove(p, "swiglu", err));
	p->options.gate = EVN_SILU;
	if (p->biased)
		EVN_TRY(prove_f32(p, "add_bias", err));
	if (p->ungated)
		EVN_TRY(prove(p, evn_activation_name(p->activation), err));
	if (p->latent)
		EVN_TRY(prove_f32(p, EVN_LATENT, err));
	if (p->layers)
		EVN_TRY(prove(p, EVN_LAYER_INPUTS, err));
	EVN_TRY(prove_f32(p, "add_partials", err));
	EVN_TRY(prove(p, "add_norm", err));
	if (p->norms_all)
		EVN_TRY(prove_f32(p, EVN_NORMS_OF_ALL, err));
	if (p->experts || p->state)
		EVN_TRY(prove_f32(p, EVN_ROUTER, err));
	EVN_TRY(prove_heads_with_state(p, err));
	if (p->posts)
		EVN_TRY(prove_f32(p, EVN_ADD_POST_NORM, err));
	if (!p->device || evn_top_on_device(p->device))
		EVN_TRY(prove_f32(p, "top", err));
	p->options.tiny = false;
	return EVN_OK;
}

static evn_status prove_all(proof *p, evn_error *err)
{
	EVN_TRY(prove_attention(p, err)); /* group 0 */
	p->group = 1;
	EVN_TRY(prove_rows_of_products(p, err));
	p->group = 2;
	EVN_TRY(prove_rows(p, err));
	p->group = 3;
	EVN_TRY(prove_blocks_of_rows(p, err));
	return prove_fused(p, err);
}

evn_status evn_proof_signature(uint64_t *out, const evn_proof_subject *s, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, NULL, s, NULL, err));
	EVN_TRY(prove_all(&p, err));
	*out = p.hash;
	return EVN_OK;
}

evn_status evn_prove_kernels(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, s, r, err));
	return prove_all(&p, err);
}

evn_status evn_prove_part(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err)
{
	proof p;
	EVN_TRY(begin(&p, d, s, r, err));
	return prove_fused(&p, err);
}

evn_status evn_prove_gemm(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err)
{
	proof p;
	const evn_proof_subject f32 = {s->m, evn_dots_for_floats(s->dots), s->kv_cache}; /* GEMM reads f32 activations */
	EVN_TRY(begin(&p, d, &f32, r, err));
	p.dots = f32.dots;
	p.separate |= p.gated;
	EVN_TRY(prove_formats(&p, "gemm", err));
	EVN_TRY(prove_attention(&p, err));
	return prove_rows(&p, err);
}
