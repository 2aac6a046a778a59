/* create.c - makes a model from a description: a GGUF file in memory with random weights. The same seed gives the
 * same weights on every machine. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "evener/simulate.h"
#include "model/gguf_write.h"
#include "model/model.h"

#define DEFAULT_CONTEXT 1024u
#define N_BYTES 256u
#define END_OF_TEXT "<|endoftext|>" /* the token after the 256 bytes */

/* The sizes of tensors, by name. */
typedef enum { NONE, DIM, VOCAB, CONTEXT, FF, Q, KV, QKV } size_name;
typedef enum { UNIT_NORMAL, SMALL, SMALLER, ONES, ZEROS } filling;

typedef struct {
	const char *name;
	size_name columns, rows; /* rows NONE: the tensor is a vector */
	filling filling;
} tensor_row;

typedef struct {
	const char *name;
	const tensor_row *tensors, *layer; /* each list ends with a NULL name; layer NULL: no layers */
	const char *norm_key;              /* the key of the norm's epsilon */
} architecture;

/* One embedding and one linear layer with a bias. */
static const tensor_row simple_lm[] = {
	{"token_embd.weight", DIM, VOCAB, UNIT_NORMAL},
	{"output.weight", DIM, VOCAB, UNIT_NORMAL},
	{"output.bias", VOCAB, NONE, UNIT_NORMAL},
	{0},
};

/* Radford et al. 2019: deviation 0.02. Matrices that add to the residual stream have 1/sqrt(2 layers) of that. */
static const tensor_row gpt2[] = {
	{"token_embd.weight", DIM, VOCAB, SMALL},
	{"position_embd.weight", DIM, CONTEXT, SMALL},
	{"output_norm.weight", DIM, NONE, ONES},
	{"output_norm.bias", DIM, NONE, ZEROS},
	{0},
};
static const tensor_row gpt2_layer[] = {
	{"attn_norm.weight", DIM, NONE, ONES},
	{"attn_norm.bias", DIM, NONE, ZEROS},
	{"attn_qkv.weight", DIM, QKV, SMALL},
	{"attn_qkv.bias", QKV, NONE, ZEROS},
	{"attn_output.weight", Q, DIM, SMALLER},
	{"attn_output.bias", DIM, NONE, ZEROS},
	{"ffn_norm.weight", DIM, NONE, ONES},
	{"ffn_norm.bias", DIM, NONE, ZEROS},
	{"ffn_up.weight", DIM, FF, SMALL},
	{"ffn_up.bias", FF, NONE, ZEROS},
	{"ffn_down.weight", FF, DIM, SMALLER},
	{"ffn_down.bias", DIM, NONE, ZEROS},
	{0},
};
static const tensor_row llama[] = {
	{"token_embd.weight", DIM, VOCAB, SMALL},
	{"output_norm.weight", DIM, NONE, ONES},
	{0},
};
static const tensor_row llama_layer[] = {
	{"attn_norm.weight", DIM, NONE, ONES},   {"attn_q.weight", DIM, Q, SMALL},
	{"attn_k.weight", DIM, KV, SMALL},       {"attn_v.weight", DIM, KV, SMALL},
	{"attn_output.weight", Q, DIM, SMALLER}, {"ffn_norm.weight", DIM, NONE, ONES},
	{"ffn_gate.weight", DIM, FF, SMALL},     {"ffn_up.weight", DIM, FF, SMALL},
	{"ffn_down.weight", FF, DIM, SMALLER},   {0},
};

static const architecture architectures[] = {
	{"simple-lm", simple_lm, NULL, NULL},
	{"gpt2", gpt2, gpt2_layer, "layer_norm_epsilon"},
	{"llama", llama, llama_layer, "layer_norm_rms_epsilon"},
};

typedef struct {
	const architecture *arch;
	evn_model_spec spec; /* with the defaults filled in */
	evn_gguf_writer *w;
	evn_random random;
	float *values;
	const evn_quant *outline; /* matrices have this format and no data; NULL: they are f32 and random */
	evn_error *err;
} creation;

/* ---- checking the description --------------------------------------------------------------------------------- */

static evn_status check_size(const creation *c, const char *name, uint32_t value, uint32_t least, uint32_t most)
{
	if (value >= least && value <= most)
		return EVN_OK;
	return evn_fail(c->err, EVN_ERR_USAGE, "a %s model with %s %u: expected %u to %u", c->arch->name, name, value,
					least, most);
}

