/* sums.c - run by mpirun with one device for each process: `sums DEVICE DEVICE...`, the first for node 0. Sums of 10
 * KB and of 1 MB over the nodes must be right. Their times, with and without the devices, are printed beside those of
 * plain MPI_Allreduce in the same run. */
#include <stdio.h>
#include <stdlib.h>

#include "find/find.h"
#include "group/comm.h"

#define MOST_FLOATS (1u << 18)
#define ROUNDS 5u
#define PER_ROUND 20u

typedef struct {
	evn_comm_nodes nodes;
	evn_comm *comm;
	uint32_t own;
	uint8_t *slots;
} job;

static evn_status open_job(job *j, char **devices, evn_error *err)
{
	evn_system *system;
	evn_device *device;
	evn_queue *queues[EVN_COMM_RANKS] = {NULL};
	evn_pick pick;
	size_t n = 0;
	EVN_TRY(evn_nodes_join(&j->nodes.nodes, err));
	const uint32_t count = evn_nodes_count(j->nodes.nodes);
	j->own = evn_nodes_index(j->nodes.nodes);
	for (uint32_t i = 0; i <= count; i++)
		j->nodes.first[i] = i;
	EVN_TRY(evn_system_open(&system, err));
	EVN_TRY(evn_system_select(system, devices[j->own], 0, &pick, &n, 1, err));
	EVN_TRY(evn_devices_open(system, &pick, 1, &device, err));
	EVN_TRY(evn_queue_create(&queues[j->own], device, err));
	j->slots = calloc(count, MOST_FLOATS * sizeof(float));
	if (!j->slots)
		return evn_fail_memory(err, "slots", count * MOST_FLOATS * sizeof(float));
	return evn_comm_create(
		&j->comm,
		&(evn_comm_config){.queues = queues, .n_ranks = count, .max_floats = MOST_FLOATS, .nodes = &j->nodes}, err);
}

static evn_status time_exchange(job *j, uint64_t n_floats, double *us, evn_error *err)
{
	const uint64_t bytes = n_floats * sizeof(float), began = evn_now_ns();
	const evn_node_slots slots = {
		.base = j->slots, .apart = bytes, .bytes = bytes, .used = UINT64_MAX, .first = j->nodes.first};
	for (uint32_t i = 0; i < PER_ROUND; i++)
		EVN_TRY(evn_nodes_exchange(j->nodes.nodes, &slots, NULL, err));
	*us = (double)(evn_now_ns() - began) * 1e-3 / PER_ROUND;
	return EVN_OK;
}

/* The three take turns, so that what else the machine does slows all of them. */
static evn_status compare(job *j, uint64_t n_floats, evn_error *err)
{
	double plain[ROUNDS], exchange[ROUNDS], whole[ROUNDS];
	for (uint32_t i = 0; i < ROUNDS; i++) {
		EVN_TRY(evn_nodes_time_all_reduce(j->nodes.nodes, n_floats, PER_ROUND, &plain[i], err));
		EVN_TRY(time_exchange(j, n_floats, &exchange[i], err));
		EVN_TRY(evn_comm_time_all_reduce(j->comm, j->own, n_floats, 1, &whole[i], err));
	}
	if (j->own == 0)
		printf("%llu bytes: MPI_Allreduce %.0f us, exchange %.0f us, sum on the devices with its exchange %.0f us\n",
			   (unsigned long long)(n_floats * sizeof(float)), evn_median(plain, ROUNDS),
			   evn_median(exchange, ROUNDS), evn_median(whole, ROUNDS));
	return EVN_OK;
}

int main(int argc, char **argv)
{
	job j = {.own = 0};
	evn_error err = {0};
	evn_status s = (uint32_t)argc > evn_nodes_launched() ? open_job(&j, argv + 1, &err)
														 : evn_fail(&err, EVN_ERR_USAGE, "a device for each process");
	if (s == EVN_OK)
		s = compare(&j, 2560, &err);
	if (s == EVN_OK)
		s = compare(&j, MOST_FLOATS, &err);
	if (s != EVN_OK) {
		fprintf(stderr, "node %u: %s\n", j.own, err.text);
		return 1;
	}
	evn_comm_free(j.comm);
	free(j.slots);
	evn_nodes_leave(j.nodes.nodes);
	return 0;
}
