/* team.h - one host thread per rank, kept between calls: a step of every rank is one run of the team. */
#ifndef EVN_TEAM_H
#define EVN_TEAM_H

#include "base/base.h"

typedef struct evn_team evn_team;
typedef evn_status (*evn_rank_fn)(void *arg, uint32_t rank, evn_error *err);

/* on_failure(arg of create) runs in the thread of a rank whose function failed, before the run ends: it must release
 * ranks that wait for it. May be NULL. */
evn_status evn_team_create(evn_team **out, uint32_t n_ranks, void (*on_failure)(void *), void *arg, evn_error *err);
void evn_team_free(evn_team *t);

/* Runs fn(arg, rank) on every rank and waits for all. tick (may be NULL) is called about ten times a second in the
 * caller's thread meanwhile. When ranks fail, the error is that of the first that did not merely follow another
 * (EVN_ERR_CANCELLED). */
evn_status evn_team_run(evn_team *t, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg, evn_error *err);

#endif
