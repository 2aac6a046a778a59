/* select.c - resolves one item of a device list, SELECTOR[/PARTS[@FIRST]], to devices and sub-devices. It calls no
 * driver. */
#include "find/found.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_PARTS EVN_MAX_RANKS
#define MAX_ITEM 256

typedef struct {
	uint32_t units[MAX_PARTS];
	size_t n; /* 0 for whole devices */
	uint32_t first;
	uint64_t sum;
} parts;

/* The kind of a selector decides how an unusable device is handled: a type skips it, an index that names it is an
 * error. */
typedef enum { BY_TYPE, BY_INDEX, BY_STABLE_ID, BY_PLATFORM, BY_NAME } selector_kind;

static bool matches(const evn_found *f, const char *selector, selector_kind kind)
{
	switch (kind) {
	case BY_TYPE:
		return !strcasecmp(selector, "all") || !strcasecmp(selector, f->info.type);
	case BY_INDEX:
		return !strcmp(selector, f->info.id);
	case BY_STABLE_ID:
		return !strcasecmp(selector, f->info.stable_id);
	case BY_PLATFORM:
		return !strcasecmp(selector, f->info.platform);
	case BY_NAME:
		return strcasestr(f->info.name, selector) != NULL;
	}
	return false;
}

static bool is_type(const char *selector)
{
	static const char *const types[] = {"all", "gpu", "cpu", "accelerator"};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!strcasecmp(selector, types[i]))
			return true;
	return false;
}

static bool is_index(const char *selector)
{
	size_t before = strspn(selector, "0123456789");
	if (!before || selector[before] != ':')
		return false;
	size_t after = strspn(selector + before + 1, "0123456789");
	return after && !selector[before + 1 + after];
}

static bool any_matches(const evn_system *s, const char *selector, selector_kind kind)
{
	for (size_t i = 0; i < s->n; i++)
		if (matches(&s->devices[i], selector, kind))
			return true;
	return false;
}

static selector_kind kind_of(const evn_system *s, const char *selector)
{
	if (is_type(selector))
		return BY_TYPE;
	if (is_index(selector))
		return BY_INDEX;
	if (any_matches(s, selector, BY_STABLE_ID))
		return BY_STABLE_ID;
	return any_matches(s, selector, BY_PLATFORM) ? BY_PLATFORM : BY_NAME;
}

/* Writes "0:0 NAME (cpu, pocl), ..." for error messages. */
static void list_devices(const evn_system *s, char *out, size_t size)
{
	size_t at = 0;
	snprintf(out, size, "none at all");
	for (size_t i = 0; i < s->n && at < size; i++) {
		const evn_device_info *d = &s->devices[i].info;
		int wrote = snprintf(out + at, size - at, "%s%s %s (%s, %s%s)", i ? ", " : "", d->id, d->name, d->type,
							 d->platform, d->usable ? "" : ", not usable");
		at += wrote > 0 ? (size_t)wrote : 0;
	}
}

static evn_status no_match(const evn_system *s, const char *item, const char *selector, selector_kind kind,
						   evn_error *err)
{
	for (size_t i = 0; i < s->n; i++)
		if (matches(&s->devices[i], selector, kind))
			return evn_fail(err, EVN_ERR_USAGE, "device list: \"%s\" matches %s %s, which is not usable: %s", item,
							s->devices[i].info.id, s->devices[i].info.name, s->devices[i].info.reason);
	char list[640];
	list_devices(s, list, sizeof list);
	return evn_fail(err, EVN_ERR_USAGE, "device list: \"%s\" matches no device; there are: %s", item, list);
}

static evn_status bad_parts(const char *item, const char *text, evn_error *err)
{
	return evn_fail(err, EVN_ERR_USAGE,
					"device list: \"%s\": expected counts of compute units after the /, such as 1+3, or with the "
					"first unit, such as 1@2; found \"%s\"",
					item, text);
}

/* A number above UINT32_MAX becomes UINT32_MAX. No device has so many units, so the check against the device reports
 * it. */
static bool parse_units(const char **c, uint32_t *out)
{
	uint64_t units = 0;
	const char *begin = *c;
	for (; isdigit((unsigned char)**c); ++*c)
		units = units < UINT32_MAX ? units * 10 + (uint64_t)(**c - '0') : units;
	*out = units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
	return *c > begin;
}

