/* trainer.c - a training run: the state file, the ranks, steps with their schedule, the held-out loss, checkpoints. A
 * new model is written as a checkpoint of step 0 and then opened like any other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/follow.h"
#include "train/schedule.h"

#define PASS_DEADLINE_MS 3600000 /* one pass of a batch is one wait */
#define KEPT_FRACTION 0.25 /* of a device's memory for activations; if they need more, they are computed again */

/* ---- what is trained ------------------------------------------------------------------------------------------- */

/* Turns "attn_q,attn_v" into bits. */
static evn_status read_targets(const char *list, uint32_t *bits, evn_error *err)
{
	*bits = 0;
	while (*list) {
		size_t n = strcspn(list, ", "), i = 0;
		while (i < EVN_TARGETS && (strlen(evn_target_names[i]) != n || memcmp(evn_target_names[i], list, n)))
			i++;
		if (i == EVN_TARGETS)
			return evn_fail(err, EVN_ERR_USAGE,
							"LoRA target '%.*s': expected attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up or "
							"ffn_down",
							(int)n, list);
		*bits |= 1u << i;
		list += n + strspn(list + n, ", ");
	}
	return *bits ? EVN_OK : evn_fail(err, EVN_ERR_USAGE, "LoRA: no target matrices are named");
}

static evn_status check_options(evn_trainer *t, evn_error *err)
{
	const evn_train_options *o = &t->o;
	bool data = o->data_path || o->ids;
	if (!data || !o->output_path)
		return evn_fail(err, EVN_ERR_USAGE, "training needs %s", data ? "an output file" : "a text to learn");
	uint64_t n_ctx = o->context;
	if (o->ids) {
		n_ctx = o->n_ids > 1 ? o->n_ids - 1 : 1;
		t->o.batch = 1;
	}
	if (o->lora_rank && !o->model_path)
		return evn_fail(err, EVN_ERR_USAGE, "LoRA adds to a model, and none is given");
	if (!o->steps || !o->batch || !o->accumulate || !n_ctx)
		return evn_fail(err, EVN_ERR_USAGE, "training needs at least one step, sequence, pass and token of context");
	if (!(o->dropout >= 0 && (float)o->dropout < 1))
		return evn_fail(err, EVN_ERR_USAGE, "dropout %g: expected a fraction below 1", o->dropout);
	t->trained = (evn_trained){.lora_rank = o->lora_rank, .lora_alpha = (float)o->lora_alpha};
	if (o->lora_rank)
		EVN_TRY(read_targets(o->lora_targets, &t->trained.lora_targets, err));
	EVN_TRY(evn_count_tokens(&t->n_tok, n_ctx, o->batch, o->accumulate, err));
	t->o.context = (uint32_t)n_ctx;
	t->shape = (evn_pass_shape){o->context, o->batch, false};
	t->checkpoint_path = evn_format("%s.checkpoint", o->output_path);
	return t->checkpoint_path ? EVN_OK : evn_fail_memory(err, "path", strlen(o->output_path));
}

static evn_status create_state(const evn_trainer *t, evn_error *err)
{
	evn_model *fresh;
	if (t->trained.lora_rank)
		return evn_adapter_create(t->checkpoint_path, t->model, &t->trained, t->o.seed, err);
	EVN_TRY(evn_model_create(&fresh, &t->o.spec, err));
	evn_status s = evn_model_save(fresh, t->checkpoint_path, err);
	evn_model_close(fresh);
	return s;
}

