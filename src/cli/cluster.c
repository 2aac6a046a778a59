#include "cli/cluster.h"
#include "base/base.h"
#include "cli/interrupt.h"
#include "evener/train.h"
#include "cli/show/console.h"

#include <stdlib.h>

#define COMMANDS                                                                                                     \
	(CMD_PLAN | CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_BATCH | CMD_LOGITS | CMD_SCORE | CMD_EMBED | CMD_TRAIN)

static evn_cluster *joined;

evn_cluster *cluster_joined(void) { return joined; }

/* In the words of this node, and the end of all. */
static void fail_everywhere(const evn_error *err, int exit_code)
{
	evn_error named = *err;
	const uint32_t node = evn_cluster_node(joined);
	evn_fail_within(&named, "node %u (%s)", node, evn_cluster_host(joined, node));
	console_error(named.text);
	evn_cluster_abort(joined, exit_code);
}

static void on_failure(void *user, const evn_error *why)
{
	(void)user;
	console_progress_end();
	fail_everywhere(why, EXIT_FAILURE);
}

evn_status cluster_begin(const command *c, evn_error *err)
{
	const uint32_t n = evn_cluster_launched();
	if (n < 2 || !(c->bit & (CMD_MODEL | CMD_TUNE)))
		return EVN_OK;
	if (!(c->bit & COMMANDS))
		return evn_fail(err, EVN_ERR_USAGE, "%s: works in one process, %u were started together", c->name, n);
	evn_status status = evn_cluster_join(&joined, err);
	if (status != EVN_OK)
		joined = NULL;
	else
		evn_cluster_on_failure(joined, on_failure, NULL);
	return status;
}

/* A plan needs no follower. The windows of a text to score have node 0's length. */
static evn_status follow(const command *c, const invocation *in, evn_error *err)
{
	evn_options o = settings_engine_options(&in->settings);
	evn_model *model = NULL;
	evn_plan *plan = NULL;
	if (c->bit == CMD_SCORE)
		o.context = 0;
	o.progress = NULL;
	interrupt_follows();
	evn_status status = c->bit == CMD_TRAIN ? evn_trainer_follow(in->settings.model_path, &o, err)
											: settings_open_model(&in->settings, &model, err);
	if (status == EVN_OK && c->bit == CMD_PLAN)
		status = evn_plan_make(&plan, model, &o, err);
	else if (status == EVN_OK && c->bit != CMD_TRAIN)
		status = evn_cluster_follow(joined, model, &o, err);
	evn_plan_free(plan);
	evn_model_close(model);
	if (status == EVN_OK)
		interrupt_done(); /* node 0 has ended in time */
	return status;
}

evn_status cluster_run(const command *c, const invocation *in, evn_error *err)
{
	return joined && evn_cluster_node(joined) ? follow(c, in, err) : c->run(in, err);
}

bool cluster_end(evn_status status, const evn_error *err, int exit_code)
{
	if (!joined)
		return true;
	const uint32_t node = evn_cluster_node(joined);
	if (status != EVN_OK && !evn_cluster_knows(joined))
		fail_everywhere(err, exit_code);
	evn_cluster_leave(joined);
	joined = NULL;
	return node == 0;
}
