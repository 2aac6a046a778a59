/* team.h - one host thread for each rank. The threads live as long as the team. One run of the team is one step on
 * every rank.
 *
 * A driver call that does not return cannot be ended, and neither can its thread. The team is then abandoned: the
 * run returns and the thread stays. Everything that the thread may still use (the function's argument, queues,
 * buffers) must stay too. */
#ifndef EVN_TEAM_H
#define EVN_TEAM_H

#include "base/base.h"

typedef struct evn_team evn_team;
typedef evn_status (*evn_rank_fn)(void *arg, uint32_t rank, evn_error *err);

/* The rank that caused a failure, and the error. */
typedef struct {
	uint32_t rank;
	evn_status status;
	evn_error err; /* names the rank if there are several */
	bool hangs;    /* the rank was waited for until the deadline */
} evn_fault;

typedef struct {
	uint32_t n_ranks, first_rank; /* the ranks are first_rank, first_rank + 1, ... */
	/* Called in the thread of a rank whose function failed, before the run ends, and not after the team was
	 * abandoned. It must release the ranks that wait for this one, and not call the team. May be NULL. */
	void (*on_failure)(void *arg);
	/* True if a rank is known to keep others waiting or to hang. Called in the caller's thread, about ten times a
	 * second during a run. If it is NULL, a run may take any time. */
	bool (*find_fault)(void *arg, evn_fault *out);
	void *arg; /* for both callbacks */
} evn_team_config;

evn_status evn_team_create(evn_team **out, const evn_team_config *config, evn_error *err);
/* False if the team is abandoned and a thread still hangs. Then nothing is freed, and nothing that the thread uses
 * may be freed. It can be called again later. */
bool evn_team_free(evn_team *t);

/* Runs fn(arg, rank) on every rank and waits for all. During the run, tick (may be NULL) is called about ten times a
 * second in the caller's thread. If ranks fail, the error is that of the first rank that failed on its own account,
 * not with EVN_ERR_CANCELLED. If a rank hangs, the run ends a second after this is known. The team is abandoned if a
 * thread has not returned by then: all further runs fail. */
evn_status evn_team_run(evn_team *t, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg, evn_error *err);
/* The same, on those ranks that have a bit in `ranks`. */
evn_status evn_team_run_on(evn_team *t, uint64_t ranks, evn_rank_fn fn, void *arg, void (*tick)(void *),
						   void *tick_arg, evn_error *err);
/* The fault of the last run, if it failed. */
const evn_fault *evn_team_fault(const evn_team *t);
bool evn_team_abandoned(const evn_team *t);
bool evn_team_has_returned(evn_team *t, uint32_t rank); /* from the last run */

#endif
