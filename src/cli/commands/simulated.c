#include "cli/commands/simulated.h"
#include "base/base.h"
#include "cli/config/cluster_file.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "cli/show/text.h"
#include "plot/plot.h"

#include <math.h>
#include <stdio.h>

typedef struct {
	const settings *settings;
	const evn_model *model;
	evn_options options;
	cluster_file file;
	evn_simulation result;
	double seconds; /* that the simulation took */
} simulated;

/* ---- printing -------------------------------------------------------------------------------------------------- */

static json_t *nodes_json(const evn_sim_cluster *c, const evn_sim_plan *p)
{
	json_t *nodes = json_array();
	for (uint32_t k = 0; k < c->n_nodes; k++) {
		json_t *devices = json_array();
		for (uint32_t j = 0; j < c->nodes[k].n_devices && p->nodes[k]; j++)
			json_push(&devices, json_pack("{s:o, s:I}", "device", json_text(c->nodes[k].devices[j].name), "count",
										  (json_int_t)p->devices[k][j]));
		json_push(&nodes, json_pack("{s:o, s:I, s:o}", "node", json_text(c->nodes[k].name), "count",
									(json_int_t)p->nodes[k], "devices", devices));
	}
	return nodes;
}

static json_t *cut_json(const evn_sim_cluster *c, const evn_sim_plan *p, evn_sim_cut cut)
{
	return json_pack("{s:o, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "cut",
					 json_text(evn_sim_cut_name(cut)), "possible", p->possible, "copies", (json_int_t)p->n_groups,
					 "nodes", (json_int_t)p->n_nodes, "devices", (json_int_t)p->n_devices, "taken", nodes_json(c, p),
					 "decode_tok_s", json_number(p->decode_tok_s), "together_tok_s", json_number(p->together_tok_s),
					 "prefill_tok_s", json_number(p->prompt_tok_s), "all_reduce_us", json_number(p->all_reduce_us),
					 "node_bytes", json_number(p->node_bytes));
}

static evn_status print_json(const simulated *s, evn_error *err)
{
	json_t *cuts = json_array();
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++)
		json_push(&cuts, cut_json(&s->file.cluster, &s->result.cuts[cut], cut));
	return json_print(json_pack("{s:o, s:o, s:I, s:I, s:I, s:o}", "cuts", cuts, "best",
								json_text(evn_sim_cut_name(s->result.best)), "texts",
								(json_int_t)s->file.cluster.texts, "model_bytes", (json_int_t)s->result.model_bytes,
								"tried", (json_int_t)s->result.n_tried, "seconds", json_number(s->seconds)),
					  err);
}

static void put_speed(table *t, double value)
{
	if (value > 0)
		table_cell(t, value < 100 ? "%.1f" : "%.0f", value);
	else
		table_cell(t, "-");
}

static void put_count(table *t, uint32_t n)
{
	if (n)
		table_cell(t, "%u", n);
	else
		table_cell(t, "-");
}

static void put_cut(table *t, const evn_sim_plan *p, evn_sim_cut cut, bool several_texts)
{
	char bytes[32];
	table_cell(t, "%s", evn_sim_cut_name(cut));
	put_count(t, p->n_groups);
	put_count(t, p->n_nodes);
	put_count(t, p->n_devices);
	put_speed(t, p->decode_tok_s);
	if (several_texts)
		put_speed(t, p->together_tok_s);
	put_speed(t, p->prompt_tok_s);
	put_speed(t, p->all_reduce_us);
	table_cell(t, "%s", p->node_bytes > 0 ? text_bytes((uint64_t)p->node_bytes, bytes, sizeof bytes) : "-");
}

static evn_status print_cuts(const simulated *s, evn_error *err)
{
	const uint32_t texts = s->file.cluster.texts;
	table t = table_start(texts > 1 ? "lrrrrrrrr" : "lrrrrrrr");
	const char *const heads[] = {"cut",    "copies", "nodes",      "devices",
								 "decode", "prompt", "all-reduce", "bytes a token"};
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		if (i == 5 && texts > 1)
			table_cell(&t, "%u texts", texts);
		table_cell(&t, "%s", heads[i]);
	}
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++)
		put_cut(&t, &s->result.cuts[cut], cut, texts > 1);
	return table_print(&t, err);
}

