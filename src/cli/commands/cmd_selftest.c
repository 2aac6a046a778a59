/* cmd_selftest.c - evener selftest: every kernel on every device against known answers. */
#include "cli/cli.h"
#include "cli/show/json.h"
#include "evener/selftest.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
	bool json, quiet;
	json_t *results;
	size_t passed, failed;
} tally;

static void print_result(void *user, const evn_selftest_result *r)
{
	tally *t = user;
	if (r->passed)
		t->passed++;
	else
		t->failed++;
	if (t->json) {
		json_push(&t->results,
				  json_pack("{s:o, s:o, s:b, s:o, s:o, s:o}", "device", json_text(r->device), "kernel",
							json_text(r->kernel), "passed", r->passed, "max_error", json_number(r->max_error),
							"tolerance", json_number(r->tolerance), "reason", json_text(r->reason)));
	} else if (!r->passed || !t->quiet) {
		printf("%-8s %-40s %s  error %.2g of %.2g%s%s\n", r->device, r->kernel, r->passed ? "ok    " : "FAILED",
			   r->max_error, r->tolerance, r->reason ? ": " : "", r->reason ? r->reason : "");
		fflush(stdout);
	}
}

evn_status cmd_selftest(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	const char *devices = s->n_rules ? s->devices ? s->devices : getenv("EVENER_DEVICES") : NULL;
	tally t = {.json = s->json, .quiet = s->quiet};
	if (s->json)
		t.results = json_array();
	evn_status status = evn_selftest(devices, print_result, &t, err);
	bool ran = status == EVN_OK || t.passed + t.failed > 0;
	if (ran && s->json) {
		evn_error print_err = {0};
		evn_status printed = json_print(json_pack("{s:o, s:I, s:I}", "results", t.results, "passed",
												  (json_int_t)t.passed, "failed", (json_int_t)t.failed),
										&print_err);
		if (status == EVN_OK && printed != EVN_OK) {
			*err = print_err;
			status = printed;
		}
	} else if (ran) {
		printf("%zu passed, %zu failed\n", t.passed, t.failed);
	}
	if (!ran)
		json_decref(t.results);
	return status;
}
