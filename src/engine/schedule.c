#include "engine/schedule.h"

void evn_schedule_add(evn_schedule *s, evn_job *j)
{
	evn_job **at = &s->jobs;
	while (*at && (*at)->due_s <= j->due_s)
		at = &(*at)->next;
	j->next = *at;
	*at = j;
	s->n_jobs++;
}

static void stop(evn_schedule *s, evn_job *j)
{
	evn_slot_free(&j->slot, s->pool);
	j->n_done = j->n_next = j->n_draft = 0;
	s->n_running -= j->running;
	j->running = false;
}

void evn_schedule_remove(evn_schedule *s, evn_job *j)
{
	evn_job **at = &s->jobs;
	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	s->n_jobs--;
	if (j->running)
		evn_prefix_keep_tail(s->prefixes, j->ids, j->n_done, &j->slot);
	stop(s, j);
}

/* ---- room in the pool ------------------------------------------------------------------------------------------ */

static void put_off(evn_schedule *s, evn_job *j)
{
	stop(s, j);
	j->n_put_off++;
	s->n_put_off++;
}

void evn_schedule_restart(evn_schedule *s)
{
	for (evn_job *j = s->jobs; j; j = j->next)
		if (j->running)
			put_off(s, j);
	evn_prefixes_forget(s->prefixes);
}

/* The running job that is due last. */
static evn_job *last_running(const evn_schedule *s)
{
	evn_job *last = NULL;
	for (evn_job *j = s->jobs; j; j = j->next)
		if (j->running)
			last = j;
	return last;
}

/* True if a is behind b in the order. */
static bool is_behind(const evn_job *a, const evn_job *b)
{
	for (const evn_job *j = b->next; j; j = j->next)
		if (j == a)
			return true;
	return false;
}

/* Gives the job blocks for n_positions. Jobs behind it are put off if they must be. *got is false if that was not
 * enough; a job that had no blocks has none then. */
static evn_status reserve(evn_schedule *s, evn_job *j, uint32_t n_positions, bool *got, evn_error *err)
{
	const uint32_t wanted = evn_blocks_for(n_positions);
	const uint32_t more = wanted > j->slot.n_blocks ? wanted - j->slot.n_blocks : 0;
	*got = true;
	while (!evn_prefixes_make_room(s->prefixes, more)) {
		evn_job *last = last_running(s);
		*got = last && is_behind(last, j);
		if (!*got)
			return EVN_OK;
		put_off(s, last);
	}
	return evn_slot_extend(&j->slot, s->pool, n_positions, err);
}

/* ---- joining --------------------------------------------------------------------------------------------------- */

/* Positions of whole blocks in which the two jobs begin alike. */
static uint32_t common(const evn_job *a, const evn_job *b)
{
	const uint32_t most = a->n_prompt < b->n_prompt ? a->n_prompt : b->n_prompt;
	uint32_t n = 0;
	while (n < most && a->ids[n] == b->ids[n])
		n++;
	return n - n % EVN_BLOCK_POSITIONS;
}

/* The first ids, which can come from the cache because the logits of their rows are not needed. */
static uint32_t reusable(const evn_job *j) { return j->n_fresh ? j->n_prompt - j->n_fresh : j->n_ids - 1; }

/* The positions of whole blocks that j needs and that another job is just computing. */
static uint32_t in_progress(const evn_schedule *s, const evn_job *j)
{
	uint32_t most = 0;
	for (const evn_job *r = s->jobs; r && !s->pool->n_states; r = r->next) {
		if (!r->running || !evn_job_in_prompt(r))
			continue;
		uint32_t alike = common(j, r);
		alike = alike < reusable(j) ? alike : reusable(j) - reusable(j) % EVN_BLOCK_POSITIONS;
		if (alike > r->n_done && alike > most)
			most = alike;
	}
	return most;
}

/* True if another job is just computing a block that this one needs. It waits, and then takes the block. */
static bool should_wait(const evn_schedule *s, const evn_job *j)
{
	const uint32_t coming = in_progress(s, j);
	return coming && coming > evn_prefix_length(s->prefixes, j->ids, reusable(j)) * EVN_BLOCK_POSITIONS;
}