static evn_status print_text(const simulated *s, evn_error *err)
{
	const evn_sim_cluster *c = &s->file.cluster;
	const evn_sim_plan *best = &s->result.cuts[s->result.best];
	char bytes[32];
	const evn_status status = print_cuts(s, err);
	printf(
		"\ntokens/s in decoding one text%s and in a prompt; us of an all-reduce of a token; bytes that the busiest "
		"node receives for it\n",
		c->texts > 1 ? ", in decoding all texts together," : "");
	printf("\nmodel          %s of weights and KV cache\n", text_bytes(s->result.model_bytes, bytes, sizeof bytes));
	printf("best           %s:", evn_sim_cut_name(s->result.best));
	for (uint32_t k = 0; k < c->n_nodes; k++)
		if (best->nodes[k]) {
			printf(" %u x %s with", best->nodes[k], c->nodes[k].name);
			for (uint32_t j = 0; j < c->nodes[k].n_devices; j++)
				if (best->devices[k][j])
					printf(" %u x %s", best->devices[k][j], c->nodes[k].devices[j].name);
		}
	printf("\npredicted      from %u splits in %.1f s\n", s->result.n_tried, s->seconds);
	return status;
}

/* ---- the picture ----------------------------------------------------------------------------------------------- */

#define MOST_POINTS 48

typedef struct {
	double nodes[MOST_POINTS], speeds[EVN_SIM_CUTS][MOST_POINTS];
	size_t n;
} curve;

static uint32_t count_nodes(const evn_sim_cluster *c)
{
	uint32_t n = 0;
	for (uint32_t k = 0; k < c->n_nodes; k++)
		n += c->nodes[k].count;
	return n;
}

/* The cluster with about n of its nodes, at least one of each kind. */
static evn_sim_cluster smaller(const evn_sim_cluster *c, uint32_t n)
{
	evn_sim_cluster s = *c;
	const double part = (double)n / count_nodes(c);
	for (uint32_t k = 0; k < c->n_nodes; k++)
		s.nodes[k].count = (uint32_t)fmax(1, round(part * c->nodes[k].count));
	return s;
}

static evn_status add_point(curve *points, const simulated *s, uint32_t n, evn_error *err)
{
	const evn_sim_cluster c = smaller(&s->file.cluster, n);
	evn_simulation result;
	const evn_status status = evn_simulate(&result, &c, s->model, &s->options, err);
	if (status == EVN_ERR_LIMIT) /* so few nodes cannot hold the model */
		return EVN_OK;
	if (status != EVN_OK)
		return status;
	points->nodes[points->n] = count_nodes(&c);
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++)
		points->speeds[cut][points->n] = result.cuts[cut].together_tok_s; /* 0: a gap */
	points->n++;
	return EVN_OK;
}

static evn_status draw(const simulated *s, evn_error *err)
{
	const uint32_t most = count_nodes(&s->file.cluster), texts = s->file.cluster.texts;
	curve points = {0};
	char title[160], label[80], bytes[32];
	for (uint32_t n = 1, half = 0; points.n < MOST_POINTS;) { /* 1, 2, 3, 4, 6, 8, 12, ... */
		evn_status status = add_point(&points, s, n, err);
		if (status != EVN_OK)
			return status;
		if (n == most)
			break;
		half = n < 2 ? 0 : n & (n - 1) ? n / 3 : n / 2;
		n = n < 2 ? 2 : n + half < most ? n + half : most;
	}
	evn_plot_series series[EVN_SIM_CUTS];
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++)
		series[cut] = (evn_plot_series){
			.name = evn_sim_cut_name(cut), .n = points.n, .x = points.nodes, .y = points.speeds[cut]};
	snprintf(title, sizeof title, "A model of %s over nodes, predicted",
			 text_bytes(s->result.model_bytes, bytes, sizeof bytes));
	snprintf(label, sizeof label, texts > 1 ? "decoding %u texts together (tokens/s)" : "decoding (tokens/s)", texts);
	const evn_line_chart chart = {.title = title,
								  .x_label = "nodes",
								  .y_label = label,
								  .x_log = true,
								  .y_log = true,
								  .series = series,
								  .n_series = EVN_SIM_CUTS};
	return evn_plot_line_chart(s->settings->image, &chart, err);
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static evn_status run(simulated *s, evn_error *err)
{
	const uint64_t began = evn_now_ns();
	evn_status status = evn_simulate(&s->result, &s->file.cluster, s->model, &s->options, err);
	s->seconds = (double)(evn_now_ns() - began) * 1e-9;
	if (status == EVN_OK)
		status = s->settings->json ? print_json(s, err) : print_text(s, err);
	if (status == EVN_OK && s->settings->image)
		status = draw(s, err);
	return status;
}

evn_status simulated_print(const settings *in, evn_error *err)
{
	simulated s = {.settings = in, .options = settings_engine_options(in)};
	evn_model *model = NULL;
	evn_status status = cluster_file_load(&s.file, in->simulate, err);
	if (status == EVN_OK)
		status = settings_open_model(in, &model, err);
	s.model = model;
	if (status == EVN_OK)
		status = run(&s, err);
	evn_model_close(model);
	cluster_file_free(&s.file);
	return status;
}
