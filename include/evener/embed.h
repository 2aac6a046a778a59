/* embed.h - vectors of texts: one for each text, such that texts of alike meaning have alike vectors. Encoders (BERT)
 * are made for it; the rows of a decoder can be pooled, too. Encoders of images (ViT) make vectors of images. */
#ifndef EVENER_EMBED_H
#define EVENER_EMBED_H

#include "evener/score.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which rows of a text become its vector: their mean, the first one ([CLS]), or the last one. AUTO: as the model file
 * says; else the mean of an encoder's rows, and the last row of a decoder. */
typedef enum { EVN_POOL_AUTO, EVN_POOL_MEAN, EVN_POOL_FIRST, EVN_POOL_LAST } evn_pooling;

/* How a model reads images: the shorter side becomes `edge` pixels and the middle is taken; with an edge of 0 the
 * whole image becomes size x size pixels. */
typedef struct {
	uint32_t size;   /* pixels of a side; 0: the model reads texts */
	uint32_t n_rows; /* rows of an image, as a text has tokens */
	uint32_t edge;
	bool bicubic; /* how images are resized; otherwise bilinear. Both with antialiasing, as Pillow does it */
} evn_image_form;

EVN_API evn_status evn_model_image_form(const evn_model *m, evn_image_form *out, evn_error *err);

typedef struct {
	const int32_t *ids; /* with special tokens (evn_tokenize) */
	uint32_t n_ids;     /* 1 to evn_embed_longest */
	float *vector;      /* (dim of evn_model_info), written */
	const uint8_t *rgb; /* in place of ids: an image (size, size, 3) for a model that reads images */
} evn_embed_text;

typedef struct {
	evn_pooling pooling;
	bool unscaled;            /* vectors keep their length; otherwise it becomes 1 */
	evn_progress_fn progress; /* counts tokens; may be NULL */
	void *user;
} evn_embed_options; /* zero-initialise, then set what you need */

/* Computes the vectors of n texts, many in one step. A text's vector does not depend on the other texts. Several
 * threads may call it. */
EVN_API evn_status evn_embed_texts(evn_engine *e, const evn_embed_options *o, const evn_embed_text *texts, size_t n,
								   evn_error *err);

/* Engines for vectors. Several ranks split every matrix (TENSOR), or each of them holds the whole model and takes
 * whole texts, images or tiles (SEQUENCE), by given shares or as it becomes free. AUTO: whichever is predicted to be
 * faster for n_texts of them and fits into the devices' memory. */
typedef struct evn_embedder evn_embedder;
EVN_API evn_status evn_embedder_open(evn_embedder **out, const evn_model *m, const evn_options *o,
									 evn_split_mode split, uint64_t n_texts, evn_error *err);
EVN_API evn_status evn_embedder_run(evn_embedder *e, const evn_embed_options *o, const evn_embed_text *texts,
									size_t n, evn_error *err);
EVN_API evn_engine *evn_embedder_engine(evn_embedder *e); /* one of them */
/* The split, and how many texts each rank has computed ("windows"). Valid until the next call. */
EVN_API const evn_score_info *evn_embedder_info(evn_embedder *e);
EVN_API void evn_embedder_close(evn_embedder *e);

EVN_API uint32_t evn_embed_longest(const evn_engine *e); /* tokens of a text */
/* True for an encoder: its rows see whole texts, so it has no next token; sessions and requests are refused. */
EVN_API bool evn_engine_encodes(const evn_engine *e);

#ifdef __cplusplus
}
#endif
#endif
