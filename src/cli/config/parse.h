/* parse.h - reads values strictly: the whole text, in range, nothing guessed. Flags and config values use the same
 * functions, so both accept the same things. A message says what was found and what was expected; the caller puts the
 * name of the flag or key before it. */
#ifndef EVN_CLI_PARSE_H
#define EVN_CLI_PARSE_H

#include "evener.h"

/* How much of a device's memory may be used: bytes, or a fraction. The other one is 0. */
typedef struct {
	uint64_t bytes;
	double fraction;
} memory_limit;

typedef struct {
	memory_limit values[EVN_MAX_RANKS];
	size_t n;
} memory_list;

typedef struct {
	double values[EVN_MAX_RANKS];
	double prompts[EVN_MAX_RANKS]; /* EVN_SHARE_AUTO: the same as the share */
	size_t n;
} share_list;

#define MAX_REPEATED 64

/* What a flag that may be given several times was given; borrowed. */
typedef struct {
	const char *items[MAX_REPEATED];
	size_t n;
} repeated_text;

evn_status parse_int(const char *text, int64_t min, int64_t max, int64_t *out, evn_error *err); /* decimal */
evn_status parse_real(const char *text, double min, double max, double *out, evn_error *err);
evn_status parse_time(const char *text, double min, double max, double *out, evn_error *err); /* 90s, 2min, 1h */
evn_status parse_bool(const char *text, bool *out, evn_error *err);                           /* true, false */
/* Finds the index of text in names (NULL-terminated). */
evn_status parse_choice(const char *text, const char *const *names, int *out, evn_error *err);
evn_status parse_memory(const char *text, memory_limit *out, evn_error *err); /* 6GiB, 500MB, 90% */
evn_status parse_memory_list(const char *text, memory_list *out, evn_error *err);
/* auto, or a number >= 0. "3/30" gives a second number for prompts, which is otherwise EVN_SHARE_AUTO. */
evn_status parse_share(const char *text, double *out, double *prompts, evn_error *err);
evn_status parse_shares(const char *text, share_list *out, evn_error *err); /* numbers, at least one > 0 */
/* Comma-separated token ids, at least one. *ids is malloc'd. */
evn_status parse_ids(const char *text, int32_t **ids, size_t *n, evn_error *err);

#endif