static evn_status check_layers(creation *c)
{
	evn_model_spec *s = &c->spec;
	s->n_kv_heads = s->n_kv_heads ? s->n_kv_heads : s->n_heads;
	s->ff_dim = s->ff_dim ? s->ff_dim : 4 * s->dim;
	EVN_TRY(check_size(c, "layers", s->n_layers, 1, 1024));
	EVN_TRY(check_size(c, "heads", s->n_heads, 1, 1024));
	EVN_TRY(check_size(c, "kv_heads", s->n_kv_heads, 1, s->n_heads));
	EVN_TRY(check_size(c, "ff", s->ff_dim, 1, 1 << 18));
	EVN_TRY(check_size(c, "vocab", s->vocab, N_BYTES + 1, 1 << 22));
	if (s->dim % s->n_heads || s->n_heads % s->n_kv_heads)
		return evn_fail(c->err, EVN_ERR_USAGE,
						"a %s model with dim %u, %u heads and %u KV heads: each must be a multiple of the next",
						c->arch->name, s->dim, s->n_heads, s->n_kv_heads);
	if (c->arch->layer == gpt2_layer && s->n_kv_heads != s->n_heads)
		return evn_fail(c->err, EVN_ERR_USAGE, "a gpt2 model with %u heads and %u KV heads: expected as many of both",
						s->n_heads, s->n_kv_heads);
	return EVN_OK;
}

static evn_status check_spec(creation *c)
{
	evn_model_spec *s = &c->spec;
	for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
		if (s->architecture && !strcmp(s->architecture, architectures[i].name))
			c->arch = &architectures[i];
	if (!c->arch)
		return evn_fail(c->err, EVN_ERR_USAGE,
						"architecture \"%s\" cannot be made: expected simple-lm, gpt2 or llama",
						s->architecture ? s->architecture : "");
	s->context = s->context ? s->context : DEFAULT_CONTEXT;
	EVN_TRY(check_size(c, "dim", s->dim, 1, 1 << 16));
	EVN_TRY(check_size(c, "vocab", s->vocab, 1, 1 << 22));
	EVN_TRY(check_size(c, "context", s->context, 1, 1 << 22));
	return c->arch->layer ? check_layers(c) : EVN_OK;
}

/* ---- metadata -------------------------------------------------------------------------------------------------- */

static void put_size(const creation *c, const char *suffix, uint32_t value)
{
	char key[96];
	snprintf(key, sizeof key, "%s.%s", c->arch->name, suffix);
	evn_gguf_put_u32(c->w, key, value);
}

static void put_hparams(const creation *c)
{
	const evn_model_spec *s = &c->spec;
	evn_gguf_put_string(c->w, "general.architecture", c->arch->name);
	put_size(c, "context_length", s->context);
	put_size(c, "embedding_length", s->dim);
	put_size(c, "block_count", s->n_layers);
	if (!c->arch->layer)
		return;
	put_size(c, "feed_forward_length", s->ff_dim);
	put_size(c, "attention.head_count", s->n_heads);
	put_size(c, "attention.head_count_kv", s->n_kv_heads);
	char key[96];
	snprintf(key, sizeof key, "%s.attention.%s", c->arch->name, c->arch->norm_key);
	evn_gguf_put_f32(c->w, key, 1e-5f);
}

/* GPT-2's printable spelling of a byte, as UTF-8: the byte itself if it is printable, else the next character from
 * 256 on. */
static void byte_text(uint32_t byte, uint32_t *n_hidden, char *out)
{
	bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
	uint32_t character = shown ? byte : 256 + (*n_hidden)++;
	if (character >= 128)
		*out++ = (char)(0xc0 | character >> 6);
	*out = (char)(character < 128 ? character : 0x80 | (character & 63));
}

/* The vocabulary: every byte, then the end of text, then tokens without a meaning. */
static evn_status put_byte_vocabulary(const creation *c)
{
	enum { NORMAL = 1, CONTROL = 3, UNUSED = 5, TEXT_BYTES = 24 };
	const uint32_t n = c->spec.vocab;
	char *texts = calloc(n, TEXT_BYTES);
	evn_str *tokens = calloc(n, sizeof *tokens);
	int32_t *types = calloc(n, sizeof *types);
	uint32_t n_hidden = 0;
	bool ok = texts && tokens && types;
	for (uint32_t i = 0; i < n && ok; i++) {
		char *text = texts + (size_t)i * TEXT_BYTES;
		if (i < N_BYTES)
			byte_text(i, &n_hidden, text);
		else
			snprintf(text, TEXT_BYTES, i == N_BYTES ? END_OF_TEXT : "<unused%u>", i);
		tokens[i] = (evn_str){text, strlen(text)};
		types[i] = i < N_BYTES ? NORMAL : i == N_BYTES ? CONTROL : UNUSED;
	}
	if (ok) {
		evn_gguf_put_string(c->w, "tokenizer.ggml.model", "gpt2");
		evn_gguf_put_string(c->w, "tokenizer.ggml.pre", "gpt-2");
		evn_gguf_put_strings(c->w, "tokenizer.ggml.tokens", tokens, n);
		evn_gguf_put_i32s(c->w, "tokenizer.ggml.token_type", types, n);
		evn_gguf_put_strings(c->w, "tokenizer.ggml.merges", NULL, 0);
		evn_gguf_put_u32(c->w, "tokenizer.ggml.eos_token_id", N_BYTES);
		evn_gguf_put_bool(c->w, "tokenizer.ggml.add_bos_token", false);
	}
	free(types);
	free(tokens);
	free(texts);
	return ok ? EVN_OK : evn_fail_memory(c->err, "vocabulary", (uint64_t)n * TEXT_BYTES);
}

/* ---- weights --------------------------------------------------------------------------------------------------- */

