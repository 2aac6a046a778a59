#include "engine/follow.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cluster.h"
#include "nn/top.h"

typedef enum { END, STEP, GROWTH, TIMING } command;

/* What node 0 says. The first part of it has FIRST_BYTES at most; what is longer comes in a second message. */
#define FIRST_BYTES 32768u
typedef struct {
	uint64_t bytes; /* in all */
	uint32_t command, n_sessions, n_times, n_rows, n_spans, n_blocks, output, n_out, n_lists, n_top, n_pieces;
	uint64_t n_floats;
} header;

typedef struct {
	uint32_t first_row, n_rows, position, phase, n_blocks;
	uint32_t state, n_state, second; /* of the slot */
	uint32_t goes_on;                /* the slot is that of the span before */
} sent_span;

/* The message: header, spans, block tables, output rows, rows of x. */
struct evn_following {
	uint8_t *message, *outputs;
	uint64_t room, outputs_room;
	evn_span *spans;
	evn_slot *slots;
	uint32_t *out_rows;
	void *out;
};

bool evn_engine_leads(const evn_engine *e) { return e->following && evn_cluster_node(e->prepared.cluster) == 0; }

static evn_nodes *nodes_of(const evn_engine *e) { return e->prepared.nodes.nodes; }

static evn_status reserve(uint8_t **buffer, uint64_t *room, uint64_t bytes, evn_error *err)
{
	if (bytes <= *room)
		return EVN_OK;
	uint8_t *more = realloc(*buffer, bytes);
	if (!more)
		return evn_fail_memory(err, "messages of nodes", bytes);
	*buffer = more;
	*room = bytes;
	return EVN_OK;
}

