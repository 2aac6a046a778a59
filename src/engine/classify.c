/* classify.c - classes of texts by a head, and learning one (see evener/classify.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/head.h"

#define DEFAULT_PASSES 300u
#define DEFAULT_DECAY 1.0
#define RATE 0.05 /* the first learning rate; it falls to 0 as half a cosine */
#define BETA1 0.9
#define BETA2 0.999
#define LEAST_SPREAD                                                                                                 \
	1e-6 /* an entry that hardly varies says nothing: it is not blown up to the size of the others                   \
		  */

/* ---- classes of texts ------------------------------------------------------------------------------------------ */

static evn_pooling pooling_of(const evn_classifier *c, const evn_engine *e)
{
	if (!c->of_model)
		return c->pooling;
	return evn_engine_encodes(e) ? EVN_POOL_FIRST : EVN_POOL_LAST;
}

evn_status evn_classify_texts(const evn_classifier *c, evn_engine *e, const evn_embed_text *texts, size_t n,
							  evn_progress_fn progress, void *user, double *p, evn_error *err)
{
	evn_embed_options o = evn_classify_options(c, e);
	o.progress = progress;
	o.user = user;
	if (c->model != e->model)
		return evn_fail(err, EVN_ERR_USAGE, "the head and the engine are of different models");
	EVN_TRY(evn_embed_texts(e, &o, texts, n, err));
	return evn_classify_vectors(c, texts, n, p, err);
}

evn_embed_options evn_classify_options(const evn_classifier *c, const evn_engine *e)
{
	return (evn_embed_options){.pooling = pooling_of(c, e), .unscaled = true};
}

evn_status evn_classify_vectors(const evn_classifier *c, const evn_embed_text *texts, size_t n, double *p,
								evn_error *err)
{
	double *scratch = malloc(2 * (size_t)c->dim * sizeof *scratch);
	if (!scratch)
		return evn_fail_memory(err, "classes", c->dim);
	for (size_t i = 0; i < n; i++) {
		evn_head_logits(c, texts[i].vector, scratch, p + i * c->n);
		evn_head_probabilities(c, p + i * c->n);
	}
	free(scratch);
	return EVN_OK;
}

/* ---- learning -------------------------------------------------------------------------------------------------- */

/* Logistic regression on vectors whose entries have mean 0 and spread 1; the last column of a class is its bias. */
typedef struct {
	const evn_embed_text *texts;
	const uint32_t *classes;
	size_t n;
	uint32_t dim, n_classes;
	double held_out;
	double *mean, *scale;         /* (dim) of the learned vectors; scale is 1 / spread */
	double *w, *gradient, *m, *v; /* (n_classes, dim + 1); m and v are AdamW's means of gradients and their squares */
	double *p;                    /* (n_classes) */
} learner;

/* Text i is held out if the count of held out texts passes a whole number there. */
static bool is_held_out(const learner *l, size_t i)
{
	return floor((double)(i + 1) * l->held_out) > floor((double)i * l->held_out);
}

static size_t count_held_out(const learner *l) { return (size_t)floor((double)l->n * l->held_out); }

static evn_status make_learner(learner *l, evn_error *err)
{
	const size_t n = (size_t)l->n_classes * (l->dim + 1);
	double *all = calloc(2 * (size_t)l->dim + 4 * n + l->n_classes, sizeof *all);
	if (!all)
		return evn_fail_memory(err, "classes", n * 4 * sizeof *all);
	l->mean = all;
	l->scale = l->mean + l->dim;
	l->w = l->scale + l->dim;
	l->gradient = l->w + n;
	l->m = l->gradient + n;
	l->v = l->m + n;
	l->p = l->v + n;
	return EVN_OK;
}