static uint64_t size_of(const creation *c, size_name name)
{
	const evn_model_spec *s = &c->spec;
	const uint64_t kv = s->n_heads ? (uint64_t)s->dim / s->n_heads * s->n_kv_heads : 0;
	const uint64_t sizes[] = {[NONE] = 1,       [DIM] = s->dim, [VOCAB] = s->vocab, [CONTEXT] = s->context,
							  [FF] = s->ff_dim, [Q] = s->dim,   [KV] = kv,          [QKV] = s->dim + 2 * kv};
	return sizes[name];
}

static float draw(creation *c, filling f)
{
	switch (f) {
	case UNIT_NORMAL:
		return (float)evn_random_normal(&c->random);
	case SMALL:
		return (float)(0.02 * evn_random_normal(&c->random));
	case SMALLER:
		return (float)(0.02 / sqrt(2.0 * c->spec.n_layers) * evn_random_normal(&c->random));
	case ONES:
		return 1;
	case ZEROS:
		return 0;
	}
	return 0;
}

/* Vectors are f32, and so are matrices whose rows are no whole blocks. */
static void declare_tensor(const creation *c, const char *name, bool is_vector, const uint64_t *shape)
{
	const bool quantised = !is_vector && shape[0] % c->outline->block_len == 0;
	evn_gguf_declare_tensor(c->w, name, quantised ? c->outline : evn_quant_by_name("F32"), is_vector ? 1 : 2, shape);
}

static evn_status put_tensors(creation *c, const tensor_row *rows, const char *prefix)
{
	for (const tensor_row *t = rows; t->name; t++) {
		const uint64_t shape[2] = {size_of(c, t->columns), size_of(c, t->rows)}, n = shape[0] * shape[1];
		char name[96];
		snprintf(name, sizeof name, "%s%s", prefix, t->name);
		if (c->outline) {
			declare_tensor(c, name, t->rows == NONE, shape);
			continue;
		}
		float *values = realloc(c->values, n * sizeof *values);
		if (!values)
			return evn_fail_memory(c->err, t->name, n * sizeof *values);
		c->values = values;
		for (uint64_t i = 0; i < n; i++)
			values[i] = draw(c, t->filling);
		evn_gguf_put_tensor(c->w, name, evn_quant_by_name("F32"), t->rows == NONE ? 1 : 2, shape, values);
	}
	return EVN_OK;
}

static evn_status build(creation *c, uint8_t **out, size_t *size)
{
	EVN_TRY(check_spec(c));
	EVN_TRY(evn_gguf_writer_create(&c->w, c->err));
	put_hparams(c);
	if (c->arch->layer)
		EVN_TRY(put_byte_vocabulary(c));
	EVN_TRY(put_tensors(c, c->arch->tensors, ""));
	for (uint32_t i = 0; i < c->spec.n_layers && c->arch->layer; i++) {
		char prefix[24];
		snprintf(prefix, sizeof prefix, "blk.%u.", i);
		EVN_TRY(put_tensors(c, c->arch->layer, prefix));
	}
	return evn_gguf_finish(c->w, out, size, c->err);
}

evn_status evn_model_create(evn_model **out, const evn_model_spec *spec, evn_error *err)
{
	uint8_t *file = NULL;
	size_t size = 0;
	creation c = {.spec = *spec, .random = {.state = spec->seed}, .err = err};
	evn_status s = build(&c, &file, &size);
	if (s == EVN_OK)
		s = evn_model_from_memory(out, c.arch->name, file, size, err);
	evn_gguf_writer_free(c.w);
	free(c.values);
	return s;
}

/* A file in memory that is as long as one with weights. The system gives memory only to what was written. */
static evn_status open_outline(evn_model **out, const creation *c, const uint8_t *header, size_t size)
{
	char path[32];
	const int file = memfd_create(c->arch->name, MFD_CLOEXEC);
	if (file < 0)
		return evn_fail(c->err, EVN_ERR_FILE, "a file in memory: %s", strerror(errno));
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	const uint64_t bytes = size + evn_gguf_declared_bytes(c->w);
	evn_status s = EVN_OK;
	if (ftruncate(file, (off_t)bytes) != 0 || pwrite(file, header, size, 0) != (ssize_t)size)
		s = evn_fail(c->err, EVN_ERR_FILE, "a file in memory of %llu bytes: %s", (unsigned long long)bytes,
					 strerror(errno));
	if (s == EVN_OK)
		s = evn_model_open(out, path, c->err);
	close(file);
	return s;
}

evn_status evn_model_outline(evn_model **out, const evn_model_spec *spec, const char *format, evn_error *err)
{
	uint8_t *header = NULL;
	size_t size = 0;
	creation c = {.spec = *spec, .outline = evn_quant_by_name(format), .err = err};
	*out = NULL;
	if (!c.outline)
		return evn_fail(err, EVN_ERR_USAGE, "format: expected one of weights, such as Q4_0, found '%.60s'", format);
	evn_status s = build(&c, &header, &size);
	if (s == EVN_OK)
		s = open_outline(out, &c, header, size);
	free(header);
	evn_gguf_writer_free(c.w);
	return s;
}
