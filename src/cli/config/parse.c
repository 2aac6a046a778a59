/* parse.c - see parse.h. */
#include "cli/config/parse.h"
#include "base/base.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define SHOWN 60 /* the characters of a wrong value that a message repeats */

evn_status parse_int(const char *text, int64_t min, int64_t max, int64_t *out, evn_error *err)
{
	const char *digits = text + (*text == '-' || *text == '+');
	size_t n = strspn(digits, DIGITS);
	errno = 0;
	long long value = strtoll(text, NULL, 10);
	if (n == 0 || digits[n] || errno || value < min || value > max)
		return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not a whole number from %lld to %lld", SHOWN, text,
						(long long)min, (long long)max);
	*out = value;
	return EVN_OK;
}

/* Checks more than strtod, which would also take "nan", "inf", hexadecimal numbers and leading blanks. */
static bool number(const char *text, double *out)
{
	char *end;
	if (!*text || strspn(text, DIGITS "+-.eE") != strlen(text))
		return false;
	*out = strtod(text, &end);
	return !*end && end != text && isfinite(*out);
}

evn_status parse_real(const char *text, double min, double max, double *out, evn_error *err)
{
	double value;
	if (!number(text, &value) || value < min || value > max)
		return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not a number from %g to %g", SHOWN, text, min, max);
	*out = value;
	return EVN_OK;
}

evn_status parse_time(const char *text, double min, double max, double *out, evn_error *err)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}};
	char digits[32] = "";
	size_t n = strspn(text, DIGITS ".");
	double value;
	memcpy(digits, text, n < sizeof digits ? n : 0);
	const char *unit = text + n + strspn(text + n, " ");
	for (size_t i = 0; i < sizeof units / sizeof *units && number(digits, &value); i++)
		if (strcmp(unit, units[i].name) == 0 && value * units[i].seconds >= min && value * units[i].seconds <= max) {
			*out = value * units[i].seconds;
			return EVN_OK;
		}
	return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not a time from %g s to %g s, such as 90s or 2min", SHOWN, text,
					min, max);
}

evn_status parse_bool(const char *text, bool *out, evn_error *err)
{
	*out = strcmp(text, "true") == 0;
	if (!*out && strcmp(text, "false") != 0)
		return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is neither true nor false", SHOWN, text);
	return EVN_OK;
}

evn_status parse_choice(const char *text, const char *const *names, int *out, evn_error *err)
{
	char list[128] = "";
	for (int i = 0; names[i]; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = i;
			return EVN_OK;
		}
		size_t used = strlen(list);
		snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
	}
	return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not supported; this version knows: %s", SHOWN, text, list);
}

