/* test_cluster_file.c - the file of a simulated cluster: what a good one sets, and the one line that each bad one
 * gives. */
#include "cli/config/cluster_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/evener-cluster-XXXXXX";

static evn_status load(cluster_file *out, const char *text, evn_error *err)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return cluster_file_load(out, path, err);
}

#define DEVICES "    devices:\n      - {name: cpu, memory: 16GiB, gbs: 20, gflops: 500}\n"

static void a_file_sets_what_it_says(void **state)
{
	(void)state;
	cluster_file f;
	evn_error err = {0};
	const char *text =
		"version: 1\ntexts: 8\n"
		"link: {latency_us: 100, gbit_s: 10}\n"
		"links:\n  - {between: [b, a], latency_us: 900, gbit_s: 1, message_us: 5}\n"
		"nodes:\n  - name: a\n    count: 1000\n    reduce: {latency_us: 20, gbs: 5}\n" DEVICES
		"      - {name: gpu, count: 9, memory: 80GB, gbs: 1000, gflops: 1e5, block_us: 4, row_us: 0.1}\n"
		"  - name: b\n" DEVICES;
	if (load(&f, text, &err) != EVN_OK)
		fail_msg("%s", err.text);
	const evn_sim_cluster *c = &f.cluster;
	assert_int_equal(c->n_nodes, 2);
	assert_int_equal(c->texts, 8);
	assert_string_equal(c->nodes[0].name, "a");
	assert_int_equal(c->nodes[0].count, 1000);
	assert_true(c->nodes[0].reduce_us == 20 && c->nodes[0].reduce_gbs == 5);
	assert_int_equal(c->nodes[1].count, 1);
	assert_int_equal(c->nodes[1].n_devices, 1);
	const evn_sim_device *gpu = &c->nodes[0].devices[1];
	assert_string_equal(gpu->name, "gpu");
	assert_int_equal(gpu->count, 9);
	assert_true(gpu->memory_bytes == 80000000000 && gpu->gbs == 1000 && gpu->gflops == 1e5);
	assert_true(gpu->block_us == 4 && gpu->row_us == 0.1);
	assert_true(c->links[0][0].latency_us == 100 && c->links[0][0].message_us == 1);
	assert_true(c->links[0][1].latency_us == 900 && c->links[1][0].gbit_s == 1 && c->links[1][0].message_us == 5);
	cluster_file_free(&f);
}

static void each_mistake_is_one_line(void **state)
{
	(void)state;
#define NODES "nodes:\n  - name: a\n"
	static const char *const mistakes[][2] = {
		{"nodes: []\n", ":1:1: key 'version' is missing"},
		{"version: 1\n", ":1:1: key 'nodes' is missing"},
		{"version: 1\nnodes: []\n", ":2:8: nodes: expected 1 to 8 entries"},
		{"version: 1\n" NODES, ":3:5: nodes[0]: key 'devices' is missing"},
		{"version: 1\n" NODES "    devices:\n      - {name: cpu, memory: 1GiB, gbs: 1}\n",
		 ":5:9: nodes[0].devices[0]: key 'gflops' is missing"},
		{"version: 1\n" NODES "    devices:\n      - {name: cpu, memory: 1GiB, gbs: -3, gflops: 1}\n",
		 ":5:40: nodes[0].devices[0].gbs: '-3' is not a number from"},
		{"version: 1\n" NODES "    devices:\n      - {name: cpu, memory: 50%, gbs: 3, gflops: 1}\n",
		 ":5:29: nodes[0].devices[0].memory: '50%' is no size, such as 16GiB"},
		{"version: 1\n" NODES "    devices:\n      - {name: cpu, memory: 1GiB, gsb: 3, gflops: 1}\n",
		 ":5:35: unknown key 'nodes[0].devices[0].gsb'; did you mean 'gbs'?"},
		{"version: 1\n" NODES "    count: 0\n" DEVICES, ":4:12: nodes[0].count: '0' is not a whole number from 1"},
		{"version: 1\n" NODES "    reduce: {latency_us: -1}\n" DEVICES, ":4:26: nodes[0].reduce.latency_us: '-1'"},
		{"version: 1\n" NODES "    count: 2\n" DEVICES, ":2:1: no link between nodes 'a' and 'a': give 'link'"},
		{"version: 1\nlink: {latency_us: 1}\n" NODES DEVICES, ":2:7: link: key 'gbit_s' is missing"},
		{"version: 1\nlink: {latency_us: 1, gbit_s: 0}\n" NODES DEVICES, ":2:31: link.gbit_s: '0' is not"},
		{"version: 1\nlinks:\n  - {between: [a, c], latency_us: 1, gbit_s: 1}\n" NODES DEVICES,
		 ":3:19: links[0].between[1]: there are no nodes 'c'"},
		{"version: 1\nlinks:\n  - {between: [a], latency_us: 1, gbit_s: 1}\n" NODES DEVICES,
		 ":3:15: links[0].between: expected 2 to 2 entries"},
		{"version: 1\n" NODES DEVICES "  - name: a\n" DEVICES, ":6:11: nodes[1].name: 'a' is the name of nodes[0]"},
		{"version: 1\ntexts: x\n" NODES DEVICES, ":2:8: texts: 'x' is not a whole number"},
		{"version: 1\nnodes: 3\n", ":2:8: nodes: expected a list, found one value"},
	};
	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		cluster_file f;
		evn_error err = {0};
		char expected[512];
		assert_int_equal(load(&f, mistakes[i][0], &err), EVN_ERR_USAGE);
		snprintf(expected, sizeof expected, "%s%s", path, mistakes[i][1]);
		if (strncmp(err.text, expected, strlen(expected)) != 0)
			fail_msg("got '%s', expected '%s'", err.text, expected);
		assert_null(strchr(err.text, '\n'));
		cluster_file_free(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_sets_what_it_says),
		cmocka_unit_test(each_mistake_is_one_line),
	};
	const int fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
