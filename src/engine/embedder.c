/* embedder.c - vectors of texts and images by workers (workers.h; see evener/embed.h). */
#include <stdlib.h>

#include "engine/workers.h"
#include "evener/embed.h"

struct evn_embedder {
	evn_workers workers;
};

/* A run over n texts. */
typedef struct {
	evn_embedder *e;
	const evn_embed_options *o;
	const evn_embed_text *texts;
	size_t n, next;
} run;

evn_status evn_embedder_open(evn_embedder **out, const evn_model *m, const evn_options *o, evn_split_mode split,
							 uint64_t n_texts, evn_error *err)
{
	evn_embedder *e = *out = calloc(1, sizeof *e);
	if (!e)
		return evn_fail_memory(err, "vectors", sizeof *e);
	evn_status s = evn_workers_prepare(&e->workers, m, o, split, n_texts, err);
	if (s == EVN_OK)
		s = evn_workers_load(&e->workers, err);
	if (s == EVN_OK)
		return EVN_OK;
	evn_embedder_close(e);
	*out = NULL;
	return s;
}

void evn_embedder_close(evn_embedder *e)
{
	if (!e)
		return;
	evn_team_free(e->workers.team);
	evn_workers_close(&e->workers);
	free(e);
}

evn_engine *evn_embedder_engine(evn_embedder *e) { return e->workers.at[0].engine; }

const evn_score_info *evn_embedder_info(evn_embedder *e) { return evn_workers_info(&e->workers); }

static uint64_t rows_of(const evn_workers *w, const evn_embed_text *t)
{
	return t->rgb ? evn_patch_rows(&w->at[0].engine->prepared.graph->patches) : t->n_ids;
}

/* Takes the next texts that fit into a step together, but only one where the others would wait for the last ones. */
static size_t take(run *r, evn_worker *w, size_t *first, uint64_t *rows)
{
	evn_workers *all = w->of;
	const uint32_t most = evn_embed_longest(w->engine);
	size_t n = 0;
	*rows = 0;
	pthread_mutex_lock(&all->lock);
	const uint64_t few = all->n > 1 && !all->by_shares ? 1 + all->n_left / (4 * all->n) : UINT64_MAX;
	*first = r->next;
	while (n < few && r->next < r->n && (!n || *rows + rows_of(all, &r->texts[r->next]) <= most) &&
		   evn_worker_takes(w)) {
		*rows += rows_of(all, &r->texts[r->next++]);
		n++;
	}
	pthread_mutex_unlock(&all->lock);
	return n;
}

static evn_status work(void *arg, uint32_t index, evn_error *err)
{
	run *r = arg;
	evn_workers *all = &r->e->workers;
	evn_worker *w = &all->at[index];
	evn_embed_options o = *r->o;
	size_t first, n;
	uint64_t rows;
	o.progress = evn_worker_note;
	o.user = w;
	while (!atomic_load(&all->stop) && (n = take(r, w, &first, &rows)) > 0) {
		const uint64_t began = evn_now_ns();
		EVN_TRY(evn_embed_texts(w->engine, &o, r->texts + first, n, err));
		pthread_mutex_lock(&all->lock);
		evn_worker_finished(w, n, rows, evn_now_ns() - began);
		pthread_mutex_unlock(&all->lock);
	}
	return EVN_OK;
}

evn_status evn_embedder_run(evn_embedder *e, const evn_embed_options *o, const evn_embed_text *texts, size_t n,
							evn_error *err)
{
	evn_workers *w = &e->workers;
	run r = {.e = e, .o = o, .texts = texts, .n = n};
	w->n_left = n;
	w->total = 0;
	for (size_t i = 0; i < n; i++)
		w->total += rows_of(w, &texts[i]);
	w->doing = "texts";
	w->progress = o->progress;
	w->user = o->user;
	return evn_workers_run(w, work, NULL, &r, err);
}
