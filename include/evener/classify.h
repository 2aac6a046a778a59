/* classify.h - classes of texts. A head computes a number for each class from a text's vector. A model file may have
 * a head (BERT for sequence classification, rerankers); or one is learned from labelled texts, on the vectors of any
 * model. */
#ifndef EVENER_CLASSIFY_H
#define EVENER_CLASSIFY_H

#include "evener/embed.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct evn_classifier evn_classifier;

/* Reads a head: from a file that evn_classifier_save has written for this model, or the model's own (path is NULL).
 */
EVN_API evn_status evn_classifier_open(evn_classifier **out, const evn_model *m, const char *path, evn_error *err);
EVN_API void evn_classifier_free(evn_classifier *c);
EVN_API uint32_t evn_classifier_count(const evn_classifier *c); /* of classes, 1 or more */
EVN_API const char *evn_classifier_label(const evn_classifier *c, uint32_t i);

/* True if a text is of one class: the probabilities of all classes sum to 1. */
EVN_API bool evn_classifier_exclusive(const evn_classifier *c);

/* p (n, classes) = probabilities. Those of several classes sum to 1 (softmax). A single class, and classes of which
 * a text may have several, have the logistic function of their numbers. The vectors of the texts are written, too,
 * with their own lengths. */
EVN_API evn_status evn_classify_texts(const evn_classifier *c, evn_engine *e, const evn_embed_text *texts, size_t n,
									  evn_progress_fn progress, void *user, double *p, evn_error *err);

/* The same in two steps: how vectors must be computed, and the probabilities of texts that have theirs. */
EVN_API evn_embed_options evn_classify_options(const evn_classifier *c, const evn_engine *e);
EVN_API evn_status evn_classify_vectors(const evn_classifier *c, const evn_embed_text *texts, size_t n, double *p,
										evn_error *err);

#define EVN_MOST_CLASSES 1024u

typedef struct {
	uint32_t passes; /* over all texts; 0 = 300 */
	double decay;    /* of the weights (AdamW); 0 = 1 */
	double held_out; /* the part of the texts that is not learned, to see how well the rest are known; below 1 */
	evn_progress_fn progress; /* counts tokens, then passes; may be NULL */
	void *user;
} evn_learn_options; /* zero-initialise, then set what you need */

typedef struct {
	size_t n_learned, n_held_out;
	double loss;                        /* mean over the learned texts: -ln of the probability of the right class */
	double accuracy, held_out_accuracy; /* parts of the texts whose likeliest class is right */
} evn_learned;

/* Learns a head: logistic regression on the texts' vectors by gradient descent (AdamW), on the host. The model does
 * not change. classes[i] < n_labels is the class of text i, and every class needs a text. The texts that are held out
 * are spread evenly. confusion (n_labels, n_labels; may be NULL) counts [right class][likeliest class] of these, or
 * of all texts if none is held out. Equal inputs give equal heads. */
EVN_API evn_status evn_classifier_learn(evn_classifier **out, evn_engine *e, const evn_embed_text *texts,
										const uint32_t *classes, size_t n, const char *const *labels,
										uint32_t n_labels, const evn_learn_options *o, evn_learned *learned,
										uint32_t *confusion, evn_error *err);
EVN_API evn_status evn_classifier_save(const evn_classifier *c, const char *path, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
