/* chips.c - finds devices of several drivers that are the same chip. Such devices compete for its cores if they are
 * used together. */
#include "find/found.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* "Mesa Intel(R) UHD Graphics 620 (KBL GT2)" and "Intel(R) UHD Graphics 620 [0x5917]" both become "uhd620". */
static void normalise(char *out, size_t size, const char *name)
{
	static const char *const noise[] = {"(r)", "(tm)", "mesa", "intel", "amd", "nvidia", "corporation", "graphics"};
	size_t n = 0;
	while (*name && n + 1 < size) {
		size_t skip = 0;
		for (size_t i = 0; i < sizeof noise / sizeof *noise && !skip; i++)
			if (!strncasecmp(name, noise[i], strlen(noise[i])))
				skip = strlen(noise[i]);
		if (skip) {
			name += skip;
			continue;
		}
		if (strchr("([,", *name))
			break;
		if (isalnum((unsigned char)*name))
			out[n++] = (char)tolower((unsigned char)*name);
		name++;
	}
	out[n] = '\0';
}

static bool same_name(const evn_found *a, const evn_found *b)
{
	char x[sizeof a->name], y[sizeof b->name];
	normalise(x, sizeof x, a->name);
	normalise(y, sizeof y, b->name);
	return x[0] && !strcmp(x, y);
}

static size_t count_like(const evn_found *devices, size_t n, const evn_found *f)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += devices[i].platform_index == f->platform_index && same_name(&devices[i], f);
	return count;
}

static bool one_chip(const evn_found *devices, size_t n, const evn_found *a, const evn_found *b)
{
	if (strcmp(a->info.type, b->info.type) != 0)
		return false;
	if (!strcmp(a->info.type, "cpu"))
		return true; /* every CPU driver offers all cores of the host */
	if (a->pci[0] && b->pci[0])
		return !strcmp(a->pci, b->pci);
	if (a->uuid[0] && b->uuid[0] && !strcmp(a->uuid, b->uuid))
		return true;
	return a->platform_index != b->platform_index && a->vendor_id == b->vendor_id && same_name(a, b) &&
		   count_like(devices, n, a) == 1 && count_like(devices, n, b) == 1;
}

void evn_find_chips(evn_found *devices, size_t n)
{
	int chips = 0;
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;
		while (j < i && !one_chip(devices, n, &devices[i], &devices[j]))
			j++;
		devices[i].chip = j < i ? devices[j].chip : chips++;
		devices[i].info.same_chip_as = j < i ? devices[j].id : NULL;
	}
}
