/* cmd_train.c - evener train: steps with a progress bar, a loss curve, and a model file at the end. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "evener/train.h"
#include "plot/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_CONTEXT 128
#define SMOOTH 0.9 /* weight of the running mean, which is drawn over the losses of the steps */

static evn_train_options train_options(const settings *s, const int32_t *ids, size_t n_ids)
{
	uint32_t context = s->context ? (uint32_t)s->context : DEFAULT_CONTEXT;
	return (evn_train_options){
		.model_path = s->model_path,
		.spec = {.architecture = s->architecture,
				 .vocab = (uint32_t)s->vocab,
				 .dim = (uint32_t)s->dim,
				 .context = context,
				 .n_layers = (uint32_t)s->layers,
				 .n_heads = (uint32_t)s->heads,
				 .n_kv_heads = (uint32_t)s->kv_heads,
				 .ff_dim = (uint32_t)s->ff,
				 .seed = (uint64_t)s->init_seed},
		.data_path = s->data_path,
		.ids = ids,
		.n_ids = n_ids,
		.output_path = s->output_path,
		.resume = s->resume,
		.steps = (uint32_t)s->steps,
		.context = context,
		.batch = (uint32_t)s->sequences,
		.accumulate = (uint32_t)s->accumulate,
		.rate = s->learning_rate,
		.min_rate = s->min_rate,
		.warmup = (uint32_t)s->warmup,
		.decay = s->weight_decay,
		.clip = s->clip,
		.dropout = s->dropout,
		.held_out = s->held_out,
		.eval_every = (uint32_t)s->eval_every,
		.save_every = (uint32_t)s->save_every,
		.seed = (uint64_t)s->train_seed,
		.lora_rank = (uint32_t)s->lora_rank,
		.lora_alpha = s->lora_alpha,
		.lora_targets = s->lora_targets,
	};
}

static void note_training(const evn_trainer *t, const settings *s)
{
	const evn_plan_info *plan = evn_trainer_plan(t);
	uint64_t held_out, n = evn_trainer_tokens(t, &held_out);
	console_note("%llu parameters learn %s: %llu tokens, %llu of them held out",
				 (unsigned long long)evn_trainer_parameters(t), s->train_ids ? "a sequence" : s->data_path,
				 (unsigned long long)n, (unsigned long long)held_out);
	for (size_t i = 0; i < plan->n_ranks; i++)
		console_note("on %s %s", plan->ranks[i].device, plan->ranks[i].name);
}

static evn_status print_step(const evn_train_step *step, evn_error *err)
{
	json_t *line =
		json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "step", (json_int_t)step->step, "loss",
				  json_number(step->loss), "val_loss", json_number(step->val_loss), "tok_s", json_number(step->tok_s),
				  "rate", json_number(step->rate), "gradient_norm", json_number(step->gradient_norm),
				  "product_gflops", json_number(step->product_gflops > 0 ? step->product_gflops : (double)NAN));
	evn_status status = json_print(line, err);
	fflush(stdout);
	return status;
}

static evn_status show_step(const settings *s, const evn_train_step *step, double *val_loss, evn_error *err)
{
	char tested[32] = "";
	if (s->json)
		return print_step(step, err);
	if (isfinite(step->val_loss)) {
		*val_loss = step->val_loss;
		console_note("step %u: loss %.3f, held out %.3f, %.0f tokens/s", step->step, step->loss, step->val_loss,
					 step->tok_s);
	}
	if (isfinite(*val_loss))
		snprintf(tested, sizeof tested, "  held out %.3f", *val_loss);
	console_progress_note("loss %.3f%s  %.0f tokens/s", step->loss, tested, step->tok_s);
	return EVN_OK;
}