static bool size_in_bytes(double value, const char *unit, uint64_t *out)
{
	static const struct {
		const char *name;
		double bytes;
	} units[] = {{"B", 1},     {"kB", 1e3},     {"KB", 1e3},        {"MB", 1e6},           {"GB", 1e9},
				 {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(unit, units[i].name) == 0) {
			double bytes = value * units[i].bytes;
			if (!(bytes >= 1 && bytes <= 0x1p60))
				return false;
			*out = (uint64_t)bytes;
			return true;
		}
	return false;
}

evn_status parse_memory(const char *text, memory_limit *out, evn_error *err)
{
	char digits[32] = "";
	size_t n = strspn(text, DIGITS ".");
	double value = 0;
	*out = (memory_limit){0};
	if (n > 0 && n < sizeof digits) {
		memcpy(digits, text, n);
		const char *unit = text + n + strspn(text + n, " ");
		if (number(digits, &value)) {
			if (strcmp(unit, "%") == 0 && value > 0 && value <= 100) {
				out->fraction = value / 100;
				return EVN_OK;
			}
			if (size_in_bytes(value, unit, &out->bytes))
				return EVN_OK;
		}
	}
	return evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not an amount of memory such as 6GiB or 90%%", SHOWN, text);
}

/* Puts the next item of a comma-separated list into `item`, without the blanks around it. *list moves on and becomes
 * NULL after the last item. False if the item is too long for any value. */
static bool next_item(const char **list, char *item, size_t size)
{
	const char *begin = *list + strspn(*list, " "), *end = begin + strcspn(begin, ",");
	*list = *end ? end + 1 : NULL;
	while (end > begin && end[-1] == ' ')
		end--;
	size_t n = (size_t)(end - begin);
	if (n >= size)
		return false;
	memcpy(item, begin, n);
	item[n] = 0;
	return true;
}

evn_status parse_memory_list(const char *text, memory_list *out, evn_error *err)
{
	char item[SHOWN + 1];
	out->n = 0;
	for (const char *rest = text; rest;) {
		if (out->n == EVN_MAX_RANKS || !next_item(&rest, item, sizeof item))
			return evn_fail(err, EVN_ERR_USAGE, "'%.*s': expected at most %d amounts such as 6GiB or 90%%", SHOWN,
							text, EVN_MAX_RANKS);
		evn_status status = parse_memory(item, &out->values[out->n++], err);
		if (status != EVN_OK)
			return status;
	}
	return EVN_OK;
}

evn_status parse_share(const char *text, double *out, double *prompts, evn_error *err)
{
	char first[SHOWN + 1];
	const size_t n = strcspn(text, "/");
	double value = EVN_SHARE_AUTO, second = EVN_SHARE_AUTO;
	snprintf(first, sizeof first, "%.*s", (int)(n < SHOWN ? n : SHOWN), text);
	bool good = strcmp(first, "auto") == 0 || (number(first, &value) && value >= 0 && value <= 1e9);
	if (text[n])
		good &= number(text + n + 1, &second) && second >= 0 && second <= 1e9;
	if (!good)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"'%.*s' is neither auto nor a number from 0 to 1e9, or two such as 3/30, the second for prompts", SHOWN,
			text);
	*out = value;
	*prompts = second;
	return EVN_OK;
}

evn_status parse_shares(const char *text, share_list *out, evn_error *err)
{
	char item[SHOWN + 1];
	double sum = 0, prompt_sum = 0;
	out->n = 0;
	for (const char *rest = text; rest; out->n++) {
		if (out->n == EVN_MAX_RANKS || !next_item(&rest, item, sizeof item))
			return evn_fail(err, EVN_ERR_USAGE, "'%.*s': expected at most %d numbers such as 3,1", SHOWN, text,
							EVN_MAX_RANKS);
		double *value = &out->values[out->n], *prompts = &out->prompts[out->n];
		evn_status status = parse_share(item, value, prompts, err);
		if (status != EVN_OK)
			return status;
		if (*value == EVN_SHARE_AUTO)
			return evn_fail(err, EVN_ERR_USAGE, "'%.*s': expected numbers such as 3,1", SHOWN, text);
		sum += *value;
		prompt_sum += *prompts == EVN_SHARE_AUTO ? *value : *prompts;
	}
	if (!(sum > 0 && prompt_sum > 0))
		return evn_fail(err, EVN_ERR_USAGE, "'%.*s': all shares are zero, so no device would hold the model", SHOWN,
						text);
	return EVN_OK;
}

evn_status parse_ids(const char *text, int32_t **ids, size_t *n, evn_error *err)
{
	size_t count = 1;
	for (const char *c = text; *c; c++)
		count += *c == ',';
	int32_t *list = malloc(count * sizeof *list);
	if (!list)
		return evn_fail_memory(err, "the list of ids", 0);
	char item[SHOWN + 1];
	*n = 0;
	for (const char *rest = text; rest;) {
		int64_t id = 0;
		evn_status status = next_item(&rest, item, sizeof item)
								? parse_int(item, 0, INT32_MAX, &id, err)
								: evn_fail(err, EVN_ERR_USAGE, "'%.*s' is not a list of token ids", SHOWN, text);
		if (status != EVN_OK) {
			free(list);
			return evn_fail_within(err, "--ids");
		}
		list[(*n)++] = (int32_t)id;
	}
	*ids = list;
	return EVN_OK;
}