/* Files of an earlier run are neither overwritten nor continued unasked, except a checkpoint of step 0. */
static evn_status check_left(const evn_trainer *t, evn_error *err)
{
	evn_state state;
	evn_progress progress;
	float *loss, *val_loss;
	bool left = access(t->checkpoint_path, F_OK) == 0;
	if (left == t->o.resume)
		return EVN_OK;
	if (!left)
		return evn_fail(err, EVN_ERR_USAGE, "%s: there is no checkpoint to resume", t->checkpoint_path);
	EVN_TRY(evn_state_open(&state, t->checkpoint_path, err));
	evn_status s = evn_state_progress(&state, &progress, &loss, &val_loss, err);
	free(loss);
	free(val_loss);
	evn_state_close(&state);
	if (s == EVN_OK && progress.step)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"%s is left from a run that ended after step %u: --resume goes on with it, removing it begins "
			"anew",
			t->checkpoint_path, progress.step);
	return s;
}

/* Opens the model and the state file. */
static evn_status open_files(evn_trainer *t, evn_error *err)
{
	const evn_train_options *o = &t->o;
	bool goes_on = o->model_path && !o->lora_rank && !o->resume;
	EVN_TRY(check_left(t, err));
	if (o->lora_rank)
		EVN_TRY(evn_model_open(&t->model, o->model_path, err));
	if (o->lora_rank)
		EVN_TRY(evn_network_check(t->model, &t->trained, &t->shape, err));
	if (!o->resume && !goes_on) {
		EVN_TRY(create_state(t, err));
		t->created = true;
	}
	const char *state = goes_on ? o->model_path : t->checkpoint_path;
	EVN_TRY(evn_state_open(&t->state, state, err));
	if (!o->lora_rank)
		EVN_TRY(evn_model_open(&t->model, state, err));
	return evn_network_check(t->model, &t->trained, &t->shape, err);
}

static evn_status check_same(const evn_trainer *t, const char *what, uint32_t has, uint32_t asked, evn_error *err)
{
	if (!asked || has == asked)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "%s: a model with %s %u, but %u is asked for", t->checkpoint_path, what, has,
					asked);
}

/* A checkpoint can only be resumed with the same model, data and seed. */
static evn_status check_resumed(evn_trainer *t, evn_error *err)
{
	const evn_progress *p = &t->progress;
	const evn_model_spec *s = &t->o.spec;
	const evn_hparams *h = evn_model_hparams(t->model);
	if (t->o.lora_rank) {
		float alpha = 0;
		EVN_TRY(evn_gguf_f32(t->state.gguf, "adapter.lora.alpha", &alpha, err));
		if (alpha != t->trained.lora_alpha)
			return evn_fail(err, EVN_ERR_USAGE, "%s: an adapter with alpha %g, but %g is asked for",
							t->checkpoint_path, (double)alpha, (double)t->trained.lora_alpha);
	} else if (!t->o.model_path) {
		if (s->architecture && !evn_str_is(h->arch, s->architecture))
			return evn_fail(err, EVN_ERR_USAGE, "%s: a %.*s model, but %s is asked for", t->checkpoint_path,
							(int)h->arch.length, h->arch.text, s->architecture);
		EVN_TRY(check_same(t, "layers", h->n_layers, s->n_layers, err));
		EVN_TRY(check_same(t, "dim", h->dim, s->dim, err));
		EVN_TRY(check_same(t, "heads", h->n_heads, s->n_heads, err));
		EVN_TRY(check_same(t, "kv_heads", h->n_kv_heads, s->n_kv_heads, err));
		EVN_TRY(check_same(t, "ff", h->ff_dim, s->ff_dim, err));
		EVN_TRY(check_same(t, "vocab", h->vocab, s->vocab, err));
	}
	if (p->step && (p->data_hash != t->data.hash || p->seed != t->o.seed))
		return evn_fail(err, EVN_ERR_USAGE, "%s: it was trained on another %s: its steps cannot be gone on with",
						t->checkpoint_path, p->seed != t->o.seed ? "seed" : "text (or another part of it held out)");
	if (p->step >= t->o.steps)
		return evn_fail(err, EVN_ERR_USAGE, "%s: %u steps are done already and %u are asked for", t->checkpoint_path,
						p->step, t->o.steps);
	return EVN_OK;
}