static evn_status parse_parts(parts *out, const char *item, const char *text, evn_error *err)
{
	*out = (parts){0};
	const char *c = text;
	do {
		uint32_t units;
		if (!parse_units(&c, &units))
			return bad_parts(item, text, err);
		if (units == 0)
			return evn_fail(err, EVN_ERR_USAGE, "device list: \"%s\": a part needs at least one compute unit", item);
		if (out->n == MAX_PARTS)
			return evn_fail(err, EVN_ERR_LIMIT, "device list: \"%s\" has more than %d parts", item, MAX_PARTS);
		out->units[out->n++] = units;
		out->sum += units;
	} while (*c++ == '+');
	if (*--c == '@' && (c++, !parse_units(&c, &out->first)))
		return bad_parts(item, text, err);
	return *c ? bad_parts(item, text, err) : EVN_OK;
}

static evn_status check_parts(const evn_found *f, const parts *p, const char *text, evn_error *err)
{
	if (p->first + p->sum > f->info.compute_units)
		return evn_fail(err, EVN_ERR_USAGE, "device list: %s %s has %u compute units, %s asks for %llu", f->info.id,
						f->info.name, f->info.compute_units, text, (unsigned long long)p->first + p->sum);
	if (!f->max_parts)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"device list: %s %s cannot be divided by counts of compute units (asked for /%s)", f->info.id,
						f->info.name, text);
	return EVN_OK;
}

static evn_status append_pick(evn_pick pick, evn_pick *out, size_t *n, size_t max, const char *item, evn_error *err)
{
	if (*n == max)
		return evn_fail(err, EVN_ERR_LIMIT, "device list: with \"%s\" there are more than %zu ranks", item, max);
	out[(*n)++] = pick;
	return EVN_OK;
}

static evn_status pick_device(const evn_system *s, evn_pick base, const parts *p, const char *text, const char *item,
							  evn_pick *out, size_t *n, size_t max, evn_error *err)
{
	if (!p->n)
		return append_pick(base, out, n, max, item, err);
	const char *quirk = evn_quirk_sub_devices(&s->devices[base.device]);
	EVN_TRY(check_parts(&s->devices[base.device], p, text, err));
	if (quirk)
		evn_log(EVN_LOG_INFO, "%s: %s", item, quirk);
	base.first_unit = p->first;
	for (size_t i = 0; i < p->n; i++) {
		base.n_units = p->units[i];
		EVN_TRY(append_pick(base, out, n, max, item, err));
		base.first_unit += p->units[i];
	}
	return EVN_OK;
}

/* Stable ids contain slashes. If the whole item is an id, it is therefore not split. */
static const char *find_parts(const evn_system *s, const char *item)
{
	const char *slash = strrchr(item, '/');
	return slash && !any_matches(s, item, BY_STABLE_ID) ? slash : NULL;
}

static bool trim(char *out, size_t size, const char *text)
{
	text += strspn(text, " \t\n");
	size_t len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	if (len >= size)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

evn_status evn_system_select(const evn_system *s, const char *text, size_t rule, evn_pick *out, size_t *n, size_t max,
							 evn_error *err)
{
	char item[MAX_ITEM], selector[MAX_ITEM];
	parts p = {0};
	if (!trim(item, sizeof item, text))
		return evn_fail(err, EVN_ERR_USAGE, "device list: an item of %zu characters, at most %d are allowed",
						strlen(text), MAX_ITEM - 1);
	const char *slash = find_parts(s, item);
	snprintf(selector, sizeof selector, "%.*s", slash ? (int)(slash - item) : MAX_ITEM, item);
	if (!selector[0])
		return evn_fail(err, EVN_ERR_USAGE, "device list: \"%s\" names no device", item);
	if (slash)
		EVN_TRY(parse_parts(&p, item, slash + 1, err));
	selector_kind kind = kind_of(s, selector);
	size_t before = *n;
	for (size_t i = 0; i < s->n; i++) {
		const evn_found *f = &s->devices[i];
		if (!f->info.usable || !matches(f, selector, kind))
			continue;
		evn_status status =
			pick_device(s, (evn_pick){.device = i, .rule = rule}, &p, slash ? slash + 1 : "", item, out, n, max, err);
		if (status != EVN_OK) {
			*n = before;
			return status;
		}
	}
	return *n > before ? EVN_OK : no_match(s, item, selector, kind, err);
}

void evn_pick_name(const evn_system *s, const evn_pick *p, char *out, size_t size)
{
	if (p->n_units)
		snprintf(out, size, "%s/%u@%u", s->devices[p->device].info.id, p->n_units, p->first_unit);
	else
		snprintf(out, size, "%s", s->devices[p->device].info.id);
}

bool evn_system_divide(const evn_system *s, size_t i, uint32_t n, evn_pick *out)
{
	const evn_found *f = &s->devices[i];
	uint32_t units = f->info.compute_units;
	if (!n || units % n || n > f->max_parts || evn_quirk_no_own_cores(f))
		return false;
	for (uint32_t k = 0; k < n; k++)
		out[k] = (evn_pick){.device = i, .first_unit = k * (units / n), .n_units = units / n};
	return true;
}
