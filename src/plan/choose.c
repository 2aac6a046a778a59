/* choose.c - which devices take part. Every subset is split and predicted; the fastest wins, and each device left out
 * is told why with the figures. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A device whose share is automatic gets as much per GB/s as those whose share is given. */
static evn_status share_per_gbs(double *out, const evn_plan_candidate *c, uint32_t n, evn_error *err)
{
	double given = 0, given_gbs = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (c[i].share <= 0)
			continue;
		given += c[i].share;
		given_gbs += c[i].gemv_gbs;
	}
	*out = given > 0 ? given / given_gbs : 1;
	if (!isfinite(*out) || *out <= 0)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"some shares are given and some automatic, which needs measured rates, and there are none: give "
			"every share");
	return EVN_OK;
}

evn_status evn_plan_shares(double *shares, const evn_plan_candidate *c, uint32_t n, evn_error *err)
{
	double per_gbs = 0, sum = 0;
	bool automatic = false;
	for (uint32_t i = 0; i < n; i++) {
		bool is_auto = c[i].share == EVN_SHARE_AUTO;
		automatic |= is_auto;
		if (!is_auto && (!isfinite(c[i].share) || c[i].share < 0))
			return evn_fail(err, EVN_ERR_USAGE, "share of device %s is %g: expected a number of at least 0", c[i].id,
							c[i].share);
		if (is_auto && !(isfinite(c[i].gemv_gbs) && c[i].gemv_gbs > 0))
			return evn_fail(err, EVN_ERR_USAGE,
							"share of device %s is automatic, but its speed is not known (%g GB/s)", c[i].id,
							c[i].gemv_gbs);
	}
	if (automatic)
		EVN_TRY(share_per_gbs(&per_gbs, c, n, err));
	for (uint32_t i = 0; i < n; i++) {
		shares[i] = c[i].share == EVN_SHARE_AUTO ? c[i].gemv_gbs * per_gbs : c[i].share;
		sum += shares[i];
	}
	if (sum <= 0)
		return evn_fail(err, EVN_ERR_USAGE, "every device has a share of 0: at least one must have more");
	return EVN_OK;
}
