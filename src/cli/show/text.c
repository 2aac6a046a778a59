/* text.c - see text.h. */
#include "cli/show/text.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

void text_printable(char *s)
{
	for (unsigned char *c = (unsigned char *)s; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* C1 controls in UTF-8 */
			c[0] = c[1] = '?';
	}
}

const char *text_bytes(uint64_t bytes, char *buffer, size_t size)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 999.95 && unit + 1 < sizeof units / sizeof *units) {
		value /= 1000;
		unit++;
	}
	snprintf(buffer, size, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buffer;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The number of edits that turn a into b: letters added, left out or replaced, or two neighbours swapped. */
static size_t edit_distance(const char *a, const char *b)
{
	enum { MAX = 31 };
	size_t d[MAX + 1][MAX + 1], na = strlen(a), nb = strlen(b);
	if (na > MAX || nb > MAX)
		return MAX;
	for (size_t i = 0; i <= na; i++)
		for (size_t j = 0; j <= nb; j++) {
			if (i == 0 || j == 0) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = least(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]), least(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	return d[na][nb];
}

const char *text_nearest(const char *word, const char *const *words)
{
	size_t best_distance = (strlen(word) + 1) / 3 + 1; /* exclusive bound: one edit in 3 letters, two in 5 */
	const char *best = NULL;
	for (; *words; words++) {
		size_t distance = edit_distance(word, *words);
		if (distance < best_distance) {
			best_distance = distance;
			best = *words;
		}
	}
	return best;
}

static evn_status read_stream(FILE *f, const char *name, char **out, size_t *size, size_t limit, evn_error *err)
{
	size_t capacity = 4096, n = 0;
	char *data = malloc(capacity);
	while (data) {
		n += fread(data + n, 1, capacity - 1 - n, f);
		if (n < capacity - 1)
			break;
		capacity *= 2;
		char *larger = n > limit ? NULL : realloc(data, capacity);
		if (!larger)
			free(data);
		data = larger;
		if (n > limit)
			return evn_fail(err, EVN_ERR_LIMIT, "%s: larger than %zu bytes", name, limit);
	}
	if (!data)
		return evn_fail_memory(err, name, 0);
	if (ferror(f) || n > limit) {
		evn_status status = ferror(f) ? evn_fail(err, EVN_ERR_FILE, "%s: %s", name, strerror(errno))
									  : evn_fail(err, EVN_ERR_LIMIT, "%s: larger than %zu bytes", name, limit);
		free(data);
		return status;
	}
	data[n] = 0;
	*out = data;
	*size = n;
	return EVN_OK;
}

evn_status text_read(char **out, size_t *size, const char *path, size_t limit, evn_error *err)
{
	if (!path)
		return read_stream(stdin, "standard input", out, size, limit, err);
	struct stat info;
	if (stat(path, &info) != 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	if (S_ISDIR(info.st_mode))
		return evn_fail(err, EVN_ERR_FILE, "%s: is a directory, expected a file", path);
	FILE *f = fopen(path, "rb");
	if (!f)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	evn_status status = read_stream(f, path, out, size, limit, err);
	fclose(f);
	return status;
}

evn_status text_check_writable(const char *path, evn_error *err)
{
	struct stat info;
	bool exists = stat(path, &info) == 0;
	if (exists && S_ISDIR(info.st_mode))
		return evn_fail(err, EVN_ERR_FILE, "%s: is a directory, expected a file", path);
	if (exists && !S_ISREG(info.st_mode))
		return EVN_OK;                                                     /* written into, not replaced */
	char *target = exists ? realpath(path, NULL) : evn_format("%s", path); /* of a link the target is replaced */
	if (!target)
		return evn_fail_memory(err, path, 0);
	int why = access(dirname(target), W_OK | X_OK) == 0 ? 0 : errno;
	free(target);
	return why ? evn_fail(err, EVN_ERR_FILE, "%s: could not write: %s", path, strerror(why)) : EVN_OK;
}

static void text_age(double seconds, char *buffer, size_t size)
{
	static const struct {
		double seconds;
		const char *name;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}};
	snprintf(buffer, size, "just now");
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (seconds >= units[i].seconds) {
			const int n = (int)(seconds / units[i].seconds);
			snprintf(buffer, size, "%d %s%s ago", n, units[i].name, n == 1 ? "" : "s");
			return;
		}
}

const char *text_measured(const evn_measured *m, char *buffer, size_t size)
{
	char age[32], busy[64] = "";
	if (m->taken_s <= 0) {
		snprintf(buffer, size, "not measured yet (--measure does)");
		return buffer;
	}
	text_age((double)time(NULL) - m->taken_s, age, sizeof age);
	if (m->others > 0.25)
		snprintf(busy, sizeof busy, ", while other programs kept %.1f cores busy", m->others);
	snprintf(buffer, size, "measured %s, %s; repetitions differ by %.0f %%%s%s",
			 m->thorough ? "thoroughly" : "by a short trial (--measure is thorough)", age, 100 * m->spread, busy,
			 m->doubted ? "; a later run was clearly faster, so they are doubted" : "");
	return buffer;
}