/* Saves the state when the user stops the run. */
static evn_status stop_training(evn_trainer *t, const settings *s, uint32_t step, evn_error *err)
{
	evn_status status = evn_trainer_save(t, err);
	if (status != EVN_OK)
		return status;
	console_progress_end();
	console_note("interrupted after step %u; --resume continues from %s.checkpoint", step, s->output_path);
	return evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
}

static evn_status take_steps(evn_trainer *t, const settings *s, evn_train_step *step, evn_error *err)
{
	const float *loss, *val_loss;
	double tested = (double)NAN;
	for (uint32_t done = evn_trainer_losses(t, &loss, &val_loss); done < s->steps; done++) {
		bool go_on = s->json ? !interrupted() : console_progress(NULL, "training", done, (uint64_t)s->steps);
		if (!go_on)
			return stop_training(t, s, done, err);
		evn_status status = evn_trainer_step(t, step, err);
		if (status == EVN_OK)
			status = show_step(s, step, &tested, err);
		if (status != EVN_OK)
			return status;
		if (s->train_ids && step->worst_loss < log(2))
			break; /* each token has a probability above 1/2 */
	}
	console_progress_end();
	return EVN_OK;
}

static evn_status draw_curve(const evn_trainer *t, const char *path, evn_error *err)
{
	const float *loss, *val_loss;
	uint32_t n = evn_trainer_losses(t, &loss, &val_loss), n_tested = 0;
	double *values = calloc(5 * (size_t)n + 1, sizeof *values);
	if (!values)
		return evn_fail_memory(err, "the loss curve", 0);
	double *x = values, *y = x + n, *mean = y + n, *tested_x = mean + n, *tested = tested_x + n;
	for (uint32_t i = 0; i < n; i++) {
		x[i] = i + 1;
		y[i] = (double)loss[i];
		mean[i] = i ? SMOOTH * mean[i - 1] + (1 - SMOOTH) * y[i] : y[i];
		if (!isfinite(val_loss[i]))
			continue;
		tested_x[n_tested] = x[i];
		tested[n_tested++] = (double)val_loss[i];
	}
	const evn_plot_series series[] = {{.name = "each step", .n = n, .x = x, .y = y, .faint = true},
									  {.name = "running mean", .n = n, .x = x, .y = mean},
									  {.name = "held out", .n = n_tested, .x = tested_x, .y = tested}};
	const evn_line_chart chart = {.title = "Training",
								  .x_label = "step",
								  .y_label = "loss (nats a token)",
								  .series = series,
								  .n_series = n_tested ? 3 : 2};
	evn_status status = evn_plot_line_chart(path, &chart, err);
	free(values);
	return status;
}

static void note_trained(const settings *s, const evn_train_step *step)
{
	if (s->json)
		return;
	printf("%s: %u steps, loss %.3f", s->output_path, step->step, step->loss);
	if (isfinite(step->val_loss))
		printf(", held out %.3f nats a token", step->val_loss);
	if (s->train_ids)
		printf(", the sequence is %s", step->worst_loss < log(2) ? "predicted" : "not predicted yet");
	putchar('\n');
}

evn_status cmd_train(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	int32_t *ids = NULL;
	size_t n_ids = 0;
	const evn_options o = settings_engine_options(s);
	evn_trainer *t = NULL;
	evn_train_step step = {0};
	evn_status status = s->train_ids ? parse_ids(s->train_ids, &ids, &n_ids, err) : EVN_OK;
	const evn_train_options train = train_options(s, ids, n_ids);
	if (status == EVN_OK)
		status = evn_trainer_open(&t, &train, &o, err);
	console_progress_end();
	if (status == EVN_OK) {
		interrupt_saves();
		note_training(t, s);
		status = take_steps(t, s, &step, err);
	}
	if (status == EVN_OK)
		status = evn_trainer_finish(t, err);
	if (status == EVN_OK && s->image_path)
		status = draw_curve(t, s->image_path, err);
	if (status == EVN_OK)
		note_trained(s, &step);
	evn_trainer_close(t);
	free(ids);
	return status;
}