static void find_spread(learner *l)
{
	const double n = (double)(l->n - count_held_out(l));
	for (uint32_t k = 0; k < l->dim; k++) {
		double sum = 0, squares = 0;
		for (size_t i = 0; i < l->n; i++)
			sum += is_held_out(l, i) ? 0 : (double)l->texts[i].vector[k];
		l->mean[k] = sum / n;
		for (size_t i = 0; i < l->n; i++)
			squares += is_held_out(l, i) ? 0 : pow((double)l->texts[i].vector[k] - l->mean[k], 2);
		l->scale[k] = 1 / fmax(sqrt(squares / n), LEAST_SPREAD);
	}
}

static double entry(const learner *l, size_t i, uint32_t k)
{
	return k == l->dim ? 1 : ((double)l->texts[i].vector[k] - l->mean[k]) * l->scale[k];
}

static void predict(const learner *l, size_t i)
{
	memset(l->p, 0, l->n_classes * sizeof *l->p);
	for (uint32_t k = 0; k <= l->dim; k++) {
		const double x = entry(l, i, k);
		for (uint32_t c = 0; c < l->n_classes; c++)
			l->p[c] += l->w[(size_t)c * (l->dim + 1) + k] * x;
	}
	evn_head_softmax(l->p, l->n_classes);
}

/* The mean loss of the learned texts, and its gradient. */
static double find_gradient(const learner *l)
{
	const double part = 1 / (double)(l->n - count_held_out(l));
	double loss = 0;
	memset(l->gradient, 0, (size_t)l->n_classes * (l->dim + 1) * sizeof *l->gradient);
	for (size_t i = 0; i < l->n; i++) {
		if (is_held_out(l, i))
			continue;
		predict(l, i);
		loss -= log(fmax(l->p[l->classes[i]], 1e-300)) * part;
		l->p[l->classes[i]] -= 1;
		for (uint32_t k = 0; k <= l->dim; k++) {
			const double x = entry(l, i, k) * part;
			for (uint32_t c = 0; c < l->n_classes; c++)
				l->gradient[(size_t)c * (l->dim + 1) + k] += l->p[c] * x;
		}
	}
	return loss;
}

/* AdamW (Loshchilov and Hutter 2019); biases do not decay. */
static void move(const learner *l, uint32_t pass, uint32_t n_passes, double decay)
{
	const double rate = RATE * 0.5 * (1 + cos(acos(-1) * pass / n_passes));
	const double c1 = 1 - pow(BETA1, pass + 1), c2 = 1 - pow(BETA2, pass + 1);
	for (size_t i = 0; i < (size_t)l->n_classes * (l->dim + 1); i++) {
		const double g = l->gradient[i];
		l->m[i] = BETA1 * l->m[i] + (1 - BETA1) * g;
		l->v[i] = BETA2 * l->v[i] + (1 - BETA2) * g * g;
		const double fall = i % (l->dim + 1) == l->dim ? 0 : decay * l->w[i];
		l->w[i] -= rate * (l->m[i] / c1 / (sqrt(l->v[i] / c2) + 1e-12) + fall);
	}
}

/* The mean and the spread become part of the weights. */
static void keep_weights(const learner *l, evn_classifier *c)
{
	for (uint32_t i = 0; i < l->n_classes; i++) {
		const double *w = l->w + (size_t)i * (l->dim + 1);
		double bias = w[l->dim];
		for (uint32_t k = 0; k < l->dim; k++) {
			c->weights[(size_t)i * l->dim + k] = (float)(w[k] * l->scale[k]);
			bias -= w[k] * l->scale[k] * l->mean[k];
		}
		c->bias[i] = (float)bias;
	}
}