/* Nodes that wait for their work have no deadline: a server may be idle for days. */
evn_node_wait evn_engine_node_wait(const evn_engine *e)
{
	return (evn_node_wait){.deadline_ms =
							   (e->options.deadline_s ? e->options.deadline_s * 1000 : EVN_COMM_DEADLINE_MS)};
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

static evn_status create(struct evn_following **out, evn_error *err)
{
	struct evn_following *f = *out = calloc(1, sizeof *f);
	return f ? reserve(&f->message, &f->room, FIRST_BYTES, err) : evn_fail_memory(err, "cluster", sizeof *f);
}

evn_status evn_follow_loaded(evn_engine *e, evn_status loaded, evn_error *err)
{
	evn_error own = {0};
	if (!e->prepared.cluster)
		return loaded;
	if (err)
		own = *err;
	struct evn_following *f = NULL;
	if (loaded == EVN_OK)
		loaded = create(&f, &own);
	evn_status s = evn_cluster_agree(e->prepared.cluster, loaded, &own);
	for (uint32_t i = e->begin; i < e->end && s == EVN_OK; i++)
		memcpy(e->read_bytes[i], e->ranks[i].view->read_bytes, sizeof e->read_bytes[i]);
	const evn_node_slots bytes = {.base = (uint8_t *)e->read_bytes,
								  .apart = sizeof e->read_bytes[0],
								  .bytes = sizeof e->read_bytes[0],
								  .used = UINT64_MAX,
								  .first = e->prepared.nodes.first};
	if (s == EVN_OK)
		s = evn_nodes_exchange(nodes_of(e), &bytes, NULL, &own);
	if (s == EVN_OK)
		e->following = f; /* from now on node 0 tells the others when it ends */
	else
		evn_following_free(f);
	if (err)
		*err = own;
	return s;
}

void evn_following_free(struct evn_following *f)
{
	if (!f)
		return;
	free(f->message);
	free(f->outputs);
	free(f->spans);
	free(f->slots);
	free(f->out_rows);
	free(f->out);
	free(f);
}

/* ---- node 0 tells ---------------------------------------------------------------------------------------------- */

/* The message is complete. */
static evn_status send(evn_engine *e, uint64_t bytes, evn_error *err)
{
	struct evn_following *f = e->following;
	const evn_node_wait wait = evn_engine_node_wait(e);
	((header *)(void *)f->message)->bytes = bytes;
	EVN_TRY(evn_nodes_broadcast(nodes_of(e), f->message, bytes < FIRST_BYTES ? bytes : FIRST_BYTES, &wait, err));
	return bytes <= FIRST_BYTES
			   ? EVN_OK
			   : evn_nodes_broadcast(nodes_of(e), f->message + FIRST_BYTES, bytes - FIRST_BYTES, &wait, err);
}

static evn_status send_header(evn_engine *e, header h, evn_error *err)
{
	memcpy(e->following->message, &h, sizeof h);
	return send(e, sizeof h, err);
}

evn_status evn_lead_growth(evn_engine *e, evn_error *err)
{
	return evn_engine_leads(e) ? send_header(e, (header){.command = GROWTH, .n_sessions = e->n_sessions}, err)
							   : EVN_OK;
}

evn_status evn_lead_timing(evn_engine *e, uint64_t n_floats, uint32_t n, evn_error *err)
{
	return evn_engine_leads(e) ? send_header(e, (header){.command = TIMING, .n_floats = n_floats, .n_times = n}, err)
							   : EVN_OK;
}

void evn_lead_end(evn_engine *e)
{
	if (evn_engine_leads(e) && e->dead.code == EVN_OK)
		send_header(e, (header){.command = END}, NULL);
}

/* In a pipeline the rows go from node to node. */
static uint64_t x_floats(const evn_engine *e, uint32_t n_rows)
{
	return e->pipeline ? 0 : (uint64_t)n_rows * e->embedding.stride;
}

static uint64_t step_bytes(const evn_engine *e, const header *h)
{
	return sizeof *h + h->n_spans * sizeof(sent_span) + (h->n_blocks + (uint64_t)h->n_out) * sizeof(uint32_t) +
		   x_floats(e, h->n_rows) * sizeof(float);
}

static uint8_t *put(uint8_t *to, const void *from, uint64_t bytes)
{
	return bytes ? (uint8_t *)memcpy(to, from, bytes) + bytes : to;
}

evn_status evn_lead_step(evn_engine *e, const evn_batch *batch, evn_error *err)
{
	if (!evn_engine_leads(e))
		return EVN_OK;
	struct evn_following *f = e->following;
	header h = {.command = STEP,
				.n_rows = batch->n_rows,
				.n_spans = batch->n_spans,
				.output = batch->output,
				.n_out = batch->n_out,
				.n_lists = batch->n_lists,
				.n_top = batch->n_top,
				.n_pieces = batch->n_pieces};
	for (uint32_t i = 0; i < batch->n_spans; i++)
		h.n_blocks += batch->spans[i].slot->n_blocks;
	const uint64_t bytes = step_bytes(e, &h);
	EVN_TRY(reserve(&f->message, &f->room, bytes, err));
	uint8_t *at = put(f->message, &h, sizeof h);
	for (uint32_t i = 0; i < batch->n_spans; i++) {
		const evn_span *s = &batch->spans[i];
		at = put(at,
				 &(sent_span){s->first_row, s->n_rows, s->position, s->phase, s->slot->n_blocks, s->slot->state,
							  s->slot->n_state, s->slot->second, i > 0 && s->slot == s[-1].slot},
				 sizeof(sent_span));
	}
	for (uint32_t i = 0; i < batch->n_spans; i++)
		at = put(at, batch->spans[i].slot->table, batch->spans[i].slot->n_blocks * sizeof(uint32_t));
	at = put(at, batch->out_rows, batch->n_out * sizeof(uint32_t));
	put(at, batch->x, x_floats(e, batch->n_rows) * sizeof(float));
	return send(e, bytes, err);
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

/* The columns of a row of the output that a node has computed, in units of its numbers. */
typedef struct {
	uint32_t begin, end;
} columns;

static bool is_hidden(const evn_batch *b) { return b->output == EVN_OUT_HIDDEN || b->output == EVN_OUT_POOLED; }

/* The rows of the output; pooled rows are one for each span. */
static uint32_t rows_of(const evn_batch *b) { return b->output == EVN_OUT_POOLED ? b->n_spans : b->n_out; }

/* The numbers of a row. */
static uint64_t width_of(const evn_engine *e, const evn_batch *b)
{
	const evn_hparams *h = evn_model_hparams(e->model);
	return b->output == EVN_OUT_TOP ? (uint64_t)b->n_lists * b->n_top : is_hidden(b) ? h->dim : h->vocab;
}

static columns columns_of(const evn_engine *e, const evn_batch *b, uint32_t node)
{
	columns c = {0, 0};
	if (is_hidden(b)) /* the last node of a pipeline; otherwise node 0 */
		return (columns){0, node && e->pipeline && node == e->prepared.stages.last ? (uint32_t)width_of(e, b) : 0};
	for (uint32_t r = e->prepared.nodes.first[node]; r < e->prepared.nodes.first[node + 1]; r++) {
		const evn_range v = evn_split_part(&e->prepared.split, EVN_PLAN_VOCAB, 0, r)->used[EVN_DECODE];
		const bool top = b->output == EVN_OUT_TOP;
		const uint32_t begin = top ? evn_top_first_list(v.begin, r) * b->n_top : v.begin;
		const uint32_t end = top ? begin + evn_top_slices(evn_range_len(v)) * b->n_top : v.end;
		if (!evn_range_len(v))
			continue;
		c.begin = c.end ? c.begin : begin;
		c.end = end;
	}
	return c;
}

/* Copies a node's columns of all rows of the output to or from memory where they follow each other. */
static void copy_columns(const evn_batch *b, uint64_t width, columns c, uint8_t *packed, bool pack)
{
	const bool top = b->output == EVN_OUT_TOP;
	const uint64_t unit = top ? sizeof *b->top : sizeof *b->out;
	const uint64_t row = width * unit;
	const uint64_t bytes = (c.end - c.begin) * unit;
	for (uint32_t i = 0; i < rows_of(b) && bytes; i++) {
		uint8_t *of_row = (top ? (uint8_t *)b->top : (uint8_t *)b->out) + i * row + c.begin * unit;
		memcpy(pack ? packed + i * bytes : of_row, pack ? of_row : packed + i * bytes, bytes);
	}
}

static uint64_t packed_bytes(const evn_batch *b, columns c)
{
	return (uint64_t)rows_of(b) * (c.end - c.begin) * (b->output == EVN_OUT_TOP ? sizeof *b->top : sizeof *b->out);
}

evn_status evn_follow_outputs(evn_engine *e, const evn_batch *b, evn_error *err)
{
	if (!e->following)
		return EVN_OK;
	uint64_t begins[EVN_MAX_NODES + 1] = {0};
	const uint32_t n = evn_nodes_count(nodes_of(e)), own = evn_nodes_index(nodes_of(e));
	const uint32_t *first = e->prepared.nodes.first;
	const uint64_t width = width_of(e, b);
	struct evn_following *f = e->following;
	const evn_node_wait wait = evn_engine_node_wait(e);
	for (uint32_t i = 0; i < n; i++)
		begins[i + 1] =
			begins[i] + (first[i + 1] - first[i]) * sizeof(evn_comm_times) + packed_bytes(b, columns_of(e, b, i));
	EVN_TRY(reserve(&f->outputs, &f->outputs_room, begins[n], err));
	uint8_t *at = f->outputs + begins[own];
	for (uint32_t r = first[own]; r < first[own + 1]; r++)
		at = put(at, &(evn_comm_times[]){evn_comm_rank_times(e->comm, r)}, sizeof(evn_comm_times));
	if (own && packed_bytes(b, columns_of(e, b, own)))
		copy_columns(b, width, columns_of(e, b, own), at, true);
	EVN_TRY(evn_nodes_gather(nodes_of(e), f->outputs, begins, &wait, err));
	for (uint32_t i = 1; i < n && !own; i++) {
		at = f->outputs + begins[i];
		for (uint32_t r = first[i]; r < first[i + 1]; r++, at += sizeof(evn_comm_times)) {
			evn_comm_times times;
			memcpy(&times, at, sizeof times);
			evn_comm_set_rank_times(e->comm, r, times);
		}
		if (packed_bytes(b, columns_of(e, b, i)))
			copy_columns(b, width, columns_of(e, b, i), at, false);
	}
	return EVN_OK;
}

/* ---- the other nodes do ---------------------------------------------------------------------------------------- */

static evn_status receive(evn_engine *e, header *h, evn_error *err)
{
	struct evn_following *f = e->following;
	EVN_TRY(evn_nodes_broadcast(nodes_of(e), f->message, FIRST_BYTES, NULL, err));
	memcpy(h, f->message, sizeof *h);
	EVN_TRY(reserve(&f->message, &f->room, h->bytes, err));
	return h->bytes <= FIRST_BYTES
			   ? EVN_OK
			   : evn_nodes_broadcast(nodes_of(e), f->message + FIRST_BYTES, h->bytes - FIRST_BYTES, NULL, err);
}

static evn_status make_room(struct evn_following *f, const header *h, uint64_t out_bytes, evn_error *err)
{
	free(f->spans);
	free(f->slots);
	free(f->out_rows);
	free(f->out);
	f->spans = calloc(h->n_spans + 1u, sizeof *f->spans);
	f->slots = calloc(h->n_spans + 1u, sizeof *f->slots);
	f->out_rows = calloc(h->n_out + 1u, sizeof *f->out_rows);
	f->out = malloc(out_bytes + 1);
	return f->spans && f->slots && f->out_rows && f->out ? EVN_OK : evn_fail_memory(err, "step", out_bytes);
}

/* The tables of the slots and x stay in the message. */
static void read_spans(struct evn_following *f, const header *h, evn_batch *b)
{
	uint8_t *at = f->message + sizeof *h, *table = at + h->n_spans * sizeof(sent_span);
	for (uint32_t i = 0; i < h->n_spans; i++, at += sizeof(sent_span)) {
		sent_span s;
		memcpy(&s, at, sizeof s);
		f->slots[i] = (evn_slot){.n_blocks = s.n_blocks,
								 .room = s.n_blocks,
								 .table = (uint32_t *)(void *)table,
								 .state = s.state,
								 .n_state = s.n_state,
								 .second = s.second != 0};
		f->spans[i] = (evn_span){.slot = s.goes_on && i ? f->spans[i - 1].slot : &f->slots[i],
								 .first_row = s.first_row,
								 .n_rows = s.n_rows,
								 .position = s.position,
								 .phase = (evn_phase)s.phase};
		table += s.n_blocks * sizeof(uint32_t);
	}
	put((uint8_t *)f->out_rows, table, h->n_out * sizeof(uint32_t));
	b->x = (const float *)(const void *)(table + h->n_out * sizeof(uint32_t));
}

static evn_status follow_step(evn_engine *e, const header *h, evn_error *err)
{
	struct evn_following *f = e->following;
	const evn_hparams *p = evn_model_hparams(e->model);
	const uint64_t wide = h->output == EVN_OUT_LOGITS ? p->vocab : p->dim;
	const uint64_t top_bytes = (uint64_t)h->n_out * h->n_lists * h->n_top * sizeof(uint64_t);
	const uint64_t rows = h->n_out > h->n_spans ? h->n_out : h->n_spans; /* pooled rows: one for each span */
	const uint64_t bytes = h->output == EVN_OUT_TOP ? top_bytes : rows * wide * sizeof(float);
	EVN_TRY(make_room(f, h, bytes, err));
	evn_batch b = {.n_rows = h->n_rows,
				   .n_spans = h->n_spans,
				   .spans = f->spans,
				   .output = (evn_output)h->output,
				   .n_out = h->n_out,
				   .out_rows = f->out_rows,
				   .n_lists = h->n_lists,
				   .n_top = h->n_top,
				   .n_pieces = h->n_pieces};
	read_spans(f, h, &b);
	if (h->output == EVN_OUT_TOP)
		b.top = memset(f->out, 0xff, bytes + 1); /* EVN_TOP_NONE */
	else
		b.out = f->out;
	return evn_engine_step(e, &b, NULL, err);
}

static evn_status follow(evn_engine *e, evn_error *err)
{
	evn_status s = EVN_OK;
	for (header h = {.command = STEP}; s == EVN_OK && h.command != END;) {
		s = receive(e, &h, err);
		if (s != EVN_OK || h.command == END)
			break;
		pthread_mutex_lock(&e->lock);
		e->n_sessions = h.command == GROWTH ? h.n_sessions : e->n_sessions;
		s = h.command == GROWTH   ? evn_engine_grow_cache(e, err)
			: h.command == TIMING ? evn_engine_run_timing(e, h.n_floats, h.n_times, NULL, err)
								  : follow_step(e, &h, err);
		pthread_mutex_unlock(&e->lock);
	}
	return s;
}

evn_status evn_cluster_follow(evn_cluster *c, const evn_model *m, const evn_options *o, evn_error *err)
{
	evn_engine *e;
	evn_options with = *o;
	with.cluster = c;
	EVN_TRY(evn_engine_open(&e, m, &with, err));
	const evn_status s = follow(e, err);
	evn_engine_close(e);
	return s;
}
