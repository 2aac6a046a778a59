/* score_state.c - keeps finished windows in a file: a header, then number and log-probabilities of each window, then
 * a checksum of everything before it. The file is written and read on the same machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "evener/score.h"

#define FILE_LIMIT ((size_t)4 << 30)

typedef struct {
	char magic[16];
	uint64_t n_windows, n_done;
} header;

static const header empty = {.magic = "evener scores 1"};

char *evn_scorer_state_path(const evn_scorer *s, const evn_window *windows, size_t n)
{
	uint64_t h = evn_scorer_fingerprint(s);
	char name[64];
	for (size_t i = 0; i < n; i++) {
		h = evn_hash(h, &windows[i].first, sizeof windows[i].first);
		h = evn_hash(h, &windows[i].n_ids, sizeof windows[i].n_ids);
		h = evn_hash(h, windows[i].ids, windows[i].n_ids * sizeof *windows[i].ids);
	}
	snprintf(name, sizeof name, "scores/%016llx", (unsigned long long)h);
	return evn_cache_path(name);
}

static size_t n_scores(const evn_window *w) { return w->n_ids - w->first; }

static char *put(char *to, const void *data, size_t size)
{
	memcpy(to, data, size);
	return to + size;
}

evn_status evn_windows_save(const char *path, const evn_window *windows, size_t n, evn_error *err)
{
	header head = empty;
	size_t size = sizeof head + sizeof(uint64_t);
	head.n_windows = n;
	for (size_t i = 0; i < n; i++) {
		head.n_done += windows[i].done;
		size += windows[i].done ? sizeof(uint64_t) + n_scores(&windows[i]) * sizeof(double) : 0;
	}
	char *file = malloc(size);
	if (!file)
		return evn_fail_memory(err, path, size);
	char *at = put(file, &head, sizeof head);
	for (uint64_t i = 0; i < n; i++) {
		if (!windows[i].done)
			continue;
		at = put(at, &i, sizeof i);
		at = put(at, windows[i].log_p, n_scores(&windows[i]) * sizeof(double));
	}
	uint64_t checksum = evn_hash(EVN_HASH_START, file, (size_t)(at - file));
	put(at, &checksum, sizeof checksum);
	evn_status status = evn_write_file(path, file, size, err);
	free(file);
	return status;
}

static bool is_whole(const char *file, size_t size, size_t n)
{
	header head;
	uint64_t checksum;
	if (size < sizeof head + sizeof checksum)
		return false;
	memcpy(&head, file, sizeof head);
	memcpy(&checksum, file + size - sizeof checksum, sizeof checksum);
	return memcmp(head.magic, empty.magic, sizeof head.magic) == 0 && head.n_windows == n &&
		   checksum == evn_hash(EVN_HASH_START, file, size - sizeof checksum);
}

size_t evn_windows_load(const char *path, evn_window *windows, size_t n)
{
	char *file = NULL;
	size_t size = 0, n_done = 0;
	if (evn_read_file(&file, &size, path, FILE_LIMIT, NULL) != EVN_OK)
		return 0;
	if (!is_whole(file, size, n)) {
		evn_log(EVN_LOG_WARN, "%s: damaged, its scores are computed again", path);
		free(file);
		return 0;
	}
	const char *end = file + size - sizeof(uint64_t);
	for (const char *at = file + sizeof(header); (size_t)(end - at) > sizeof(uint64_t);) {
		uint64_t i;
		memcpy(&i, at, sizeof i);
		at += sizeof i;
		size_t bytes = i < n ? n_scores(&windows[i]) * sizeof(double) : SIZE_MAX;
		if ((size_t)(end - at) < bytes)
			break;
		memcpy(windows[i].log_p, at, bytes);
		at += bytes;
		n_done += !windows[i].done;
		windows[i].done = true;
	}
	free(file);
	return n_done;
}
