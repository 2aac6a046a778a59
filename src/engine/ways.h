/* ways.h - what rebalance.c knows, and the ways to compute that are worth a trial. */
#ifndef EVN_WAYS_H
#define EVN_WAYS_H

#include "engine/pulse.h"
#include "engine/rebalance.h"

#define WINDOWS 3  /* in a row that must call for a change */
#define SLOWED 1.3 /* times what steps usually take, beside what is predicted: something takes a rank's time */

/* Steps of one phase, one after the other. */
typedef struct {
	uint32_t n_steps;
	double wall_s, busy_s[EVN_MAX_RANKS], predicted_s[EVN_MAX_RANKS];
} evn_step_window;

/* The shares of a way: as they were; best for the speeds as they seem now; those without the rank that seems to be
 * slowest; or those before something slowed the ranks down. */
typedef enum { AS_THEY_WERE, BEST, WITHOUT_SLOWEST, HOME, SHARES } evn_way_shares;

/* A way to compute: with these shares, and by flags or not. */
typedef struct {
	evn_way_shares shares;
	bool flags;
	double step_s; /* measured; 0: not yet */
} evn_way;

#define MOST_WAYS 5u

/* Trials of one kind wait longer after each that was in vain. */
typedef struct {
	double pause_s, until_s;
} evn_patience;

struct evn_rebalance {
	bool moves_shares;
	evn_step_window windows[EVN_PHASES];
	double slow[EVN_PHASES][EVN_MAX_RANKS]; /* how many times longer than predicted a rank works */
	double usual[EVN_PHASES];               /* how many times longer than predicted a step takes; 0: not known */
	double slowed;                          /* how many times longer than usual the last window's steps took */
	double idle;                            /* of the last window */
	uint32_t waiting_steps;                 /* successive steps in which every rank waited longer than it worked */
	uint32_t calls;                         /* windows in a row that called for a change */
	double steps_s[WINDOWS];                /* the mean step of these windows, at most WINDOWS */
	evn_patience other_shares, to_flags, when_slowed, home;
	evn_pulse *pulse;      /* of ranks that were slow; NULL: none was */
	bool watches, faster;  /* the pulse is taken; they seem to be faster again */
	bool away, home_flags; /* away: something slowed the ranks down, and they left splits[HOME] and its method */
	/* While ways are tried, each for a window: the first is how it was. */
	uint32_t n_ways, tried, skipped_steps;
	evn_way ways[MOST_WAYS];
	bool tries, settles; /* settles: the best way is being taken */
	evn_phase phase;
	double promised;          /* the part of a step's time that the best shares should win */
	evn_split splits[SHARES]; /* a move makes the engine's split equal to one of them */
	const evn_split *target;  /* NULL: nothing moves */
	uint32_t next_block;
};

/* Lists the ways that are worth a trial, behind the present one, and makes the splits that they need. */
void evn_ways_find(evn_rebalance *r, const evn_engine *e, evn_phase phase);
/* The rank that takes part and seems to be slowest beside its measured speed. */
uint32_t evn_ways_slowest(const evn_rebalance *r, const evn_engine *e, evn_phase phase);

#endif
