/* selftest.c - runs all known-answer tests of one device. */
#include "proof/selftest.h"
#include "proof/selftest_case.h"

#include <stdlib.h>

evn_status evn_selftest_run(evn_device *d, const evn_selftest_options *options, evn_selftest_fn fn, void *user,
							evn_error *err)
{
	evn_cases *c = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "self-test", sizeof *c);
	*c = (evn_cases){.options = *options, .fn = fn, .user = user};
	evn_status s = evn_queue_create(&c->q, d, err);
	const uint32_t lanes = evn_device_lanes(d);
	if (options->lanes)
		evn_device_set_lanes(d, options->lanes);
	else if (options->dots)
		evn_device_set_lanes(d, evn_dot_lanes((evn_dot)__builtin_ctz(options->dots)));
	const bool before = evn_device_build_throwaway(d, !options->keeps_programs);
	if (s == EVN_OK) {
		evn_selftest_matrices(c);
		evn_selftest_rows(c);
		evn_selftest_sums(c);
		evn_selftest_heads(c);
		evn_selftest_sequences(c);
		evn_selftest_fused(c);
		evn_selftest_gpt2(c);
		evn_selftest_top(c);
		evn_selftest_experts(c);
		evn_selftest_delta(c);
		evn_selftest_layers(c);
		evn_selftest_latent(c);
		if (c->n_failed)
			s = evn_fail(err, EVN_ERR_DEVICE, "%s: %u of %u known-answer tests failed, first %s", evn_device_name(d),
						 c->n_failed, c->n_run, c->first_failure);
		else if (options->subject && !c->n_run)
			s = evn_fail(err, EVN_ERR_DEVICE, "%s: no known-answer test of %s%s%s", evn_device_name(d),
						 options->subject, options->quant ? " " : "", options->quant ? options->quant->name : "");
	}
	evn_device_build_throwaway(d, before);
	evn_device_set_lanes(d, lanes);
	evn_queue_free(c->q);
	free(c);
	return s;
}

evn_status evn_selftest_device(evn_device *d, const char *only, evn_selftest_fn fn, void *user, evn_error *err)
{
	return evn_selftest_run(d, &(evn_selftest_options){.only = only}, fn, user, err);
}
