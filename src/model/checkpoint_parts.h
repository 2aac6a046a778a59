/* checkpoint_parts.h - what the files that read a checkpoint folder share. */
#ifndef EVN_CHECKPOINT_PARTS_H
#define EVN_CHECKPOINT_PARTS_H

#include "model/gguf_write.h"
#include "model/json_file.h"
#include "model/safetensors.h"

#include <string.h>

/* A value of model_type in config.json. */
typedef struct {
	const char *model_type, *arch; /* arch: general.architecture */
	const char *act;               /* the hidden_act that evener computes */
	/* GGUF has the rows of queries and keys in another order: pairs that are rotated together are neighbours. */
	bool pairs;
	bool plus_one;        /* norms multiply by 1 + weight */
	bool post_norms;      /* post_attention_layernorm is the norm of what attention adds, not the next block's */
	const char *defaults; /* JSON: what transformers assumes where config.json is silent */
} evn_family;

/* A tensor as it is given to the layers above. */
typedef struct {
	char name[64];
	const evn_safetensor *from; /* NULL: `values` */
	float *values;              /* malloc'd: a vector in f32 */
	uint64_t shape[4];
	uint32_t n_dims;
	uint32_t pair_heads; /* the rows are reordered in this many heads; 0: they are not */
	bool transposed;
	evn_file_part *pieces; /* (n_pieces), malloc'd: the experts; their shapes are that of `from` */
	uint32_t n_pieces;
} evn_planned;
void evn_planned_clear(evn_planned *t);

typedef struct {
	const char *folder;
	json_t *config; /* of the text model */
	json_t *own;    /* config.json, which config may be a part of */
	const evn_family *family;
	evn_gguf_writer *w; /* the keys */
	evn_safetensors *weights;
	evn_planned *planned;
	uint32_t n_planned;
	uint32_t n_tokens; /* of the vocabulary; rows of the embedding */
	evn_error *err;
} evn_checkpoint;

/* Reads config.json, and puts the keys of the architecture. */
evn_status evn_checkpoint_config(evn_checkpoint *c);
/* Puts the tokenizer's keys. A folder without tokenizer.json has no tokenizer. */
evn_status evn_checkpoint_tokenizer(evn_checkpoint *c);
/* Puts the table of characters of a Unigram tokenizer; map: in base64, or nothing. */
evn_status evn_checkpoint_charsmap(const evn_checkpoint *c, const json_t *map);
/* A model of images; puts its keys. */
static inline bool evn_reads_images(const evn_checkpoint *c) { return !strcmp(c->family->arch, "vit"); }
evn_status evn_checkpoint_image_config(const evn_checkpoint *c);
/* The name of such a model's tensor; `own` itself if it is unknown. */
void evn_checkpoint_image_name(const char *own, char out[64]);
void evn_checkpoint_flatten(evn_planned *t);
/* Appends a zeroed entry of this name; NULL if there is no memory. */
evn_planned *evn_checkpoint_plan(evn_checkpoint *c, const char *name);
/* A number of config.json; `value` if there is none. Another type is an error. */
evn_status evn_config_u32(const evn_checkpoint *c, const char *key, uint32_t *value);
/* A key of the architecture: "<arch>.<suffix>". */
typedef struct {
	char text[96];
} evn_arch_key;
evn_arch_key evn_key_of(const evn_checkpoint *c, const char *suffix);

#endif
