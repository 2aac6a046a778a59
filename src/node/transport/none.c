/* none.c - a build without MPI: there is one node, and nobody joins. */
#include <stdlib.h>

#include "node/node.h"

evn_status evn_nodes_join(evn_nodes **out, evn_error *err)
{
	*out = NULL;
	return evn_fail(err, EVN_ERR_UNSUPPORTED,
					"%u processes were started together, and this build has no MPI: build with -DEVN_MPI=ON, or "
					"start one process",
					evn_nodes_launched());
}

void evn_nodes_on_lost(evn_nodes *n, evn_node_lost tell, void *user) { (void)n, (void)tell, (void)user; }

void evn_nodes_leave(evn_nodes *n) { (void)n; }

void evn_nodes_abort(evn_nodes *n, int exit_code)
{
	(void)n;
	exit(exit_code);
}

uint32_t evn_nodes_index(const evn_nodes *n) { return (void)n, 0; }
uint32_t evn_nodes_count(const evn_nodes *n) { return (void)n, 1; }
const char *evn_nodes_host(const evn_nodes *n, uint32_t node) { return (void)n, (void)node, ""; }

evn_status evn_nodes_broadcast(evn_nodes *n, void *data, uint64_t bytes, const evn_node_wait *wait, evn_error *err)
{
	(void)n, (void)data, (void)bytes, (void)wait, (void)err;
	return EVN_OK;
}

evn_status evn_nodes_gather(evn_nodes *n, void *all, const uint64_t *begins, const evn_node_wait *wait,
							evn_error *err)
{
	(void)n, (void)all, (void)begins, (void)wait, (void)err;
	return EVN_OK;
}

evn_status evn_nodes_exchange(evn_nodes *n, const evn_node_slots *s, const evn_node_wait *wait, evn_error *err)
{
	(void)n, (void)s, (void)wait, (void)err;
	return EVN_OK;
}

evn_status evn_nodes_pass_begin(evn_nodes *n, uint32_t slot, const evn_node_pass *pass, evn_error *err)
{
	(void)n, (void)slot, (void)pass, (void)err;
	return EVN_OK;
}

evn_status evn_nodes_pass_end(evn_nodes *n, uint32_t slot, const evn_node_wait *wait, evn_error *err)
{
	(void)n, (void)slot, (void)wait, (void)err;
	return EVN_OK;
}

evn_status evn_nodes_time_all_reduce(evn_nodes *nodes, uint64_t n_floats, uint32_t n, double *us, evn_error *err)
{
	(void)nodes, (void)n_floats, (void)n, (void)us, (void)err;
	return EVN_OK;
}
