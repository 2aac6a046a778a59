/* checkpoint.c - see checkpoint.h. The keys and the names of the tensors are written as the head of a GGUF file in
 * memory, which is then parsed like any other; its tensors are given their places in the safetensors files. */
#include "model/checkpoint.h"
#include "model/checkpoint_parts.h"
#include "model/gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_VECTOR (1u << 24) /* elements of a norm, bias or router, which are kept in memory */
#define MAX_EXPERTS 4096u

bool evn_is_folder(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

evn_planned *evn_checkpoint_plan(evn_checkpoint *c, const char *name)
{
	evn_planned *more = realloc(c->planned, (c->n_planned + 1u) * sizeof *more);
	if (!more)
		return NULL;
	c->planned = more;
	evn_planned *t = &more[c->n_planned++];
	*t = (evn_planned){.shape = {1, 1, 1, 1}};
	snprintf(t->name, sizeof t->name, "%s", name);
	return t;
}

void evn_planned_clear(evn_planned *t)
{
	free(t->values);
	free(t->pieces);
}

/* ---- names ------------------------------------------------------------------------------------------------------
 */

typedef enum { PLAIN, QUERY, KEY, TRANSPOSED, NORM, ROUTER, EXPERT } kind;

typedef struct {
	const char *hf, *gguf; /* without .weight and .bias; of a layer without its number */
	kind kind;
} names;

static const names ends[] = {
	{"embed_tokens", "token_embd", PLAIN},
	{"wte", "token_embd", PLAIN},
	{"shared", "token_embd", PLAIN},
	{"encoder.final_layer_norm", "enc.output_norm", PLAIN},
	{"decoder.final_layer_norm", "dec.output_norm", PLAIN},
	{"wpe", "position_embd", PLAIN},
	{"norm", "output_norm", NORM},
	{"ln_f", "output_norm", PLAIN},
	{"lm_head", "output", PLAIN},
	{"embeddings.word_embeddings", "token_embd", PLAIN},
	{"embeddings.position_embeddings", "position_embd", PLAIN},
	{"embeddings.token_type_embeddings", "token_types", PLAIN},
	{"embeddings.LayerNorm", "token_embd_norm", PLAIN},
	{"pooler.dense", "cls", PLAIN},
	{"classifier", "cls.output", PLAIN},
};

static const names parts[] = {
	{"self_attn.q_proj", "attn_q", QUERY},
	{"self_attn.k_proj", "attn_k", KEY},
	{"self_attn.v_proj", "attn_v", PLAIN},
	{"self_attn.qkv_proj", "attn_qkv", PLAIN},
	{"self_attn.o_proj", "attn_output", PLAIN},
	{"self_attn.q_norm", "attn_q_norm", NORM},
	{"self_attn.k_norm", "attn_k_norm", NORM},
	{"mlp.gate_proj", "ffn_gate", PLAIN},
	{"mlp.up_proj", "ffn_up", PLAIN},
	{"mlp.gate_up_proj", "ffn_up", PLAIN},
	{"mlp.down_proj", "ffn_down", PLAIN},
	{"mlp.gate", "ffn_gate_inp", ROUTER},
	{"block_sparse_moe.gate", "ffn_gate_inp", ROUTER},
	{"input_layernorm", "attn_norm", NORM},
	{"pre_feedforward_layernorm", "ffn_norm", NORM},
	{"post_feedforward_layernorm", "post_ffw_norm", NORM},
	{"ln_1", "attn_norm", PLAIN},
	{"ln_2", "ffn_norm", PLAIN},
	{"attn.c_attn", "attn_qkv", TRANSPOSED},
	{"attn.c_proj", "attn_output", TRANSPOSED},
	{"mlp.c_fc", "ffn_up", TRANSPOSED},
	{"mlp.c_proj", "ffn_down", TRANSPOSED},
	{"attention.self.query", "attn_q", PLAIN},
	{"attention.self.key", "attn_k", PLAIN},
	{"attention.self.value", "attn_v", PLAIN},
	{"attention.output.dense", "attn_output", PLAIN},
	{"attention.output.LayerNorm", "attn_output_norm", PLAIN},
	{"intermediate.dense", "ffn_up", PLAIN},
	{"output.dense", "ffn_down", PLAIN},
	{"output.LayerNorm", "layer_output_norm", PLAIN},
};

/* Of T5: parts of a side's layer. */
static const names side_parts[] = {
	{"layer.0.SelfAttention.q", "attn_q", PLAIN},
	{"layer.0.SelfAttention.k", "attn_k", PLAIN},
	{"layer.0.SelfAttention.v", "attn_v", PLAIN},
	{"layer.0.SelfAttention.o", "attn_o", PLAIN},
	{"layer.0.SelfAttention.relative_attention_bias", "attn_rel_b", PLAIN},
	{"layer.0.layer_norm", "attn_norm", PLAIN},
	{"layer.1.EncDecAttention.q", "cross_attn_q", PLAIN},
	{"layer.1.EncDecAttention.k", "cross_attn_k", PLAIN},
	{"layer.1.EncDecAttention.v", "cross_attn_v", PLAIN},
	{"layer.1.EncDecAttention.o", "cross_attn_o", PLAIN},
};
/* Those of the network, which is the layer's last part, and the norm before. */
static const names network_parts[] = {
	{"DenseReluDense.wi_0", "ffn_gate", PLAIN}, {"DenseReluDense.wi_1", "ffn_up", PLAIN},
	{"DenseReluDense.wi", "ffn_up", PLAIN},     {"DenseReluDense.wo", "ffn_down", PLAIN},
	{"layer_norm", "ffn_norm", PLAIN},
};
static const names cross_norm = {"layer.1.layer_norm", "cross_attn_norm", PLAIN};

static const names expert_parts[] = {
	{"gate_proj", "ffn_gate_exps", EXPERT}, {"up_proj", "ffn_up_exps", EXPERT},
	{"down_proj", "ffn_down_exps", EXPERT}, {"w1", "ffn_gate_exps", EXPERT},
	{"w3", "ffn_up_exps", EXPERT},          {"w2", "ffn_down_exps", EXPERT},
};

static const names post_attention[] = {{"post_attention_layernorm", "ffn_norm", NORM},
									   {"post_attention_layernorm", "post_attention_norm", NORM}};

static const char *without_prefix(const char *name)
{
	static const char *const prefixes[] = {"model.language_model.",
										   "language_model.model.",
										   "language_model.",
										   "model.",
										   "transformer.",
										   "bert.",
										   "vit."};
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return name + strlen(prefixes[i]);
	return name;
}

/* BERT's pooler is trained with its head for classes. Without one it is left over from another task. */
static bool is_unused_pooler(const evn_checkpoint *c, const char *name)
{
	if (strncmp(without_prefix(name), "pooler.", 7) != 0)
		return false;
	for (uint32_t i = 0; i < evn_safetensors_count(c->weights); i++)
		if (!strcmp(evn_safetensors_at(c->weights, i)->name, "classifier.weight"))
			return false;
	return true;
}

/* What is no part of the text model, or follows from other values. */
static bool is_left_out(const char *name)
{
	static const char *const begins[] = {"visual.",
										 "model.visual.",
										 "vision_tower.",
										 "model.vision_tower.",
										 "vision_model.",
										 "model.vision_model.",
										 "multi_modal_projector.",
										 "model.multi_modal_projector.",
										 "cls.",
										 "encoder.embed_tokens.",
										 "decoder.embed_tokens.",
										 "embeddings.position_ids",
										 "bert.embeddings.position_ids"};
	static const char *const ends_with[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"};
	const size_t n = strlen(name);
	for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	for (size_t i = 0; i < sizeof ends_with / sizeof *ends_with; i++)
		if (n > strlen(ends_with[i]) && !strcmp(name + n - strlen(ends_with[i]), ends_with[i]))
			return true;
	return false;
}

/* The row for `name` without its ending ".weight" or ".bias", which *ending then is. */
static const names *find_name(const names *rows, size_t n, const char *name, const char **ending)
{
	for (size_t i = 0; i < n; i++) {
		const size_t length = strlen(rows[i].hf);
		*ending = name + length;
		if (!strncmp(name, rows[i].hf, length) && (!strcmp(*ending, ".weight") || !strcmp(*ending, ".bias")))
			return &rows[i];
	}
	return NULL;
}

/* A tensor of a layer's expert. */
static const names *find_expert(const char *name, uint32_t *expert, const char **ending)
{
	int at = 0;
	if ((sscanf(name, "mlp.experts.%u.%n", expert, &at) == 1 ||
		 sscanf(name, "block_sparse_moe.experts.%u.%n", expert, &at) == 1) &&
		at)
		return find_name(expert_parts, sizeof expert_parts / sizeof *expert_parts, name + at, ending);
	return NULL;
}

/* A tensor of a layer of one of T5's sides. */
static const names *find_of_side(const char *own, char number[16], const char **ending)
{
	char side[8] = "";
	unsigned layer = 0;
	int at = 0;
	if (sscanf(own, "%7[a-z].block.%u.%n", side, &layer, &at) != 2 || !at)
		return NULL;
	const bool decoder = !strcmp(side, "decoder");
	if (!decoder && strcmp(side, "encoder") != 0)
		return NULL;
	snprintf(number, 16, "%.3s.blk.%u.", side, layer % 100000);
	const char *network = decoder ? "layer.2." : "layer.1.";
	if (!strncmp(own + at, network, strlen(network)))
		return find_name(network_parts, sizeof network_parts / sizeof *network_parts, own + at + strlen(network),
						 ending);
	const names *row = decoder ? find_name(&cross_norm, 1, own + at, ending) : NULL;
	return row ? row : find_name(side_parts, sizeof side_parts / sizeof *side_parts, own + at, ending);
}

/* Finds the GGUF name. *row is NULL for a tensor that is unknown; it then keeps its own name, by which the check of
 * the tensors reports it. */
static void map_name(const evn_checkpoint *c, const char *name, char out[64], const names **row, uint32_t *expert)
{
	const char *own = without_prefix(name), *ending = "";
	unsigned layer = 0;
	int at = 0;
	char number[16] = "";
	if (evn_reads_images(c)) {
		evn_checkpoint_image_name(own, out);
		*row = NULL;
		return;
	}
	*row = find_name(ends, sizeof ends / sizeof *ends, own, &ending);
	if (!*row &&
		(sscanf(own, "layers.%u.%n", &layer, &at) == 1 || sscanf(own, "h.%u.%n", &layer, &at) == 1 ||
		 sscanf(own, "encoder.layer.%u.%n", &layer, &at) == 1) &&
		at) {
		snprintf(number, sizeof number, "blk.%u.", layer);
		*row = find_name(&post_attention[c->family->post_norms], 1, own + at, &ending);
		if (!*row)
			*row = find_name(parts, sizeof parts / sizeof *parts, own + at, &ending);
		if (!*row)
			*row = find_expert(own + at, expert, &ending);
	}
	if (!*row)
		*row = find_of_side(own, number, &ending);
	if (*row)
		snprintf(out, 64, "%s%s%s", number, (*row)->gguf, ending);
	else
		snprintf(out, 64, "%s", name);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------
 */

/* GGUF row r of the rows that are stored as two halves of each head. */
static uint64_t stored_row(uint64_t r, uint64_t rows, uint32_t heads)
{
	const uint64_t width = rows / heads, in_head = r % width;
	return r - in_head + in_head % 2 * (width / 2) + in_head / 2;
}

/* Norms, biases and routers are kept in memory as f32, as they are in GGUF files. */
static evn_status load_values(evn_checkpoint *c, evn_planned *t, bool plus_one)
{
	const evn_safetensor *from = t->from;
	const uint64_t n = from->size_bytes / from->quant->block_bytes;
	if (n > MAX_VECTOR)
		return evn_fail(c->err, EVN_ERR_LIMIT, "%s: tensor \"%.80s\" has %" PRIu64 " elements, at most %u are read",
						c->folder, from->name, n, MAX_VECTOR);
	float *values = malloc((size_t)n * sizeof *values), *ordered = malloc((size_t)n * sizeof *ordered);
	uint8_t *bytes = malloc((size_t)from->size_bytes);
	evn_status s = values && ordered && bytes ? EVN_OK : evn_fail_memory(c->err, from->name, n * sizeof *values);
	if (s == EVN_OK)
		s = evn_source_read(from->source, from->offset_bytes, bytes, (size_t)from->size_bytes, c->err);
	if (s == EVN_OK) {
		evn_dequantize(from->quant, bytes, values, n);
		for (uint64_t i = 0; i < n; i++)
			ordered[i] = values[t->pair_heads ? stored_row(i, n, t->pair_heads) : i] + (plus_one ? 1 : 0);
		t->values = ordered;
		ordered = NULL;
	}
	free(ordered);
	free(values);
	free(bytes);
	return s;
}

/* Rows that do not divide into heads of pairs are reported by the check of the shapes, so they stay as they are. */
static evn_status set_order(const evn_checkpoint *c, evn_planned *t, kind k)
{
	uint32_t heads = 0;
	const uint64_t rows = t->from->shape[t->from->n_dims == 1 ? 0 : 1];
	if (!c->family->pairs || (k != QUERY && k != KEY))
		return EVN_OK;
	EVN_TRY(evn_config_u32(c, "num_attention_heads", &heads));
	if (k == KEY)
		EVN_TRY(evn_config_u32(c, "num_key_value_heads", &heads));
	if (heads && rows % heads == 0 && rows / heads % 2 == 0)
		t->pair_heads = heads;
	return EVN_OK;
}

/* The tensor that holds this matrix of all experts of the layer; made by the first of them that comes. */
static evn_planned *stack_of(evn_checkpoint *c, const char *name, const evn_safetensor *from, uint32_t n)
{
	for (uint32_t i = c->n_planned; i-- > 0;)
		if (c->planned[i].pieces && !strcmp(c->planned[i].name, name))
			return &c->planned[i];
	evn_planned *t = evn_checkpoint_plan(c, name);
	if (!t || !(t->pieces = calloc(n, sizeof *t->pieces)))
		return NULL;
	memcpy(t->shape, from->shape, sizeof t->shape);
	t->from = from;
	t->n_pieces = n;
	t->n_dims = 3;
	t->shape[2] = n;
	return t;
}

static evn_status plan_expert(evn_checkpoint *c, const char *name, const evn_safetensor *from, uint32_t expert)
{
	uint32_t n = 0;
	EVN_TRY(evn_config_u32(c, "num_local_experts", &n));
	EVN_TRY(evn_config_u32(c, "num_experts", &n));
	if (expert >= n || n > MAX_EXPERTS || from->n_dims != 2)
		return evn_fail(c->err, EVN_ERR_FORMAT,
						"%s: tensor \"%.80s\" is a matrix of an expert, expected matrices of %" PRIu32
						" experts, of at most %u",
						c->folder, from->name, n, MAX_EXPERTS);
	evn_planned *t = stack_of(c, name, from, n);
	if (!t)
		return evn_fail_memory(c->err, c->folder, n * sizeof *t->pieces);
	if (from->quant != t->from->quant || from->shape[0] != t->shape[0] || from->shape[1] != t->shape[1])
		return evn_fail(c->err, EVN_ERR_FORMAT, "%s: tensor \"%.80s\" has another shape or type than \"%.80s\"",
						c->folder, from->name, t->from->name);
	t->pieces[expert] = (evn_file_part){from->source, from->offset_bytes};
	return EVN_OK;
}

static evn_status check_experts(const evn_checkpoint *c)
{
	for (uint32_t i = 0; i < c->n_planned; i++)
		for (uint32_t k = 0; k < c->planned[i].n_pieces; k++)
			if (!c->planned[i].pieces[k].source)
				return evn_fail(c->err, EVN_ERR_FORMAT, "%s: expert %" PRIu32 " has no tensor like \"%.80s\"",
								c->folder, k, c->planned[i].from->name);
	return EVN_OK;
}

static evn_status plan_tensor(evn_checkpoint *c, const evn_safetensor *from)
{
	char name[64];
	const names *row;
	uint32_t expert = 0;
	map_name(c, from->name, name, &row, &expert);
	if (!from->quant)
		return evn_fail(c->err, EVN_ERR_UNSUPPORTED,
						"%s: tensor \"%.80s\" has type %s and %" PRIu32 " dimensions, evener reads F32, F16 and BF16",
						c->folder, from->name, from->type, from->n_dims);
	const kind k = row ? row->kind : PLAIN;
	if (k == EXPERT)
		return plan_expert(c, name, from, expert);
	evn_planned *t = evn_checkpoint_plan(c, name);
	if (!t)
		return evn_fail_memory(c->err, c->folder, c->n_planned * sizeof *t);
	t->from = from;
	t->n_dims = from->n_dims;
	memcpy(t->shape, from->shape, sizeof t->shape);
	if (evn_reads_images(c))
		evn_checkpoint_flatten(t);
	EVN_TRY(set_order(c, t, k));
	if (t->n_dims == 1 || k == ROUTER)
		return load_values(c, t, k == NORM && c->family->plus_one);
	t->transposed = k == TRANSPOSED && t->n_dims == 2;
	if (t->transposed) {
		t->shape[0] = from->shape[1];
		t->shape[1] = from->shape[0];
	}
	return EVN_OK;
}

static evn_status plan_tensors(evn_checkpoint *c)
{
	const json_t *tie = json_object_get(c->config, "tie_word_embeddings");
	tie = tie ? tie : json_object_get(c->own, "tie_word_embeddings");
	const bool tied = !json_is_false(tie); /* transformers' default */
	for (uint32_t i = 0; i < evn_safetensors_count(c->weights); i++) {
		const evn_safetensor *from = evn_safetensors_at(c->weights, i);
		const bool head = !strcmp(without_prefix(from->name), "lm_head.weight");
		if (is_left_out(from->name) || is_unused_pooler(c, from->name) || (head && tied))
			continue;
		EVN_TRY(plan_tensor(c, from));
		if (c->n_planned && !strcmp(c->planned[c->n_planned - 1].name, "token_embd.weight"))
			c->n_tokens = from->shape[1] < UINT32_MAX ? (uint32_t)from->shape[1] : UINT32_MAX;
	}
	uint32_t vocab = c->n_tokens;
	EVN_TRY(evn_config_u32(c, "vocab_size", &vocab));
	if (c->n_tokens && vocab != c->n_tokens)
		return evn_fail(c->err, EVN_ERR_FORMAT,
						"%s/config.json: \"vocab_size\" is %" PRIu32 ", the token embedding has %" PRIu32 " rows",
						c->folder, vocab, c->n_tokens);
	return check_experts(c);
}

/* ---- the whole --------------------------------------------------------------------------------------------------
 */

/* What the tensors of a checkpoint read. */
typedef struct {
	evn_safetensors *weights;
	evn_planned *planned;
	uint32_t n_planned;
} holder;

static void release(void *user)
{
	holder *h = user;
	for (uint32_t i = 0; i < h->n_planned; i++)
		evn_planned_clear(&h->planned[i]);
	free(h->planned);
	evn_safetensors_close(h->weights);
	free(h);
}

static void place(evn_tensor *t, const evn_planned *p)
{
	t->data = (const uint8_t *)p->values;
	if (p->values)
		return;
	t->source = p->from->source;
	t->offset_bytes = p->from->offset_bytes;
	t->part = p->from->file;
	t->pair_heads = p->pair_heads;
	t->transposed = p->transposed;
	t->pieces = p->pieces;
	t->n_pieces = p->n_pieces;
}

/* Parses the head. On success the result owns it, the weights and the plan. */
static evn_status make(evn_checkpoint *c, evn_gguf **out)
{
	uint8_t *head;
	size_t n;
	for (uint32_t i = 0; i < c->n_planned; i++) {
		const evn_planned *t = &c->planned[i];
		evn_gguf_declare_tensor(c->w, t->name, t->values ? evn_quant_by_name("F32") : t->from->quant, t->n_dims,
								t->shape);
	}
	EVN_TRY(evn_gguf_finish(c->w, &head, &n, c->err));
	evn_gguf_bytes bytes = {.data = head, .available = n, .size = n + evn_gguf_declared_bytes(c->w)};
	holder *h = malloc(sizeof *h);
	evn_status s = h ? evn_gguf_parse_bytes(out, c->folder, &bytes, c->err) : evn_fail_memory(c->err, c->folder, 0);
	if (s != EVN_OK) {
		free(h);
		free(head);
		return s;
	}
	evn_gguf *g = *out;
	for (uint32_t i = 0; i < g->n_tensors; i++)
		place(&g->tensors[i], &c->planned[i]);
	*h = (holder){c->weights, c->planned, c->n_planned};
	g->header = head;
	g->version = 0;
	g->size_bytes = evn_safetensors_size(c->weights);
	g->owned = h;
	g->release = release;
	c->weights = NULL;
	c->planned = NULL;
	c->n_planned = 0;
	return EVN_OK;
}

static evn_status read_folder(evn_checkpoint *c, evn_gguf **out)
{
	EVN_TRY(evn_gguf_writer_create(&c->w, c->err));
	EVN_TRY(evn_checkpoint_config(c));
	EVN_TRY(evn_safetensors_open(&c->weights, c->folder, c->err));
	EVN_TRY(plan_tensors(c));
	EVN_TRY(evn_checkpoint_tokenizer(c));
	return make(c, out);
}

evn_status evn_checkpoint_open(evn_gguf **out, const char *folder, evn_error *err)
{
	evn_checkpoint c = {.folder = folder, .err = err};
	const evn_status s = read_folder(&c, out);
	for (uint32_t i = 0; i < c.n_planned; i++)
		evn_planned_clear(&c.planned[i]);
	free(c.planned);
	evn_safetensors_close(c.weights);
	evn_gguf_writer_free(c.w);
	json_decref(c.own);
	return s;
}
