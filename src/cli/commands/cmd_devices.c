/* cmd_devices.c - evener devices: the OpenCL devices of this machine. */
#include "cli/cli.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "cli/show/text.h"

#include <stdio.h>

static json_t *rate_json(const evn_device_info *d, double value)
{
	return d->measured.taken_s > 0 ? json_number(value) : json_null();
}

static json_t *device_json(const evn_device_info *d)
{
	json_t *features = json_array();
	for (size_t i = 0; i < d->n_features; i++)
		json_push(&features, json_text(d->features[i]));
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:b, s:o, s:b, s:o, s:o, "
		"s:o, s:o, s:o, s:o, s:o}",
		"id", json_text(d->id), "stable_id", json_text(d->stable_id), "platform", json_text(d->platform),
		"platform_name", json_text(d->platform_name), "name", json_text(d->name), "vendor", json_text(d->vendor),
		"driver", json_text(d->driver), "type", json_text(d->type), "opencl", json_text(d->opencl), "compute_units",
		(json_int_t)d->compute_units, "memory_bytes", (json_int_t)d->memory_bytes, "max_alloc_bytes",
		(json_int_t)d->max_alloc_bytes, "local_bytes", (json_int_t)d->local_bytes, "free_bytes",
		d->free_bytes ? json_integer((json_int_t)d->free_bytes) : json_null(), "unified_memory", d->unified_memory,
		"features", features, "usable", d->usable, "reason", json_text(d->reason), "same_chip_as",
		json_text(d->same_chip_as), "gemv_gbs", rate_json(d, d->gemv_gbs), "gemm_gflops",
		rate_json(d, d->gemm_gflops), "launch_us", rate_json(d, d->launch_us), "map_us", rate_json(d, d->map_us),
		"measured", json_measured(&d->measured));
}

static evn_status print_devices_json(const evn_device_list *l, evn_error *err)
{
	json_t *devices = json_array(), *problems = json_array();
	for (size_t i = 0; i < evn_devices_count(l); i++)
		json_push(&devices, device_json(evn_devices_get(l, i)));
	for (size_t i = 0; i < evn_devices_problem_count(l); i++) {
		evn_driver_problem p = evn_devices_problem(l, i);
		json_push(&problems, json_pack("{s:o, s:o}", "driver", json_text(p.driver), "reason", json_text(p.reason)));
	}
	return json_print(json_pack("{s:o, s:o}", "devices", devices, "problems", problems), err);
}

static void rate_cell(table *t, const evn_device_info *d, double value)
{
	if (d->measured.taken_s > 0)
		table_cell(t, "%.1f", value);
	else
		table_cell(t, "-");
}

static evn_status print_devices_table(const evn_device_list *l, evn_error *err)
{
	static const char *const heads[] = {"id",      "platform",  "type",   "CUs",    "memory", "GB/s",
										"GFLOP/s", "launch us", "map us", "usable", "name"};
	table t = table_start("lllrrrrrrll");
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < evn_devices_count(l); i++) {
		const evn_device_info *d = evn_devices_get(l, i);
		char memory[32];
		table_cell(&t, "%s", d->id);
		table_cell(&t, "%s", d->platform);
		table_cell(&t, "%s", d->type);
		table_cell(&t, "%u", d->compute_units);
		table_cell(&t, "%s", text_bytes(d->memory_bytes, memory, sizeof memory));
		rate_cell(&t, d, d->gemv_gbs);
		rate_cell(&t, d, d->gemm_gflops);
		rate_cell(&t, d, d->launch_us);
		rate_cell(&t, d, d->map_us);
		table_cell(&t, "%s", d->usable ? "yes" : "no");
		table_cell(&t, "%s", d->name);
	}
	return table_print(&t, err);
}

/* Prints a line with a text from a driver, which may hold any bytes. The format is ours. */
static void print_name(const char *before, const char *text, const char *after)
{
	char line[512];
	snprintf(line, sizeof line, "%s", text);
	text_printable(line);
	printf("%s%s%s", before, line, after);
}

static void print_measured(const evn_measured *m)
{
	char text[160];
	printf("     %s\n", text_measured(m, text, sizeof text));
}

/* Prints what does not fit into a row of the table. */
static void print_details(const evn_device_list *l)
{
	for (size_t i = 0; i < evn_devices_count(l); i++) {
		const evn_device_info *d = evn_devices_get(l, i);
		print_name("\n", d->id, "");
		print_name("  ", d->stable_id, "");
		print_name("\n     ", d->platform_name, "");
		print_name(", driver ", d->driver, "");
		print_name(", ", d->opencl, "\n    ");
		for (size_t f = 0; f < d->n_features; f++)
			print_name(" ", d->features[f], "");
		puts(d->n_features ? "" : " no optional features");
		if (d->same_chip_as)
			print_name("     same chip as ", d->same_chip_as, "\n");
		if (d->reason)
			print_name("     not usable: ", d->reason, "\n");
		else
			print_measured(&d->measured);
	}
	for (size_t i = 0; i < evn_devices_problem_count(l); i++) {
		evn_driver_problem p = evn_devices_problem(l, i);
		print_name("\ndriver ", p.driver, "");
		print_name(": ", p.reason, "\n");
	}
}

evn_status cmd_devices(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	evn_device_list *l = NULL;
	evn_status status = evn_devices_find(&l, s->measure, console_progress, NULL, err);
	console_progress_end();
	if (status == EVN_OK && s->json) {
		status = print_devices_json(l, err);
	} else if (status == EVN_OK) {
		if (evn_devices_count(l) == 0)
			puts("no OpenCL device");
		else
			status = print_devices_table(l, err);
		print_details(l);
	}
	evn_devices_free(l);
	return status;
}
