/* axis.c - axes with ticks at 1, 2 and 5 times powers of ten, and labels with only as many digits as the step
 * needs. */
#include "plot/axis.h"

#include <math.h>
#include <stdio.h>

double evn_nice_step(double least)
{
	double power = pow(10, floor(log10(least))), ratio = least / power;
	const double slack = 1 + 1e-9; /* a quotient that should be 2 may come out just above */
	return power * (ratio <= slack ? 1 : ratio <= 2 * slack ? 2 : ratio <= 5 * slack ? 5 : 10);
}

/* Writes 20000 as 20k on an axis with large numbers. */
static void label(char *out, size_t size, double value, double step, double largest)
{
	static const struct {
		double from, unit;
		const char *suffix;
	} scales[] = {{1e15, 1, ""}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}, {0, 1, ""}};
	size_t i = 0;
	while (largest < scales[i].from)
		i++;
	double digits = -floor(log10(step / scales[i].unit) + 1e-9);
	if (value == 0 && digits <= 0)
		snprintf(out, size, "0");
	else if (largest >= 1e15 || digits > 5)
		snprintf(out, size, "%.3g", value);
	else
		snprintf(out, size, "%.*f%s", digits > 0 ? (int)digits : 0, value / scales[i].unit + 0.0, scales[i].suffix);
}

static void add_tick(evn_axis *a, double value)
{
	const double slack = 1e-9 * (a->log ? value : a->max - a->min);
	if (a->n_ticks < EVN_AXIS_TICKS && value >= a->min - slack && value <= a->max + slack)
		a->ticks[a->n_ticks++] = value;
}

static void linear_ticks(evn_axis *a, bool round, uint32_t most)
{
	if (!(a->max > a->min)) { /* one value: make an axis around it */
		double around = a->min != 0 ? fabs(a->min) * 0.1 : 1;
		a->min -= around;
		a->max += around;
	}
	double step = evn_nice_step((a->max - a->min) / most), slack = 1e-9;
	if (round) {
		a->min = floor(a->min / step + slack) * step;
		a->max = ceil(a->max / step - slack) * step;
	}
	double first = ceil(a->min / step - slack), largest = fmax(fabs(a->min), fabs(a->max));
	for (uint32_t i = 0; i < EVN_AXIS_TICKS; i++)
		add_tick(a, (first + i) * step);
	for (uint32_t i = 0; i < a->n_ticks; i++) {
		if (fabs(a->ticks[i]) < step * 1e-6)
			a->ticks[i] = 0; /* not -0 */
		label(a->labels[i], sizeof a->labels[i], a->ticks[i], step, largest);
	}
}

/* Ticks at powers of ten, fewer if there are many. If there are few, ticks at 2 and 5 between them. */
static void log_ticks(evn_axis *a, bool round, uint32_t most)
{
	static const double between[] = {1, 2, 5};
	if (!(a->max > a->min)) {
		a->min /= 2;
		a->max *= 2;
	}
	double low = floor(log10(a->min) + 1e-9), high = ceil(log10(a->max) - 1e-9);
	bool few = (high - low) * 3 <= most;
	if (round && few) {
		a->min = pow(10, low) * (a->min >= 5 * pow(10, low) ? 5 : a->min >= 2 * pow(10, low) ? 2 : 1);
		a->max = pow(10, high) * (a->max <= 0.2 * pow(10, high) ? 0.2 : a->max <= 0.5 * pow(10, high) ? 0.5 : 1);
	} else if (round) {
		a->min = pow(10, low);
		a->max = pow(10, high);
	}
	double step = few ? 1 : ceil((high - low) / most);
	for (double e = low; e <= high; e += step)
		for (size_t i = 0; i < (few ? 3 : 1); i++)
			add_tick(a, between[i] * pow(10, e));
	for (uint32_t i = 0; i < a->n_ticks; i++)
		snprintf(a->labels[i], sizeof a->labels[i], "%.6g", a->ticks[i]);
}

evn_axis evn_axis_make(double low, double high, bool log, bool round, uint32_t most_ticks)
{
	evn_axis a = {.min = low, .max = high, .log = log};
	if (log)
		log_ticks(&a, round, most_ticks);
	else
		linear_ticks(&a, round, most_ticks);
	return a;
}

double evn_axis_place(const evn_axis *a, double value)
{
	return a->log ? log(value / a->min) / log(a->max / a->min) : (value - a->min) / (a->max - a->min);
}
