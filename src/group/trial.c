/* trial.c - checks that a method's sums are right, and measures the time of an all-reduce. */
#include <math.h>
#include <stdlib.h>

#include "group/method.h"

/* The all-reduces of a step: as many as in a decoder of 30 layers. They share the wait for the device at the end of
 * the step. */
#define PER_STEP 60u
#define SHIFT 16u      /* the columns by which the partial sums of two successive all-reduces are shifted */
#define TRIAL_STEPS 1u /* steps for each length */
#define SHORT_FLOATS 4096u

/* Small integers, so that the sums of a step are exact in f32: 64 ranks * 7 * 64 * 60 is below 2^24. */
static float trial_value(uint32_t rank, uint64_t i) { return (float)((rank + 1) * (i * i % 11 % 7 + 1)); }

static evn_status make_values(evn_buf **out, evn_queue *q, uint32_t rank, uint64_t n_floats, evn_error *err)
{
	void *host;
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), n_floats * sizeof(float), EVN_BUF_DEVICE, "trial", err));
	EVN_TRY(evn_map(q, *out, n_floats * sizeof(float), EVN_MAP_OVERWRITE, true, &host, err));
	for (uint64_t i = 0; i < n_floats; i++)
		((float *)host)[i] = trial_value(rank, i);
	EVN_TRY(evn_unmap(q, *out, host, err));
	return evn_queue_finish(q, err);
}

/* ---- sums of a step -------------------------------------------------------------------------------------------- */

/* One message of a step. Its sum goes to x. Its partial sums are `values`, shifted by `shift` more columns each
 * time. */
typedef struct {
	evn_sum sum;
	evn_buf *values;
	uint32_t shift;
} trial;

static uint64_t floats_of(const trial *t) { return t->sum.stride; }

static evn_status open_trial(trial *t, const evn_comm *c, uint32_t rank, uint64_t n_floats, uint32_t shift,
							 evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	*t = (trial){.shift = shift};
	evn_buf *x;
	EVN_TRY(evn_buf_create(&x, evn_queue_device(q), n_floats * sizeof(float), EVN_BUF_DEVICE, "trial", err));
	t->sum = evn_sum_of(x, n_floats, UINT64_MAX >> (64 - c->n_ranks));
	return make_values(&t->values, q, rank, n_floats + (uint64_t)shift * PER_STEP, err);
}

static void close_trial(trial *t)
{
	evn_buf_free(t->sum.x);
	evn_buf_free(t->values);
}

static evn_status set_partial(const trial *t, evn_comm *c, uint32_t rank, uint32_t round, evn_error *err)
{
	return evn_copy(c->members[rank].queue, evn_comm_partial(c, rank, 0), 0, t->values,
					(uint64_t)round * t->shift * sizeof(float), floats_of(t) * sizeof(float), err);
}

/* Without a shift, the partial sums were written once, to both buffers. */
static evn_status run_step(const trial *t, evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_comm_step_begin(c, rank);
	for (uint32_t round = 0; round < PER_STEP; round++) {
		if (t->shift)
			EVN_TRY(set_partial(t, c, rank, round, err));
		EVN_TRY(evn_comm_all_reduce(c, rank, &t->sum, err));
	}
	return evn_comm_step_end(c, rank, err);
}

static float expected(const trial *t, const evn_comm *c, uint64_t i)
{
	uint64_t of_one = t->shift ? 0 : PER_STEP * (uint64_t)trial_value(0, i);
	for (uint32_t round = 0; round < PER_STEP && t->shift; round++)
		of_one += (uint64_t)trial_value(0, i + (uint64_t)round * t->shift);
	return (float)(of_one * c->n_ranks * (c->n_ranks + 1) / 2);
}

/* Only packed messages are rounded. */
static float bound_of(const trial *t, const evn_comm *c)
{
	const float largest = 7.0f * (float)c->n_ranks * (float)(c->n_ranks + 1) / 2;
	return evn_packs(c, &t->sum) ? 1.01f * (float)c->packing->error * largest * PER_STEP : 0;
}

