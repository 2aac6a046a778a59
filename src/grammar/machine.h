/* machine.h - a grammar that reads bytes. What it has read is a configuration: the set of all stacks of states in
 * which the network can be. Configurations and the steps between them are made when they are first needed, and kept:
 * the same text later costs a look-up for each byte. They are bounded: once they need too much memory, all are
 * dropped but those that somebody is at.
 *
 * Not thread-safe; grammar.c has the lock. */
#ifndef EVN_GRAMMAR_MACHINE_H
#define EVN_GRAMMAR_MACHINE_H

#include "grammar/net.h"

#define EVN_MACHINE_MAX_DEPTH 1000u                      /* rules within rules. A text that nests deeper is refused */
#define EVN_MACHINE_MAX_ITEMS 4096u                      /* of a configuration: ways to read a text */
#define EVN_MACHINE_MAX_BYTES ((size_t)32 * 1024 * 1024) /* that are kept */
#define EVN_DEAD 0u                                      /* the configuration of no stacks */

typedef struct evn_machine evn_machine;

/* Somebody who is at a configuration. */
typedef struct evn_place {
	struct evn_place *next, *previous;
	uint32_t config;
} evn_place;

/* Takes the finished network, also if this fails. max_bytes: 0 for the default. */
evn_status evn_machine_create(evn_machine **out, evn_net *n, size_t max_bytes, evn_error *err);
void evn_machine_free(evn_machine *m);

void evn_machine_enter(evn_machine *m, evn_place *p); /* at the beginning of a text */
void evn_machine_leave(evn_machine *m, evn_place *p);
/* Drops what is kept if it is too much. Numbers of configurations outside of places are then void. */
evn_status evn_machine_trim(evn_machine *m, evn_error *err);

/* The configuration behind a byte; EVN_DEAD: no text of the grammar goes on so, or memory has run out. */
uint32_t evn_machine_step(evn_machine *m, uint32_t config, uint8_t byte);
bool evn_machine_accepts(const evn_machine *m, uint32_t config); /* the text may end here */
/* An error that a step has met: the grammar is too ambiguous, or no memory. */
evn_status evn_machine_status(const evn_machine *m, evn_error *err);

/* Bytes of the same class lead to the same configurations. */
uint32_t evn_machine_classes(const evn_machine *m);
const uint8_t *evn_machine_class_of(const evn_machine *m); /* (256) */
/* A pointer that the caller keeps with a configuration, freed with it by free; NULL at first. `bytes` is what it
 * holds more than before. */
void **evn_machine_kept(evn_machine *m, uint32_t config);
void evn_machine_count(evn_machine *m, size_t bytes);
size_t evn_machine_configs(const evn_machine *m);

#endif