static void judge(const learner *l, evn_learned *out, uint32_t *confusion)
{
	size_t right[2] = {0, 0};
	const bool all = count_held_out(l) == 0;
	if (confusion)
		memset(confusion, 0, (size_t)l->n_classes * l->n_classes * sizeof *confusion);
	for (size_t i = 0; i < l->n; i++) {
		const bool held_out = is_held_out(l, i);
		predict(l, i);
		const uint32_t likeliest = evn_head_likeliest(l->p, l->n_classes);
		right[held_out] += likeliest == l->classes[i];
		if (confusion && (held_out || all))
			confusion[(size_t)l->classes[i] * l->n_classes + likeliest]++;
	}
	out->n_held_out = count_held_out(l);
	out->n_learned = l->n - out->n_held_out;
	out->accuracy = (double)right[0] / (double)out->n_learned;
	out->held_out_accuracy = out->n_held_out ? (double)right[1] / (double)out->n_held_out : 0;
}

static evn_status descend(learner *l, const evn_learn_options *o, evn_learned *out, evn_error *err)
{
	const uint32_t n_passes = o->passes ? o->passes : DEFAULT_PASSES;
	find_spread(l);
	for (uint32_t pass = 0; pass < n_passes; pass++) {
		if (o->progress && !o->progress(o->user, "learning", pass, n_passes))
			return evn_fail(err, EVN_ERR_CANCELLED, "learning was cancelled");
		find_gradient(l);
		move(l, pass, n_passes, o->decay > 0 ? o->decay : DEFAULT_DECAY);
	}
	out->loss = find_gradient(l);
	if (o->progress)
		o->progress(o->user, "learning", n_passes, n_passes);
	return EVN_OK;
}

/* Every class needs a text that is learned. */
static evn_status check(const learner *l, const char *const *labels, evn_error *err)
{
	if (l->n_classes < 2 || l->n_classes > EVN_MOST_CLASSES)
		return evn_fail(err, EVN_ERR_LIMIT, "%u classes, expected 2 to %u", l->n_classes, EVN_MOST_CLASSES);
	if (!(l->held_out >= 0 && l->held_out < 1))
		return evn_fail(err, EVN_ERR_USAGE, "%g of the texts are held out, expected 0 or more and less than 1",
						l->held_out);
	for (uint32_t c = 0; c < l->n_classes; c++) {
		bool found = false;
		for (size_t i = 0; i < l->n && !found; i++)
			found = l->classes[i] == c && !is_held_out(l, i);
		if (!found)
			return evn_fail(err, EVN_ERR_USAGE, "class \"%.100s\" has no text among those that are learned",
							labels[c]);
	}
	return EVN_OK;
}

static evn_status copy_labels(evn_classifier *c, const char *const *labels, evn_error *err)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (!(c->labels[i] = evn_strdup(labels[i])))
			return evn_fail_memory(err, "classes", 0);
	return EVN_OK;
}

evn_status evn_classifier_learn(evn_classifier **out, evn_engine *e, const evn_embed_text *texts,
								const uint32_t *classes, size_t n, const char *const *labels, uint32_t n_labels,
								const evn_learn_options *o, evn_learned *learned, uint32_t *confusion, evn_error *err)
{
	const evn_embed_options how = {.unscaled = true, .progress = o->progress, .user = o->user};
	learner l = {.texts = texts,
				 .classes = classes,
				 .n = n,
				 .dim = evn_model_hparams(e->model)->dim,
				 .n_classes = n_labels,
				 .held_out = o->held_out};
	*out = NULL;
	*learned = (evn_learned){0};
	EVN_TRY(check(&l, labels, err));
	evn_status s = make_learner(&l, err);
	if (s == EVN_OK)
		s = evn_embed_texts(e, &how, texts, n, err);
	if (s == EVN_OK)
		s = descend(&l, o, learned, err);
	if (s == EVN_OK)
		s = evn_head_create(out, e->model, n_labels, err);
	if (s == EVN_OK)
		s = copy_labels(*out, labels, err);
	if (s == EVN_OK) {
		judge(&l, learned, confusion);
		keep_weights(&l, *out);
	} else {
		evn_classifier_free(*out);
		*out = NULL;
	}
	free(l.mean);
	return s;
}