/* Gives a waiting job the blocks of its ids. Whole ones that are known it takes from the cache. */
static evn_status admit(evn_schedule *s, evn_job *j, bool *admitted, evn_error *err)
{
	uint32_t n_shared;
	while (s->n_running >= s->max_running) {
		evn_job *last = last_running(s);
		*admitted = is_behind(last, j);
		if (!*admitted)
			return EVN_OK;
		put_off(s, last);
	}
	evn_status status = evn_prefix_take(s->prefixes, j->ids, reusable(j), &j->slot, &n_shared, err);
	*admitted = false;
	if (s->pool->n_states && !j->slot.state && !evn_prefixes_make_state(s->prefixes))
		return status; /* sessions of the engine have them */
	if (status == EVN_OK)
		status = reserve(s, j, j->n_ids, admitted, err);
	if (status != EVN_OK || !*admitted) {
		evn_slot_free(&j->slot, s->pool);
		return status;
	}
	j->n_done = n_shared;
	if (!j->n_put_off)
		j->n_cached = n_shared;
	j->running = true;
	s->n_running++;
	return EVN_OK;
}

/* ---- the step -------------------------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Drafts get the room that is left: in the step, and in the blocks that the job has anyway. */
static uint32_t fit_drafts(const evn_job *j, uint32_t n_rows, uint32_t n_free)
{
	const uint32_t end = j->n_done + n_rows;
	return end == j->n_ids ? least(j->n_draft, least(n_free, j->slot.n_blocks * EVN_BLOCK_POSITIONS - end)) : 0;
}

/* Rows of jobs that decode. A job that was put off has several: those that it had decoded. */
static evn_status select_decoding(evn_schedule *s, uint32_t *rows, evn_error *err)
{
	for (evn_job *j = s->jobs; j; j = j->next) {
		bool got;
		if (!j->running || evn_job_in_prompt(j))
			continue;
		const uint32_t n = least(j->n_ids - j->n_done, s->max_rows - *rows);
		EVN_TRY(reserve(s, j, j->n_done + n, &got, err));
		if (!got) {
			put_off(s, j);
			continue;
		}
		j->n_draft = fit_drafts(j, n, s->max_rows - *rows - n);
		j->n_next = n + j->n_draft;
		*rows += j->n_next;
	}
	return EVN_OK;
}

static evn_status select_prompts(evn_schedule *s, uint32_t *rows, evn_error *err)
{
	const uint32_t end = *rows ? least(*rows + s->chunk, s->max_rows) : s->max_rows;
	for (evn_job *j = s->jobs; j && *rows < end; j = j->next) {
		if (!j->running) {
			bool admitted;
			if (should_wait(s, j))
				continue;
			EVN_TRY(admit(s, j, &admitted, err));
			if (!admitted)
				return EVN_OK; /* nobody behind it may take the blocks that it waits for */
		} else if (!evn_job_in_prompt(j))
			continue;
		const uint32_t left = evn_job_in_prompt(j) ? j->n_prompt - j->n_done : j->n_ids - j->n_done;
		j->n_next = least(left, end - *rows);
		*rows += j->n_next;
	}
	return EVN_OK;
}

evn_status evn_schedule_next(evn_schedule *s, uint32_t *rows, evn_error *err)
{
	uint32_t n = 0;
	*rows = 0;
	for (evn_job *j = s->jobs; j; j = j->next)
		j->n_next = 0;
	EVN_TRY(select_decoding(s, &n, err));
	EVN_TRY(select_prompts(s, &n, err));
	for (evn_job *j = s->jobs; j; j = j->next) /* not n: a job with rows may have been put off later */
		*rows += j->n_next;
	return EVN_OK;
}

void evn_schedule_done(evn_schedule *s)
{
	for (evn_job *j = s->jobs; j; j = j->next) {
		if (!j->n_next)
			continue;
		const uint32_t before = j->n_done / EVN_BLOCK_POSITIONS;
		j->n_done += j->n_next - j->n_draft;
		j->n_next = 0;
		if (j->n_done / EVN_BLOCK_POSITIONS > before)
			evn_prefix_keep(s->prefixes, j->ids, j->n_done, &j->slot);
	}
}

void evn_schedule_accept(evn_schedule *s, evn_job *j)
{
	j->n_draft--;
	j->n_done++;
	if (j->n_done % EVN_BLOCK_POSITIONS == 0)
		evn_prefix_keep(s->prefixes, j->ids, j->n_done, &j->slot);
}