static evn_status take_progress(evn_trainer *t, evn_error *err)
{
	float *loss = NULL, *val_loss = NULL;
	evn_status s = evn_state_progress(&t->state, &t->progress, &loss, &val_loss, err);
	if (s == EVN_OK && t->o.resume)
		s = check_resumed(t, err);
	else
		t->progress.step = 0; /* training a finished model starts a new run */
	t->loss = calloc(t->o.steps, sizeof *t->loss);
	t->val_loss = calloc(t->o.steps, sizeof *t->val_loss);
	if (s == EVN_OK && !(t->loss && t->val_loss))
		s = evn_fail_memory(err, "losses", 2 * (uint64_t)t->o.steps * sizeof *t->loss);
	if (s == EVN_OK && t->progress.step) {
		memcpy(t->loss, loss, t->progress.step * sizeof *loss);
		memcpy(t->val_loss, val_loss, t->progress.step * sizeof *val_loss);
	}
	free(loss);
	free(val_loss);
	t->progress.data_hash = t->data.hash;
	t->progress.seed = t->o.seed;
	t->progress.loss = t->loss;
	t->progress.val_loss = t->val_loss;
	return s;
}

/* ---- ranks ----------------------------------------------------------------------------------------------------- */

/* Measured shares follow the speed of training's products, not the rates of decode. */
static evn_status split_by_products(evn_trainer *t, const evn_options *o, evn_error *err)
{
	evn_prepared *p = &t->prepared;
	double shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	bool measured = !o->shares;
	for (size_t i = 0; i < o->n_devices; i++)
		measured = measured && o->devices[i].share < 0 && !o->devices[i].memory_bytes;
	for (uint32_t i = 0; i < p->n; i++) {
		shares[i] = p->profile.ranks[i].training_gflops;
		memory[i] = UINT64_MAX;
		measured = measured && shares[i] > 0 && (!p->cluster || p->ranks[i].share < 0);
	}
	if (!measured)
		return EVN_OK;
	evn_split_free(&p->split);
	return evn_split_make(&p->split, &p->shape, p->n, shares, NULL, memory, err);
}

static evn_status prepare(evn_trainer *t, const evn_options *o, evn_error *err)
{
	evn_prepared *p = &t->prepared;
	evn_options with = *o;
	with.context = t->shape.n_ctx;
	with.batch = t->n_tok.of_pass;
	EVN_TRY(evn_prepare(p, t->model, &with, EVN_FOR_TRAINING, err));
	uint64_t bytes = evn_network_activation_bytes(p->graph, &t->shape);
	for (uint32_t i = p->begin; i < p->end; i++) {
		const evn_device_info *info = evn_system_info(p->system, p->picks[i].device);
		t->shape.recompute |= (double)bytes > KEPT_FRACTION * (double)info->memory_bytes;
	}
	EVN_TRY(evn_follow_split(t, split_by_products(t, o, err), err));
	evn_split_keep_phase(&p->split, EVN_PROMPT); /* a pass is a prompt */
	return EVN_OK;
}

static void release_waiting(void *arg) { evn_comm_cancel(((evn_trainer *)arg)->comm); }

static bool find_fault(void *arg, evn_fault *out) { return evn_comm_find_fault(((evn_trainer *)arg)->comm, out); }

static evn_status load_rank(void *arg, uint32_t rank, evn_error *err)
{
	evn_trainer *t = arg;
	return evn_network_load(&t->networks[rank], t->queues[rank], t->comm, t->model, t->state.gguf, &t->prepared.split,
							rank, &t->trained, &t->shape, err);
}

