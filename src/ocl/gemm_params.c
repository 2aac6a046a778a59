/* gemm_params.c - CLBlast's GEMM parameters: text, checks, and the stored sets. See gemm_params.h. */
#include "ocl/gemm_params.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "find/found.h"

#define FILE_LIMIT 4096
#define VALUE_LIMIT 4096
#define UNROLL_LIMIT 1024 /* floats of a work-item's tile; more would spill and take a compiler minutes */

const evn_gemm_name evn_gemm_names[EVN_GEMM_NAMES] = {
	{"GEMMK", offsetof(evn_gemm_params, kernel)},
	{"KREG", offsetof(evn_gemm_params, kreg)},
	{"KWG", offsetof(evn_gemm_params, kwg)},
	{"KWI", offsetof(evn_gemm_params, kwi)},
	{"MDIMA", offsetof(evn_gemm_params, mdima)},
	{"MDIMC", offsetof(evn_gemm_params, mdimc)},
	{"MWG", offsetof(evn_gemm_params, mwg)},
	{"NDIMB", offsetof(evn_gemm_params, ndimb)},
	{"NDIMC", offsetof(evn_gemm_params, ndimc)},
	{"NWG", offsetof(evn_gemm_params, nwg)},
	{"SA", offsetof(evn_gemm_params, sa)},
	{"SB", offsetof(evn_gemm_params, sb)},
	{"STRM", offsetof(evn_gemm_params, strm)},
	{"STRN", offsetof(evn_gemm_params, strn)},
	{"VWM", offsetof(evn_gemm_params, vwm)},
	{"VWN", offsetof(evn_gemm_params, vwn)},
	{"XGEMM_MIN_INDIRECT_SIZE", offsetof(evn_gemm_params, indirect_from)},
};

uint32_t evn_gemm_value(const evn_gemm_params *p, size_t i)
{
	return *(const uint32_t *)((const char *)p + evn_gemm_names[i].field);
}

/* Sets the value of "NAME=VALUE". Returns the name's bit, or 0 if the word is not valid. */
static uint32_t read_word(evn_gemm_params *p, const char *word, size_t length)
{
	for (size_t i = 0; i < EVN_GEMM_NAMES; i++) {
		size_t n = strlen(evn_gemm_names[i].name);
		char digits[8] = "";
		if (length <= n + 1 || length - n - 1 >= sizeof digits || memcmp(word, evn_gemm_names[i].name, n) ||
			word[n] != '=')
			continue;
		memcpy(digits, word + n + 1, length - n - 1);
		if (digits[strspn(digits, "0123456789")] || atoi(digits) > VALUE_LIMIT)
			return 0;
		*(uint32_t *)((char *)p + evn_gemm_names[i].field) = (uint32_t)atoi(digits);
		return 1u << i;
	}
	return 0;
}

bool evn_gemm_params_parse(evn_gemm_params *out, const char *text)
{
	uint32_t seen = 0;
	*out = (evn_gemm_params){0};
	for (const char *p = text + strspn(text, " \n"); *p; p += strspn(p, " \n")) {
		size_t length = strcspn(p, " \n");
		uint32_t bit = read_word(out, p, length);
		if (!bit || (seen & bit))
			return false;
		seen |= bit;
		p += length;
	}
	return seen == (1u << EVN_GEMM_NAMES) - 1 && evn_gemm_params_valid(out);
}

void evn_gemm_params_text(const evn_gemm_params *p, char out[EVN_GEMM_TEXT])
{
	size_t n = 0;
	for (size_t i = 0; i < EVN_GEMM_NAMES && n < EVN_GEMM_TEXT; i++)
		n += (size_t)snprintf(out + n, EVN_GEMM_TEXT - n, "%s%s=%u", i ? " " : "", evn_gemm_names[i].name,
							  evn_gemm_value(p, i));
}

static bool divides(uint32_t n, uint32_t a, uint32_t b) { return a && b && n && n % (a * b) == 0; }
static bool vector_width(uint32_t n) { return n == 1 || n == 2 || n == 4 || n == 8 || n == 16; }

/* Checks loading through local memory, where the items of a work-group are arranged in rows of `across`. */
static bool can_share(const evn_gemm_params *p, uint32_t across)
{
	uint32_t items = p->mdimc * p->ndimc;
	return items % across == 0 && p->kwg % (items / across) == 0;
}

