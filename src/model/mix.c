/* mix.c - see mix.h. Types and rules are llama.cpp's for models without experts, so that a type means the same thing
 * in both. */
#include "model/mix.h"
#include "evener/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const evn_mix mixes[] = {
	{"F32", 0, "F32"},          {"F16", 1, "F16"},        {"BF16", 32, "BF16"},     {"Q8_0", 7, "Q8_0"},
	{"Q6_K", 18, "Q6_K"},       {"Q5_K_M", 17, "Q5_K"},   {"Q5_K_S", 16, "Q5_K"},   {"Q5_1", 9, "Q5_1"},
	{"Q5_0", 8, "Q5_0"},        {"Q4_K_M", 15, "Q4_K"},   {"Q4_K_S", 14, "Q4_K"},   {"Q4_1", 3, "Q4_1"},
	{"Q4_0", 2, "Q4_0"},        {"IQ4_NL", 25, "IQ4_NL"}, {"IQ4_XS", 30, "IQ4_XS"}, {"Q3_K_L", 13, "Q3_K"},
	{"Q3_K_M", 12, "Q3_K"},     {"Q3_K_S", 11, "Q3_K"},   {"Q2_K", 10, "Q2_K"},     {"Q2_K_S", 21, "Q2_K"},
	{"MXFP4_MOE", 38, "MXFP4"}, {"NVFP4", 39, "NVFP4"},
};
#define N_MIXES (sizeof mixes / sizeof *mixes)

static const char *const aliases[][2] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

const evn_mix *evn_mix_find(const char *name)
{
	for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
		if (!strcasecmp(name, aliases[i][0]))
			name = aliases[i][1];
	for (size_t i = 0; i < N_MIXES; i++)
		if (!strcasecmp(name, mixes[i].name))
			return &mixes[i];
	return NULL;
}

const char *evn_quantize_type(size_t i) { return i < N_MIXES ? mixes[i].name : NULL; }

/* ---- matrices with more bits ------------------------------------------------------------------------------------
 */

typedef enum {
	ALWAYS,
	FIRST_TWO,
	FIRST_FOUR,
	FIRST_SIXTEENTH, /* of the layers */
	FIRST_EIGHTH,
	ENDS_AND_THIRDS, /* the first and the last eighth of the layers, and every third one between */
	FEW_KV_HEADS     /* at most one for four query heads, so that the matrix is small */
} when;

/* The first rule that fits decides. */
static const struct {
	const char *mix, *stem;
	when when;
	const char *format;
} rules[] = {
	{"Q2_K", "attn_v", FEW_KV_HEADS, "Q4_K"},
	{"Q2_K", "attn_v", ALWAYS, "Q3_K"},
	{"Q2_K", "ffn_down", ALWAYS, "Q3_K"},
	{"Q2_K", "attn_output", ALWAYS, "Q3_K"},
	{"Q2_K_S", "attn_v", FEW_KV_HEADS, "Q4_K"},
	{"Q2_K_S", "ffn_down", FIRST_EIGHTH, "Q4_K"},
	{"Q3_K_M", "attn_v", FIRST_TWO, "Q5_K"},
	{"Q3_K_M", "attn_v", ALWAYS, "Q4_K"},
	{"Q3_K_M", "ffn_down", FIRST_SIXTEENTH, "Q5_K"},
	{"Q3_K_M", "ffn_down", ALWAYS, "Q4_K"},
	{"Q3_K_M", "attn_output", ALWAYS, "Q4_K"},
	{"Q3_K_M", "attn_qkv", ALWAYS, "Q4_K"},
	{"Q3_K_L", "attn_v", ALWAYS, "Q5_K"},
	{"Q3_K_L", "ffn_down", ALWAYS, "Q5_K"},
	{"Q3_K_L", "attn_output", ALWAYS, "Q5_K"},
	{"Q3_K_L", "attn_qkv", ALWAYS, "Q4_K"},
	{"IQ4_NL", "attn_v", FEW_KV_HEADS, "Q5_K"},
	{"IQ4_NL", "ffn_down", FIRST_EIGHTH, "Q5_K"},
	{"IQ4_XS", "attn_v", FEW_KV_HEADS, "Q5_K"},
	{"IQ4_XS", "ffn_down", FIRST_EIGHTH, "Q5_K"},
	{"Q4_K_S", "attn_v", FIRST_FOUR, "Q5_K"},
	{"Q4_K_S", "ffn_down", FIRST_EIGHTH, "Q5_K"},
	{"Q4_K_M", "attn_v", ENDS_AND_THIRDS, "Q6_K"},
	{"Q4_K_M", "ffn_down", ENDS_AND_THIRDS, "Q6_K"},
	{"Q4_K_M", "attn_qkv", ALWAYS, "Q5_K"},
	{"Q5_K_M", "attn_v", ENDS_AND_THIRDS, "Q6_K"},
	{"Q5_K_M", "ffn_down", ENDS_AND_THIRDS, "Q6_K"},
	{"Q5_K_M", "attn_qkv", ALWAYS, "Q6_K"},
};

