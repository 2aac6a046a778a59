#include "engine/pulse.h"

#include <math.h>
#include <stdlib.h>

#define RUN_S 0.015   /* at least, when ranks are slow: longer than the time slices of other programs */
#define PAUSE_S 1.5   /* between runs */
#define FIRST_RUNS 3u /* say how slow the ranks are */
#define FASTER 1.4    /* times */
#define FASTER_RUNS 2 /* in a row; one may have had luck with the slices */
#define FIRST_ROUNDS 4096u
#define MOST_ROUNDS (1u << 30)

typedef struct {
	evn_kernel *spin; /* NULL: this rank was never watched */
	evn_buf *out;
	size_t units;
	uint32_t rounds;
	evn_event *run; /* under way */
} watched;

struct evn_pulse {
	watched ranks[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	uint64_t taken; /* one bit for each rank that is watched now */
	uint32_t n_ranks, n_runs, n_faster;
	bool runs;
	double first_s[FIRST_RUNS], slow_s, next_s;
};

static evn_status launch(watched *w, evn_queue *q, evn_error *err)
{
	evn_args a = evn_args_begin(w->spin);
	evn_arg_buf(&a, w->out);
	evn_arg_u32(&a, w->rounds);
	EVN_TRY(evn_launch_timed(&a, 1, &w->units, (size_t[]){1}, &w->run, err));
	return evn_queue_flush(q, err);
}

/* Of a run that has ended. 0 if the driver tells no times. */
static double end_run(watched *w)
{
	const uint64_t began = evn_event_begin_ns(w->run), ended = evn_event_end_ns(w->run);
	evn_event_free(w->run);
	w->run = NULL;
	return began && ended > began ? (double)(ended - began) * 1e-9 : 0;
}

/* Doubles the rounds until a run takes long enough. */
static evn_status find_rounds(watched *w, evn_queue *q, evn_error *err)
{
	double s = 0;
	for (w->rounds = FIRST_ROUNDS; w->rounds < MOST_ROUNDS && s < RUN_S / 2; w->rounds *= 2) {
		EVN_TRY(launch(w, q, err));
		EVN_TRY(evn_queue_finish(q, err));
		s = end_run(w);
		if (!(s > 0))
			return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s tells no times", evn_device_name(evn_queue_device(q)));
	}
	return EVN_OK;
}

static evn_status watch(watched *w, evn_queue *q, evn_error *err)
{
	evn_device *d = evn_queue_device(q);
	const evn_spec spec = evn_spec_of("spin.cl");
	w->units = evn_device_units(d);
	EVN_TRY(evn_buf_create(&w->out, d, w->units * sizeof(uint32_t), EVN_BUF_DEVICE, "pulse", err));
	EVN_TRY(evn_kernel_get(&w->spin, q, &spec, "spin", err));
	return find_rounds(w, q, err);
}

evn_status evn_pulse_create(evn_pulse **out, const evn_engine *e, evn_error *err)
{
	evn_pulse *p = *out = calloc(1, sizeof *p);
	if (!p)
		return evn_fail_memory(err, "pulse", sizeof *p);
	p->n_ranks = e->n_ranks;
	for (uint32_t i = 0; i < e->n_ranks; i++)
		p->queues[i] = e->ranks[i].queue;
	return EVN_OK;
}

evn_status evn_pulse_begin(evn_pulse *p, uint64_t ranks, evn_error *err)
{
	p->taken = 0;
	for (uint32_t i = 0; i < p->n_ranks; i++)
		if (ranks >> i & 1 && !p->ranks[i].spin)
			EVN_TRY(watch(&p->ranks[i], p->queues[i], err));
	p->taken = ranks;
	p->n_runs = p->n_faster = 0;
	p->next_s = 0;
	return EVN_OK;
}

static void begin_runs(evn_pulse *p)
{
	p->runs = true;
	for (uint32_t i = 0; i < p->n_ranks; i++)
		if (p->taken >> i & 1 && launch(&p->ranks[i], p->queues[i], NULL) != EVN_OK)
			p->next_s = INFINITY;
}

static bool have_ended(const evn_pulse *p)
{
	bool all = true;
	for (uint32_t i = 0; i < p->n_ranks; i++)
		all &= !p->ranks[i].run || evn_event_done(p->ranks[i].run);
	return all;
}

/* Of the slowest rank, beside what it took at first. */
static void note_runs(evn_pulse *p)
{
	double s = 0;
	for (uint32_t i = 0; i < p->n_ranks; i++)
		s = p->ranks[i].run ? fmax(s, end_run(&p->ranks[i])) : s;
	p->runs = false;
	if (p->n_runs < FIRST_RUNS) {
		p->first_s[p->n_runs++] = s;
		p->slow_s = p->n_runs == FIRST_RUNS ? evn_median(p->first_s, FIRST_RUNS) : 0;
		return;
	}
	p->n_faster = s < p->slow_s / FASTER ? p->n_faster + 1 : 0;
	if (!p->n_faster || p->n_faster >= FASTER_RUNS)
		p->next_s = fmax(p->next_s, evn_now_s() + PAUSE_S);
	evn_log(EVN_LOG_DEBUG, "pulse: a run took %.1f ms, at first %.1f ms", s * 1e3, p->slow_s * 1e3);
}

bool evn_pulse_is_faster(evn_pulse *p)
{
	if (p->runs && have_ended(p))
		note_runs(p);
	if (!p->runs && evn_now_s() >= p->next_s)
		begin_runs(p);
	return p->n_faster >= FASTER_RUNS;
}

void evn_pulse_free(evn_pulse *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->n_ranks; i++) {
		evn_event_free(p->ranks[i].run);
		evn_buf_free(p->ranks[i].out);
	}
	free(p);
}
