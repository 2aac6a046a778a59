#include "probe/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void bench_report(bench *b, uint32_t rank, double value, const char *format, ...)
{
	char key[160];
	va_list values;
	va_start(values, format);
	vsnprintf(key, sizeof key, format, values);
	va_end(values);
	dprintf(b->fd, "%u\t%s\t%.10g\n", rank, key, value);
}

/* Picks by the names that evn_pick_name gives: "0:0" or "0:0/1@1". */
static evn_status parse_pick(const evn_system *s, const char *name, evn_pick *out, evn_error *err)
{
	char id[64];
	unsigned n_units = 0, first = 0;
	size_t n = 0;
	if (sscanf(name, "%63[^/]/%u@%u", id, &n_units, &first) < 1)
		return evn_fail(err, EVN_ERR_USAGE, "%s: not a device", name);
	EVN_TRY(evn_system_select(s, id, 0, out, &n, 1, err));
	out->n_units = n_units;
	out->first_unit = first;
	return EVN_OK;
}

evn_status bench_open(bench *b, const char *const *picks, uint32_t n, evn_queue **queues, evn_error *err)
{
	evn_pick chosen[EVN_MAX_RANKS];
	evn_device *devices[EVN_MAX_RANKS];
	if (n == 0 || n > EVN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "%u devices to measure, 1 to %d are possible", n, EVN_MAX_RANKS);
	EVN_TRY(evn_system_open(&b->system, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(parse_pick(b->system, picks[i], &chosen[i], err));
	EVN_TRY(evn_devices_open(b->system, chosen, n, devices, err));
	b->n = n;
	for (uint32_t i = 0; i < n; i++) {
		b->ranks[i].device = devices[i];
		evn_device_build_throwaway(devices[i], evn_device_slow_binaries(devices[i]));
		b->ranks[i].dots = evn_dots_possible(b->workload->activations, devices[i]);
		if (b->mode == EVN_THOROUGH)
			b->ranks[i].other_dots = evn_dots_of_other_width(b->workload->activations, devices[i]);
		b->ranks[i].is_part = chosen[i].n_units > 0;
		while (!evn_picks_alike(&chosen[b->ranks[i].kind], &chosen[i]))
			b->ranks[i].kind++;
	}
	for (uint32_t i = 0; i < n; i++) {
		EVN_TRY(evn_queue_create(&b->ranks[i].queue, devices[i], err));
		queues[i] = b->ranks[i].queue;
	}
	return EVN_OK;
}

evn_status bench_run(bench *b, evn_queue **queues, evn_reduce method, evn_rank_fn fn, evn_error *err)
{
	const uint64_t most = REDUCE_FLOATS > EVN_TRIAL_FLOATS ? REDUCE_FLOATS : EVN_TRIAL_FLOATS;
	const evn_comm_config config = {.queues = queues, .n_ranks = b->n, .reduce = method, .max_floats = most};
	evn_status s = evn_comm_create(&b->comm, &config, err);
	if (s == EVN_OK)
		s = evn_team_run(b->team, fn, b, NULL, NULL, err);
	evn_comm_free(b->comm);
	b->comm = NULL;
	return s;
}

void bench_free(bench *b)
{
	evn_team_free(b->team);
	for (uint32_t i = 0; i < b->n; i++) {
		bench_rank *r = &b->ranks[i];
		bench_free_matrices(r);
		for (int format = 0; format < EVN_ACT_FORMATS; format++)
			evn_buf_free(r->x[format]);
		evn_buf_free(r->y);
		evn_training_products_free(&r->training);
		evn_ops_free(r->ops);
		evn_queue_free(r->queue);
	}
	for (uint32_t i = 0; i < b->n; i++)
		evn_device_close(b->ranks[i].device);
	evn_system_close(b->system);
	free(b->blocks);
	free(b->known);
	evn_model_close(b->model);
	free(b);
}