static bool holds(when w, const evn_hparams *h, uint32_t layer)
{
	const uint32_t n = h->n_layers;
	switch (w) {
	case ALWAYS:
		return true;
	case FIRST_TWO:
		return layer < 2;
	case FIRST_FOUR:
		return layer < 4;
	case FIRST_SIXTEENTH:
		return layer < n / 16;
	case FIRST_EIGHTH:
		return layer < n / 8;
	case ENDS_AND_THIRDS:
		return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
	case FEW_KV_HEADS:
		return h->n_kv_heads && h->n_heads / h->n_kv_heads >= 4;
	}
	return false;
}

/* A name as a C string; names of tensors have at most 64 bytes. */
typedef struct {
	char text[72];
} name;

static name name_of(const evn_tensor *t)
{
	name n;
	snprintf(n.text, sizeof n.text, "%.*s", (int)t->name.length, t->name.text);
	return n;
}

/* The format of a tensor "blk.<layer>.<stem>.weight" by the rules; that of most if none fits. */
static const char *by_rules(const evn_mix *mix, const evn_hparams *h, const char *tensor)
{
	unsigned layer;
	int at = 0;
	if (!h || sscanf(tensor, "blk.%u.%n", &layer, &at) != 1 || !at)
		return mix->most;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		const size_t n = strlen(rules[i].stem);
		if (strcmp(mix->name, rules[i].mix) != 0 || strncmp(tensor + at, rules[i].stem, n) != 0)
			continue;
		const char *rest = tensor + at + n;
		if ((!strcmp(rest, ".weight") || !strcmp(rest, "_exps.weight")) && holds(rules[i].when, h, layer))
			return rules[i].format;
	}
	return mix->most;
}

/* ---- the format of a tensor -------------------------------------------------------------------------------------
 */

/* Norms, routers of experts and learned positions are small and stay; so does what is no matrix. */
static bool is_quantised(const evn_tensor *t, const char *tensor)
{
	const size_t n = strlen(tensor);
	return t->n_dims > 1 && n > 7 && !strcmp(tensor + n - 7, ".weight") && !strstr(tensor, "_norm.weight") &&
		   !strstr(tensor, "ffn_gate_inp.weight") && !strstr(tensor, "ssm_conv1d") &&
		   !strstr(tensor, "shortconv.conv") && strcmp(tensor, "position_embd.weight") != 0 &&
		   strcmp(tensor, "v.position_embd.weight") != 0;
}

/* What takes the place of a format whose blocks do not divide the rows. */
static const evn_quant *fitting(const evn_quant *q, uint64_t columns)
{
	static const char *const narrower[][2] = {{"IQ4_XS", "IQ4_NL"}, {"Q2_K", "Q4_0"}, {"Q3_K", "Q4_0"},
											  {"Q4_K", "Q5_0"},     {"Q5_K", "Q5_1"}, {"Q6_K", "Q8_0"},
											  {"NVFP4", "MXFP4"}};
	for (size_t i = 0; columns % q->block_len && i < sizeof narrower / sizeof *narrower; i++)
		if (!strcmp(q->name, narrower[i][0]))
			q = evn_quant_by_name(narrower[i][1]);
	return columns % q->block_len ? evn_quant_by_name("F16") : q;
}

/* The output matrix, which loses most with few bits. Its format is wider than that of most. */
static bool is_output(const evn_model *m, const char *tensor)
{
	const char *head = evn_model_find(m, "output.weight") ? "output.weight" : "token_embd.weight";
	return !strcmp(tensor, head);
}

const evn_quant *evn_mix_format(const evn_mix *mix, const evn_model *m, const evn_tensor *t, bool pure)
{
	const name n = name_of(t);
	const evn_quant *most = evn_quant_by_name(mix->most);
	if (!is_quantised(t, n.text))
		return t->quant;
	if (pure || most->block_len == 1)
		return fitting(most, t->shape[0]);
	if (!strcmp(mix->most, "MXFP4")) /* experts alone */
		return fitting(t->shape[2] > 1 ? most : evn_quant_by_name("Q8_0"), t->shape[0]);
	if (is_output(m, n.text)) {
		const bool wide = t->shape[0] % most->block_len || !strcmp(mix->most, "Q8_0");
		return fitting(evn_quant_by_name(wide ? "Q8_0" : "Q6_K"), t->shape[0]);
	}
	return fitting(evn_quant_by_name(by_rules(mix, evn_model_hparams(m), n.text)), t->shape[0]);
}
