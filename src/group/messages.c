/* messages.c - the buffers of messages, and messages in shorter formats than f32. A kernel packs every rank's partial
 * sum. All ranks add the packed messages, each also its own, so all have the same sums. */
#include <stdlib.h>
#include <string.h>

#include "group/method.h"

/* The error of rounding to nearest is half a unit in the last place: of 11 bits, of 8 bits, and of 1 / 127 of the
 * block's largest magnitude. The scale of a q8 block is up to 2^-7 too large. */
static const evn_message_format formats[] = {
	[EVN_MESSAGES_F32] = {EVN_MESSAGES_F32, "f32", 32 * 4, 0},
	[EVN_MESSAGES_F16] = {EVN_MESSAGES_F16, "f16", 32 * 2, 0x1p-11},
	[EVN_MESSAGES_BF16] = {EVN_MESSAGES_BF16, "bf16", 32 * 2, 0x1p-8},
	[EVN_MESSAGES_Q8] = {EVN_MESSAGES_Q8, "q8", 34, 0.5 / 127 * (1 + 0x1p-7) + 0x1p-20},
};

const evn_message_format *evn_message_format_of(evn_message_type type) { return &formats[type]; }

uint64_t evn_message_bytes(const evn_message_format *f, uint64_t n_floats)
{
	return evn_round_up(n_floats, 32) / 32 * f->block_bytes;
}

uint64_t evn_comm_message_bytes(evn_message_type messages, uint64_t n_floats)
{
	return evn_message_bytes(&formats[messages], n_floats);
}

static uint64_t bytes_apart(const evn_message_format *f, uint64_t n_floats)
{
	return evn_round_up(evn_message_bytes(f, n_floats), EVN_PART_ALIGN);
}

/* The most is needed with staging: copies of all messages, and those of the second stream, which are half as long.
 * The second stream of flags is two more messages of the rank itself. */