static evn_status open_ranks(evn_trainer *t, const evn_options *o, evn_error *err)
{
	const evn_prepared *p = &t->prepared;
	/* Flags suit messages of one token, not passes of thousands of tokens. */
	evn_reduce reduce = p->reduce == EVN_REDUCE_FLAGS ? EVN_REDUCE_AUTO : p->reduce;
	t->n_ranks = p->n;
	t->begin = p->begin;
	t->end = p->end;
	EVN_TRY(evn_devices_open(p->system, p->picks + p->begin, p->end - p->begin, t->devices + p->begin, err));
	for (uint32_t i = t->begin; i < t->end; i++) {
		/* Saving a binary at the end would cost as much as it can save at the next start. */
		evn_device_build_throwaway(t->devices[i], evn_device_slow_binaries(t->devices[i]));
		EVN_TRY(evn_queue_create(&t->queues[i], t->devices[i], err));
	}
	const evn_comm_config config = {.queues = t->queues,
									.n_ranks = t->n_ranks,
									.reduce = reduce,
									.nodes = &p->nodes,
									.max_floats = evn_network_message(p->graph, &t->trained, &t->shape, t->n_ranks),
									.deadline_ms = o->deadline_s ? o->deadline_s * 1000 : PASS_DEADLINE_MS};
	EVN_TRY(evn_comm_create(&t->comm, &config, err));
	const evn_team_config team = {.n_ranks = t->end - t->begin,
								  .first_rank = t->begin,
								  .on_failure = release_waiting,
								  .find_fault = find_fault,
								  .arg = t};
	EVN_TRY(evn_team_create(&t->team, &team, err));
	return evn_team_run(t->team, load_rank, t, NULL, NULL, err);
}

static uint32_t row_stride(const evn_trainer *t) { return t->networks[t->begin]->workspace->dim_stride; }

static evn_status make_batches(evn_trainer *t, evn_error *err)
{
	const uint64_t n = t->n_tok.of_step;
	uint64_t floats = 1;
	if (t->trained.lora_rank && !evn_mul_u64(n, row_stride(t), &floats))
		return evn_fail(err, EVN_ERR_LIMIT, "a step of %llu tokens of %u floats each is too long",
						(unsigned long long)n, row_stride(t));
	t->ids = calloc(n, sizeof *t->ids);
	t->targets = calloc(n, sizeof *t->targets);
	t->losses = calloc(n, sizeof *t->losses);
	t->embeddings = calloc(floats, sizeof *t->embeddings);
	t->position = calloc(evn_model_hparams(t->model)->dim, sizeof *t->position);
	if (!t->ids || !t->targets || !t->losses || !t->embeddings || !t->position)
		return evn_fail(err, EVN_ERR_MEMORY, "batches: no memory for a step of %llu tokens", (unsigned long long)n);
	return evn_embedding_find(&t->embedding, t->prepared.graph, err);
}

static evn_status load_own(evn_trainer *t, const evn_options *o, evn_error *err)
{
	EVN_TRY(open_ranks(t, o, err));
	return make_batches(t, err);
}

evn_status evn_trainer_load(evn_trainer *t, const evn_options *o, evn_error *err)
{
	EVN_TRY(prepare(t, o, err));
	return evn_follow_trainer_loaded(t, load_own(t, o, err), err);
}

static evn_status open_data(evn_trainer *t, evn_error *err)
{
	EVN_TRY(check_options(t, err));
	if (t->o.model_path && !t->o.lora_rank && t->o.resume)
		t->o.spec = (evn_model_spec){0};
	EVN_TRY(open_files(t, err));
	EVN_TRY(t->o.ids ? evn_dataset_of_ids(&t->data, t->o.ids, t->o.n_ids, evn_model_hparams(t->model)->vocab, err)
					 : evn_dataset_open(&t->data, t->model, t->o.data_path, t->o.context, t->o.held_out, err));
	return take_progress(t, err);
}

static evn_status open_all(evn_trainer *t, const evn_options *o, evn_error *err)
{
	EVN_TRY(evn_lead_state(t, o->cluster, open_data(t, err), err));
	EVN_TRY(evn_trainer_load(t, o, err));
	return t->o.resume ? EVN_OK : evn_trainer_save(t, err); /* finds out now if the disk is full */
}