static evn_status check_sums(const trial *t, evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	const float bound = bound_of(t, c);
	const uint64_t n_floats = floats_of(t);
	void *host;
	uint64_t wrong = 0;
	EVN_TRY(evn_map(q, t->sum.x, n_floats * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint64_t i = 0; i < n_floats; i++)
		wrong += !(fabsf(((const float *)host)[i] - expected(t, c, i)) <= bound);
	EVN_TRY(evn_unmap(q, t->sum.x, host, err));
	EVN_TRY(evn_queue_finish(q, err));
	return wrong ? evn_fail(err, EVN_ERR_DEVICE, "reduce by %s: %llu of %llu sums are wrong on %s",
							c->small->method->name, (unsigned long long)wrong, (unsigned long long)n_floats,
							evn_device_name(evn_queue_device(q)))
				 : EVN_OK;
}

/* The sums of each step begin at 0. ns may be NULL. */
static evn_status step(const trial *t, evn_comm *c, uint32_t rank, uint64_t *ns, evn_error *err)
{
	EVN_TRY(evn_fill_zero(c->members[rank].queue, t->sum.x, err));
	EVN_TRY(evn_queue_finish(c->members[rank].queue, err));
	EVN_TRY(evn_comm_barrier(c, rank, err));
	uint64_t began = evn_now_ns();
	EVN_TRY(run_step(t, c, rank, err));
	if (ns)
		*ns = evn_now_ns() - began;
	return check_sums(t, c, rank, err);
}

/* ---- the trial ------------------------------------------------------------------------------------------------- */

static evn_status try_length(evn_comm *c, uint32_t rank, uint64_t n_floats, evn_error *err)
{
	trial t;
	evn_status s = open_trial(&t, c, rank, n_floats, SHIFT, err);
	for (uint32_t i = 0; i < TRIAL_STEPS && s == EVN_OK; i++)
		s = step(&t, c, rank, NULL, err);
	close_trial(&t);
	return s;
}

evn_status evn_comm_try(evn_comm *c, uint32_t rank, evn_error *err)
{
	const uint64_t most = c->max_floats / 32 * 32;
	EVN_TRY(try_length(c, rank, most < SHORT_FLOATS ? most : SHORT_FLOATS, err));
	return most > SHORT_FLOATS ? try_length(c, rank, most < EVN_TRIAL_FLOATS ? most : EVN_TRIAL_FLOATS, err) : EVN_OK;
}

/* ---- times ----------------------------------------------------------------------------------------------------- */

static evn_status time_steps(const trial *t, evn_comm *c, uint32_t rank, uint32_t n, double *us, evn_error *err)
{
	for (uint32_t i = 0; i < EVN_BUFFERS; i++)
		EVN_TRY(evn_copy(c->members[rank].queue, evn_store_at(&c->partials, rank, 0, i)->of[rank], 0, t->values, 0,
						 floats_of(t) * sizeof(float), err));
	for (uint32_t i = 0; i < n; i++) {
		uint64_t ns;
		EVN_TRY(step(t, c, rank, &ns, err));
		if (us)
			us[i] = (double)ns * 1e-3 / PER_STEP;
	}
	return EVN_OK;
}

evn_status evn_comm_time_all_reduce(evn_comm *c, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									evn_error *err)
{
	if (n_floats == 0 || n_floats > c->max_floats)
		return evn_fail(err, EVN_ERR_USAGE, "an all-reduce of %llu floats: 1 to %llu are possible",
						(unsigned long long)n_floats, (unsigned long long)c->max_floats);
	trial t;
	evn_status s = open_trial(&t, c, rank, n_floats, 0, err);
	t.sum.packs = n_floats > EVN_SHORT_FLOATS; /* like a prompt's */
	if (s == EVN_OK)
		s = time_steps(&t, c, rank, n, us, err);
	close_trial(&t);
	return s;
}