uint64_t evn_comm_peer_bytes(evn_message_type messages, uint64_t max_floats)
{
	uint64_t packed = messages == EVN_MESSAGES_F32 ? 0 : bytes_apart(&formats[messages], max_floats);
	uint64_t plain = bytes_apart(&formats[EVN_MESSAGES_F32], max_floats);
	return EVN_BUFFERS * (plain + packed + evn_round_up((plain + packed) / 2, EVN_PART_ALIGN));
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

static evn_device *device_of(const evn_comm *c, uint32_t rank) { return evn_queue_device(c->members[rank].queue); }

/* The buffers are cleared, because partial sums are written only up to the weights' width and the padding behind it
 * is added too. */
static evn_status create_messages(evn_messages *m, evn_comm *c, uint32_t rank, uint64_t apart, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	EVN_TRY(evn_buf_create(&m->all, evn_queue_device(q), c->n_ranks * apart, EVN_BUF_DEVICE, "messages", err));
	for (uint32_t i = 0; i < c->n_ranks; i++)
		EVN_TRY(evn_buf_part(&m->of[i], m->all, i * apart, apart, "messages", err));
	EVN_TRY(evn_fill_zero(q, m->all, err));
	return evn_queue_finish(q, err);
}

static evn_status wrap_messages(evn_messages *m, evn_comm *c, uint32_t rank, uint64_t apart, uint8_t *host,
								evn_error *err)
{
	evn_device *d = device_of(c, rank);
	EVN_TRY(evn_buf_wrap(&m->all, d, host, c->n_ranks * apart, "messages", err));
	return evn_buf_wrap(&m->of[rank], d, host + rank * apart, apart, "messages", err);
}

static evn_messages *messages_of(const evn_store *st, uint32_t rank, uint32_t i)
{
	return &st->messages[rank * st->n_messages + i];
}

static evn_status create_host_memory(evn_store *st, const evn_comm *c, evn_error *err)
{
	const uint64_t bytes = st->n_messages * c->n_ranks * st->apart;
	st->host = aligned_alloc(EVN_PART_ALIGN, bytes);
	if (!st->host)
		return evn_fail_memory(err, "messages", bytes);
	memset(st->host, 0, bytes);
	return EVN_OK;
}

static evn_status create_buffers(evn_store *st, evn_comm *c, evn_error *err)
{
	if (st->host) {
		for (uint32_t rank = c->begin; rank < c->end; rank++)
			for (uint32_t i = 0; i < st->n_messages; i++)
				EVN_TRY(wrap_messages(messages_of(st, rank, i), c, rank, st->apart,
									  st->host + i * c->n_ranks * st->apart, err));
		return EVN_OK;
	}
	for (uint32_t rank = c->begin; rank < (st->copies ? c->end : c->begin + 1); rank++)
		for (uint32_t i = 0; i < st->n_messages; i++)
			EVN_TRY(create_messages(messages_of(st, rank, i), c, rank, evn_store_apart(st, i / EVN_BUFFERS), err));
	for (uint32_t rank = c->begin + 1; rank < c->end && !st->copies; rank++)
		for (uint32_t i = 0; i < st->n_messages; i++)
			*messages_of(st, rank, i) = *messages_of(st, c->begin, i);
	return EVN_OK;
}

evn_status evn_store_create(evn_store *st, evn_comm *c, const evn_message_format *f, bool in_host_memory,
							evn_error *err)
{
	bool staged = false;
	for (uint32_t i = c->begin; i < c->end && evn_n_added(c) > 1 && !in_host_memory; i++)
		staged |= !evn_device_unified_memory(device_of(c, i));
	*st = (evn_store){.format = f,
					  .apart = bytes_apart(f, c->max_floats),
					  .n_messages = in_host_memory || staged ? EVN_STREAMS * EVN_BUFFERS : EVN_BUFFERS,
					  .copies = staged || (!in_host_memory && (c->nodes || !evn_one_context(c)))};
	if (staged)
		EVN_TRY(evn_stages_create(st, c, err));
	const size_t n = (size_t)c->n_ranks * st->n_messages;
	st->messages = calloc(n, sizeof *st->messages);
	evn_buf **parts = calloc(n * c->n_ranks, sizeof *parts);
	if (!st->messages || !parts) {
		free(parts);
		free(st->messages);
		st->messages = NULL; /* there is nothing that they name */
		return evn_fail_memory(err, "messages", n * (sizeof *st->messages + c->n_ranks * sizeof *parts));
	}
	for (size_t i = 0; i < n; i++)
		st->messages[i].of = parts + i * c->n_ranks;
	if (in_host_memory)
		EVN_TRY(create_host_memory(st, c, err));
	return create_buffers(st, c, err);
}

void evn_store_free(evn_store *st, const evn_comm *c)
{
	evn_stages_free(st, c);
	if (!st->messages)
		return;
	evn_buf **parts = st->messages[0].of;
	const bool one_owner = !st->copies && !st->host; /* the first rank of this process */
	const size_t first = one_owner ? (size_t)c->begin * st->n_messages : 0;
	const size_t end = one_owner ? first + st->n_messages : (size_t)c->n_ranks * st->n_messages;
	for (size_t i = first; i < end; i++) {
		for (uint32_t k = 0; k < c->n_ranks; k++)
			evn_buf_free(st->messages[i].of[k]);
		evn_buf_free(st->messages[i].all);
	}
	free(parts);
	free(st->messages);
	free(st->host);
	*st = (evn_store){0};
}

/* ---- packing --------------------------------------------------------------------------------------------------- */

bool evn_packs(const evn_comm *c, const evn_sum *s) { return c->packing && s->packs; }

evn_status evn_pack(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	if (!evn_packs(c, s) || !(s->ranks >> rank & 1))
		return EVN_OK;
	if (!m->pack) {
		evn_spec spec = evn_spec_of("pack.cl");
		evn_spec_part(&spec, "MESSAGE", "message/%s.cl", c->packing->kernel);
		EVN_TRY(evn_kernel_get(&m->pack, m->queue, &spec, "pack", err));
	}
	evn_args a = evn_args_begin(m->pack);
	evn_arg_buf(&a, evn_store_next(&c->packed, c, rank, s->stream)->of[rank]);
	evn_arg_buf(&a, evn_store_next(&c->partials, c, rank, s->stream)->of[rank]);
	return evn_launch_items(&a, s->n_rows * s->stride / 32, err);
}