evn_status evn_trainer_open(evn_trainer **out, const evn_train_options *train, const evn_options *o, evn_error *err)
{
	*out = NULL;
	evn_trainer *t = calloc(1, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "trainer", sizeof *t);
	t->o = *train;
	evn_status s = open_all(t, o, err);
	if (s != EVN_OK) {
		if (t->created)
			unlink(t->checkpoint_path);
		evn_trainer_close(t);
		return s;
	}
	*out = t;
	return EVN_OK;
}

void evn_trainer_close(evn_trainer *t)
{
	if (!t)
		return;
	evn_lead_training_end(t);
	if (!evn_team_free(t->team) || !evn_comm_free(t->comm))
		return; /* a device hangs: the memory that it or a waiting thread may use must stay */
	for (uint32_t i = 0; i < t->n_ranks; i++)
		evn_network_free(t->networks[i]);
	for (uint32_t i = 0; i < t->n_ranks; i++)
		evn_queue_free(t->queues[i]);
	for (uint32_t i = 0; i < t->n_ranks; i++)
		evn_device_close(t->devices[i]);
	evn_prepared_free(&t->prepared);
	evn_dataset_free(&t->data);
	evn_state_close(&t->state);
	evn_model_close(t->model);
	free(t->checkpoint_path);
	free(t->loss);
	free(t->val_loss);
	free(t->ids);
	free(t->targets);
	free(t->losses);
	free(t->embeddings);
	free(t->position);
	free(t);
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* An embedding that is not trained is not on the devices. The host looks the tokens up. */
static evn_status look_up(evn_trainer *t, evn_error *err)
{
	const uint32_t n_ctx = t->o.context, stride = row_stride(t);
	const uint64_t n = t->trained.lora_rank ? (uint64_t)t->n_tok.of_pass * t->n_passes : 0;
	for (uint64_t i = 0; i < n; i += n_ctx)
		EVN_TRY(evn_embed(&t->embedding, (const int32_t *)(t->ids + i), n_ctx, 0, t->embeddings + i * stride, stride,
						  t->position, err));
	return EVN_OK;
}

/* No dropout while a loss is only measured. Masks follow from the seed, the step and the pass. */
static evn_dropout dropout_of(const evn_trainer *t, uint32_t pass)
{
	const uint64_t place[3] = {t->o.seed, t->progress.step, pass};
	return (evn_dropout){.fraction = t->gradient_scale > 0 ? (float)t->o.dropout : 0,
						 .key = evn_hash(EVN_HASH_START, place, sizeof place)};
}

static evn_status run_passes(void *arg, uint32_t rank, evn_error *err)
{
	evn_trainer *t = arg;
	evn_network *n = t->networks[rank];
	if (t->gradient_scale > 0)
		EVN_TRY(evn_network_zero_gradients(n, err));
	for (uint32_t i = 0; i < t->n_passes; i++) {
		const uint64_t at = (uint64_t)i * t->n_tok.of_pass;
		const evn_train_batch batch = {.ids = t->ids + at,
									   .targets = t->targets + at,
									   .embeddings = t->trained.lora_rank ? t->embeddings + at * row_stride(t) : NULL,
									   .dropout = dropout_of(t, i)};
		n->times.wanted = t->warm && t->gradient_scale > 0 && i == 0;
		EVN_TRY(evn_network_pass(n, &batch, t->gradient_scale, rank == 0 ? t->losses + at : NULL, err));
	}
	return EVN_OK;
}

static evn_status run_update(void *arg, uint32_t rank, evn_error *err)
{
	evn_trainer *t = arg;
	double norm;
	EVN_TRY(evn_network_update(t->networks[rank], &t->adamw, (float)t->o.clip, &norm, err));
	evn_product_times_add(&t->networks[rank]->times);
	if (rank == 0)
		t->norm = norm; /* it is the same on every rank */
	return EVN_OK;
}

static evn_status run(evn_trainer *t, evn_rank_fn fn, evn_error *err)
{
	evn_status s = evn_team_run(t->team, fn, t, NULL, NULL, err);
	if (s != EVN_OK && !evn_team_abandoned(t->team))
		evn_comm_reset(t->comm, NULL);
	t->has_followers = t->has_followers && s == EVN_OK; /* else they are in the middle of it */
	return s;
}

evn_status evn_trainer_passes(evn_trainer *t, evn_error *err)
{
	EVN_TRY(evn_lead_passes(t, err));
	EVN_TRY(look_up(t, err));
	return run(t, run_passes, err);
}

evn_status evn_trainer_update(evn_trainer *t, evn_error *err)
{
	EVN_TRY(evn_lead_update(t, err));
	EVN_TRY(run(t, run_update, err));
	t->warm = true;
	return EVN_OK;
}

static double mean_loss(const evn_trainer *t, uint64_t n)
{
	double sum = 0;
	for (uint64_t i = 0; i < n; i++)
		sum += (double)t->losses[i];
	return sum / (double)n;
}

static double gflops(const evn_product_sum *s) { return s->ns > 0 ? s->flops / s->ns : 0; }

static double product_gflops(const evn_trainer *t)
{
	double rate = 0;
	for (uint32_t i = t->begin; i < t->end; i++) {
		evn_product_sum all = {0};
		for (int kind = 0; kind < EVN_PRODUCT_KINDS; kind++) {
			all.flops += t->networks[i]->times.sums[kind].flops;
			all.ns += t->networks[i]->times.sums[kind].ns;
		}
		rate += gflops(&all);
	}
	return rate;
}

static evn_status not_finite(const evn_trainer *t, const char *what, double value, evn_error *err)
{
	return evn_fail(err, EVN_ERR_LIMIT,
					"step %u: the %s is %g, so the step was not made; %s holds the last good state (a lower learning "
					"rate may help)",
					t->progress.step + 1, what, value, t->checkpoint_path);
}

static evn_status learn(evn_trainer *t, evn_train_step *out, evn_error *err)
{
	const evn_train_options *o = &t->o;
	const uint64_t n = t->n_tok.of_step;
	t->n_passes = o->accumulate;
	t->gradient_scale = (float)(1.0 / (double)n);
	for (uint32_t i = 0; i < t->n_tok.sequences; i++)
		evn_dataset_draw(&t->data, o->seed, t->progress.step, i, t->ids + (uint64_t)i * o->context,
						 t->targets + (uint64_t)i * o->context);
	EVN_TRY(evn_trainer_passes(t, err));
	out->loss = mean_loss(t, n);
	for (uint64_t i = 0; i < n; i++)
		out->worst_loss = fmax(out->worst_loss, (double)t->losses[i]);
	if (!isfinite(out->loss))
		return not_finite(t, "loss", out->loss, err);
	t->adamw = evn_adamw_at(o, t->progress.step);
	EVN_TRY(evn_trainer_update(t, err));
	if (!isfinite(t->norm))
		return not_finite(t, "gradient's norm", t->norm, err);
	out->rate = (double)t->adamw.rate;
	out->gradient_norm = t->norm;
	out->product_gflops = product_gflops(t);
	return EVN_OK;
}

/* The mean over all whole windows. The last batch is filled with windows that are not counted. */
static evn_status evaluate(evn_trainer *t, double *out, evn_error *err)
{
	const uint64_t n = evn_dataset_held_out(&t->data);
	double sum = 0;
	t->n_passes = 1;
	t->gradient_scale = 0;
	for (uint64_t first = 0; first < n; first += t->o.batch) {
		uint64_t counted = n - first < t->o.batch ? n - first : t->o.batch;
		for (uint32_t i = 0; i < t->o.batch; i++)
			evn_dataset_held_out_window(&t->data, (first + i) % n, t->ids + (uint64_t)i * t->o.context,
										t->targets + (uint64_t)i * t->o.context);
		EVN_TRY(evn_trainer_passes(t, err));
		sum += mean_loss(t, counted * t->o.context) * (double)counted;
	}
	*out = sum / (double)n;
	return EVN_OK;
}

evn_status evn_trainer_step(evn_trainer *t, evn_train_step *out, evn_error *err)
{
	const uint64_t began = evn_now_ns();
	*out = (evn_train_step){.step = t->progress.step + 1, .val_loss = NAN};
	if (t->progress.step == t->o.steps)
		return evn_fail(err, EVN_ERR_USAGE, "all %u steps are done", t->o.steps);
	EVN_TRY(learn(t, out, err));
	out->tok_s = (double)t->n_tok.of_step * 1e9 / (double)(evn_now_ns() - began);
	/* The step is done, whatever happens to the held-out loss: it must not be repeated. */
	const uint32_t at = t->progress.step++;
	const bool last = out->step == t->o.steps;
	t->loss[at] = (float)out->loss;
	t->val_loss[at] = NAN;
	if (evn_dataset_held_out(&t->data) && (last || (t->o.eval_every && out->step % t->o.eval_every == 0)))
		EVN_TRY(evaluate(t, &out->val_loss, err));
	t->val_loss[at] = (float)out->val_loss;
	return t->o.save_every && !last && out->step % t->o.save_every == 0 ? evn_trainer_save(t, err) : EVN_OK;
}

uint64_t evn_trainer_parameters(const evn_trainer *t)
{
	const evn_network *n = t->networks[0];
	uint64_t sum = 0;
	for (uint32_t i = 0; i < n->n_params; i++)
		for (uint32_t k = 0; k < n->params[i]->n_pieces; k++)
			if (!evn_piece_continues(n->params[i], k))
				sum += (uint64_t)n->params[i]->pieces[k].rows * n->params[i]->pieces[k].cols;
	return sum;
}

uint64_t evn_trainer_tokens(const evn_trainer *t, uint64_t *held_out)
{
	*held_out = t->data.n - t->data.n_train;
	return t->data.n;
}

const evn_plan_info *evn_trainer_plan(const evn_trainer *t) { return evn_plan_get(t->prepared.plan); }

uint32_t evn_trainer_losses(const evn_trainer *t, const float **loss, const float **val_loss)
{
	*loss = t->loss;
	*val_loss = t->val_loss;
	return t->progress.step;
}

/* progress: NULL for a finished model */
static evn_status write_state(evn_trainer *t, const char *path, const evn_progress *progress, evn_error *err)
{
	const evn_networks n = evn_trainer_networks(t);
	EVN_TRY(evn_lead_collection(t, progress, err));
	return evn_checkpoint_write(path, t->state.gguf, &n, progress, err);
}

evn_status evn_trainer_save(evn_trainer *t, evn_error *err)
{
	return write_state(t, t->checkpoint_path, &t->progress, err);
}

static void tell_products(const evn_trainer *t)
{
	for (uint32_t i = t->begin; i < t->end && t->warm; i++) {
		const evn_product_sum *s = t->networks[i]->times.sums;
		evn_log(EVN_LOG_INFO,
				"%s: products: forward %.0f GFLOP/s, gradients of inputs %.0f, gradients of weights %.0f",
				evn_device_id(t->devices[i]), gflops(&s[EVN_FORWARD]), gflops(&s[EVN_BACK_INPUT]),
				gflops(&s[EVN_BACK_WEIGHT]));
	}
}

evn_status evn_trainer_finish(evn_trainer *t, evn_error *err)
{
	tell_products(t);
	EVN_TRY(write_state(t, t->o.output_path, NULL, err));
	unlink(t->checkpoint_path);
	return EVN_OK;
}