bool evn_gemm_params_valid(const evn_gemm_params *p)
{
	for (size_t i = 0; i < EVN_GEMM_NAMES; i++)
		if (evn_gemm_value(p, i) > VALUE_LIMIT)
			return false;
	if (p->kernel > 1 || p->sa > 1 || p->sb > 1 || p->strm > 1 || p->strn > 1 || !p->kreg || !p->indirect_from ||
		!vector_width(p->vwm) || !vector_width(p->vwn) || !divides(p->kwg, p->kwi, 1) ||
		!divides(p->mwg, p->mdimc, p->vwm) || !divides(p->nwg, p->ndimc, p->vwn) ||
		!divides(p->mwg, p->mdima, p->vwm) || !divides(p->nwg, p->ndimb, p->vwn))
		return false;
	if (p->mwg / p->mdimc * (p->nwg / p->ndimc) > UNROLL_LIMIT)
		return false;
	/* CLBlast before 1.6.3 swaps the tile's sides in kernel 1. */
	if (p->kernel == 1)
		return p->kreg % p->vwn == 0 && p->mwg == p->nwg && !p->sa && !p->sb && !p->strm && !p->strn;
	return p->kreg == 1 && can_share(p, p->mdima) && can_share(p, p->ndimb);
}

/* ---- what is kept ---------------------------------------------------------------------------------------------- */

static char *file_of(const evn_system *s, size_t i)
{
	const evn_device_info *d = evn_system_info(s, i);
	const char *const parts[] = {"1", d->platform_name, d->stable_id, d->name, d->driver, d->opencl};
	uint64_t h = EVN_HASH_START;
	for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
		h = evn_hash_str(h, parts[k] ? parts[k] : "");
	char name[64];
	snprintf(name, sizeof name, "profiles/gemm-%016llx.txt", (unsigned long long)h);
	return evn_cache_path(name);
}

static void warn_once(const char *path)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t logged[EVN_MAX_RANKS];
	static size_t n_logged;
	uint64_t h = evn_hash_str(EVN_HASH_START, path);
	pthread_mutex_lock(&lock);
	bool known = n_logged == EVN_MAX_RANKS;
	for (size_t i = 0; i < n_logged; i++)
		known |= logged[i] == h;
	if (!known)
		logged[n_logged++] = h;
	pthread_mutex_unlock(&lock);
	if (!known)
		evn_log(EVN_LOG_WARN, "%s: expected a set of GEMM parameters, found something else; it is ignored", path);
}

/* A work-item computes eight rows of two vectors of 16. On an AVX-512 machine this gives 160 to 190 GFLOP/s of 480
 * with PoCL and Intel's runtime, where CLBlast's own set gave 32 and 47. */
static const evn_gemm_params for_cpus = {.kernel = 1,
										 .mwg = 64,
										 .nwg = 64,
										 .kwg = 1,
										 .kwi = 1,
										 .kreg = 16,
										 .mdimc = 2,
										 .ndimc = 8,
										 .mdima = 2,
										 .ndimb = 8,
										 .vwm = 16,
										 .vwn = 4,
										 .indirect_from = 64};

bool evn_gemm_params_initial(const evn_system *s, size_t i, evn_gemm_params *out)
{
	*out = for_cpus;
	return !strcmp(evn_system_info(s, i)->type, "cpu");
}

bool evn_gemm_params_of(const evn_system *s, size_t i, evn_gemm_params *out)
{
	char *path = file_of(s, i), *text = NULL;
	size_t size;
	bool kept = false;
	if (path && evn_read_file(&text, &size, path, FILE_LIMIT, NULL) == EVN_OK) {
		kept = strlen(text) == size && evn_gemm_params_parse(out, text);
		if (!kept)
			warn_once(path);
	}
	free(text);
	free(path);
	return kept || evn_gemm_params_initial(s, i, out);
}

evn_status evn_gemm_params_keep(const evn_system *s, size_t i, const evn_gemm_params *p, evn_error *err)
{
	char text[EVN_GEMM_TEXT], *path = file_of(s, i);
	if (!path)
		return evn_fail(err, EVN_ERR_FILE, "GEMM parameters cannot be stored: no cache folder can be made");
	evn_gemm_params_text(p, text);
	evn_status status = evn_write_file(path, text, strlen(text), err);
	free(path);
	return status;
}
