/* head.h - the layers that make classes of a vector (see evener/classify.h). */
#ifndef EVN_HEAD_H
#define EVN_HEAD_H

#include "evener/classify.h"
#include "model/model.h"

struct evn_classifier {
	const evn_model *model;
	evn_pooling pooling; /* of a head of its own file */
	bool of_model;       /* the model's own head: of the first row of an encoder, of the last row of a decoder */
	uint32_t dim, n;
	float *dense, *dense_bias; /* (dim, dim), (dim): tanh of it is the head's input; NULL: the vector itself is */
	float *weights, *bias;     /* (n, dim), (n) */
	bool multi_label;          /* a text may be of several classes */
	char **labels;             /* (n) */
};

/* n probabilities of logits: of one class, or of several of which a text may have more than one, the logistic
 * function of each; otherwise softmax. */
void evn_head_probabilities(const evn_classifier *c, double *logits);

evn_status evn_head_create(evn_classifier **out, const evn_model *m, uint32_t n, evn_error *err);
/* logits (n) of a vector (dim). scratch has dim elements. */
void evn_head_logits(const evn_classifier *c, const float *vector, double *scratch, double *logits);
void evn_head_softmax(double *logits, uint32_t n);
uint32_t evn_head_likeliest(const double *p, uint32_t n);

#endif
