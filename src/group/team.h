/* team.h - one host thread per rank, kept between calls: a step of every rank is one run of the team.
 *
 * A driver call that does not return cannot be ended, nor can its thread. The team is then abandoned: the run
 * returns, the thread stays. What the thread may still use - the function's argument, queues, buffers - must stay
 * too. */
#ifndef EVN_TEAM_H
#define EVN_TEAM_H

#include "base/base.h"

typedef struct evn_team evn_team;
typedef evn_status (*evn_rank_fn)(void *arg, uint32_t rank, evn_error *err);

/* Which rank is to blame, and for what. */
typedef struct {
	uint32_t rank;
	evn_status status;
	evn_error err; /* names the rank where there are several */
	bool hangs;    /* has been waited for until its deadline */
} evn_fault;

typedef struct {
	uint32_t n_ranks;
	/* Called in the thread of a rank whose function failed, before the run ends: must release ranks that wait for it.
	 * May be NULL. */
	void (*on_failure)(void *arg);
	/* Whether a rank is known to keep others waiting, or to hang; called in the caller's thread, during a run about
	 * ten times a second. May be NULL: then runs may take any time. */
	bool (*find_fault)(void *arg, evn_fault *out);
	void *arg; /* of both */
} evn_team_config;

evn_status evn_team_create(evn_team **out, const evn_team_config *config, evn_error *err);
/* False where the team is abandoned and a thread still hangs: then nothing is freed, and nothing may be that the
 * thread uses. It may be called again. */
bool evn_team_free(evn_team *t);

/* Runs fn(arg, rank) on every rank and waits for all. tick (may be NULL) is called about ten times a second in the
 * caller's thread meanwhile. When ranks fail, the error is that of the first that did not merely follow another
 * (EVN_ERR_CANCELLED). When one hangs, the run ends a second after that is known, and the team is abandoned if a
 * thread has not come back by then: all further runs fail. */
evn_status evn_team_run(evn_team *t, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg, evn_error *err);
/* Of the last run, if it failed. */
const evn_fault *evn_team_fault(const evn_team *t);
bool evn_team_abandoned(const evn_team *t);

#endif
