#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The files of a version of control groups. The kernel's documentation calls them cgroup v1 and v2. */
typedef struct {
	const char *folder, *most, *used, *unused_cache; /* unused_cache: a key of memory.stat */
} version;

static const version v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
						   "total_inactive_file"};
static const version v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/* The number behind a key in a file of lines "KEY NUMBER"; with key "", the number that the file consists of. */
static bool read_number(const char *path, const char *key, uint64_t *out)
{
	char line[256];
	bool found = false;
	const size_t n = strlen(key);
	FILE *f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof line, f))
		found = !strncmp(line, key, n) && sscanf(line + n, "%" SCNu64, out) == 1;
	if (f)
		fclose(f);
	return found;
}

static bool read_of_group(const char *group, const char *file, const char *key, uint64_t *out)
{
	char path[4096];
	return snprintf(path, sizeof path, "%s/%s", group, file) < (int)sizeof path && read_number(path, key, out);
}

/* What the group's limit leaves. Pages of files that nobody uses count as used, but the system drops them. */
static uint64_t left_in(const version *v, const char *group)
{
	uint64_t most, used, unused = 0;
	if (!read_of_group(group, v->most, "", &most) || !read_of_group(group, v->used, "", &used))
		return UINT64_MAX;
	read_of_group(group, "memory.stat", v->unused_cache, &unused);
	used -= unused < used ? unused : used;
	return most > used ? most - used : 0;
}

/* Of the group and of those that it is in, up to the folder of all. In a container, the group's own path may not be
 * there; then the folder is the container's group. */
static uint64_t left_in_groups(const version *v, const char *root, const char *path)
{
	char group[4096];
	uint64_t least = UINT64_MAX;
	const int n = snprintf(group, sizeof group, "%s%s%s", root, v->folder, path);
	if (n < 0 || n >= (int)sizeof group)
		return UINT64_MAX;
	for (const size_t top = strlen(root) + strlen(v->folder); strlen(group) >= top;) {
		const uint64_t left = left_in(v, group);
		least = left < least ? left : least;
		*strrchr(group, '/') = 0;
	}
	return least;
}

/* Lines of /proc/self/cgroup: "0::/user.slice" of version 2, "4:memory:/docker/1" of version 1. */
static uint64_t left_by_groups(const char *root)
{
	char path[4096], line[4096];
	uint64_t least = UINT64_MAX;
	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		const char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
		if (!group)
			continue;
		const bool second = !strncmp(line, "0::", 3);
		if (!second && strncmp(kind, ":memory:", 8))
			continue;
		const uint64_t left = left_in_groups(second ? &v2 : &v1, root, strcmp(group + 1, "/") ? group + 1 : "");
		least = left < least ? left : least;
	}
	if (f)
		fclose(f);
	return least;
}

uint64_t evn_free_memory(const char *root)
{
	char path[4096];
	uint64_t kib;
	snprintf(path, sizeof path, "%s/proc/meminfo", root);
	const uint64_t free_bytes = read_number(path, "MemAvailable:", &kib) ? kib * 1024 : UINT64_MAX;
	const uint64_t left = left_by_groups(root);
	return left < free_bytes ? left : free_bytes;
}
