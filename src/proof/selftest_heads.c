/* selftest_heads.c - known answers for attention: the norm and rotation of heads, the KV cache in each format, and
 * the result of attention. */
#include "proof/selftest_parts.h"

#include <math.h>
#include <string.h>

#define FIRST_COLUMN 7 /* the heads begin at this column of attention's output, which tests the offset */
#define FIRST_BLOCK 32 /* the same for output in 8-bit blocks */
#define MAX_HEAD 1024

typedef struct {
	const char *name;
	bool tiny;
	evn_attention_config config;
	evn_heads_at of;
	uint32_t n_tok, first_block; /* first_block: the column of the first head; 0: FIRST_COLUMN */
	evn_act_format format;       /* the format that attention writes */
	bool first_choice;           /* runs even where few variants do */
	bool one_lane; /* with 1 lane it is a tiny shape too: PoCL has compiled only such heads to wrong code */
} head_shape;

/* ---- heads ----------------------------------------------------------------------------------------------------- */

/* How one head of q or k is normed and rotated. */
typedef struct {
	const evn_attention_config *config;
	const float *rope;   /* cosines, then sines, of the token's position */
	const float *weight; /* the weights of the head's norm */
	float eps;
} rotation;

/* What an RMS norm multiplies a head by, but for weights. *error: of the elements, that of rmsnorm (selftest_rows.c)
 * and two more products, with the factor and with the weight. */
static double norm_factor(const float *head, uint32_t dim, double eps, double *error)
{
	double squares = 0;
	for (uint32_t i = 0; i < dim; i++)
		squares += (double)head[i] * (double)head[i];
	*error =
		(evn_roundings(dim) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3);
	return 1 / sqrt(squares / dim + eps);
}

/* Computes the head's elements before the rotation and returns their relative error. */
static double normed(const rotation *r, const float *head, double *out)
{
	const uint32_t dim = r->config->head_dim;
	double error;
	const double scale = norm_factor(head, dim, (double)r->eps, &error);
	for (uint32_t i = 0; i < dim; i++)
		out[i] = (double)head[i] * (r->config->qk_norm ? scale * (double)r->weight[i] : 1);
	return r->config->qk_norm ? error : 0;
}

/* The rotation is two products and their difference: two more roundings. */
static void expect_head(const rotation *r, const float *head, double *want, double *bound)
{
	const uint32_t dim = r->config->head_dim, pairs = r->config->rope_dim / 2;
	const bool neox = r->config->rope_neox;
	double x[MAX_HEAD];
	const double relative = normed(r, head, x);
	for (uint32_t i = 0; i < dim; i++) {
		want[i] = x[i];
		bound[i] = relative * fabs(want[i]);
	}
	for (uint32_t i = 0; i < pairs; i++) {
		uint32_t a = neox ? i : 2 * i, b = neox ? i + pairs : 2 * i + 1;
		double cosine = (double)r->rope[i], sine = (double)r->rope[pairs + i];
		want[a] = x[a] * cosine - x[b] * sine;
		want[b] = x[a] * sine + x[b] * cosine;
		bound[a] = (relative + evn_roundings(3)) * (fabs(x[a] * cosine) + fabs(x[b] * sine));
		bound[b] = (relative + evn_roundings(3)) * (fabs(x[a] * sine) + fabs(x[b] * cosine));
	}
}

/* Token t of the cache: one that filled it, or one of the n_tok tested tokens. */
static const float *qkv_row(const evn_attention_run *r, uint32_t t)
{
	return t < r->of.position ? r->past.values + (uint64_t)t * r->at.qkv_stride
							  : r->qkv.values + (uint64_t)(t - r->of.position) * r->at.qkv_stride;
}

/* Of a key if `keys`, otherwise of a query. */
static rotation rotation_at(const evn_attention_run *r, uint32_t t, bool keys)
{
	return (rotation){.config = &r->config,
					  .rope = r->rope.values + (uint64_t)t * r->at.rope_stride,
					  .weight = r->weights_qk.values + keys * evn_round_up(r->config.head_dim, 16),
					  .eps = EVN_RUN_EPS};
}

/* ---- the cache ------------------------------------------------------------------------------------------------- */

/* Element `index` of a tile. In q8_0 the codes are followed by scales; `scale` is the index of the element's
 * scale. */
static double element(const evn_attention_run *r, const uint8_t *tile, uint32_t index, uint32_t scale)
{
	const uint32_t pad = (uint32_t)evn_round_up(r->config.head_dim, 16);
	uint16_t half;
	float f;
	switch (r->config.kv_cache) {
	case EVN_KV_F32:
		memcpy(&f, tile + 4 * index, sizeof f);
		return (double)f;
	case EVN_KV_F16:
		memcpy(&half, tile + 2 * index, sizeof half);
		return (double)evn_half_to_float(half);
	case EVN_KV_Q8_0:
		memcpy(&half, tile + 16 * pad + 2 * scale, sizeof half);
		return (double)evn_half_to_float(half) * (int8_t)tile[index];
	case EVN_KV_Q4_0:
		break;
	}
	return NAN;
}

/* Of a tile in 4 bits: its scales follow the pairs of all blocks of 32 dimensions. */
static double element_of_pair(const evn_attention_run *r, const uint8_t *tile, uint32_t pair, bool second,
							  uint32_t scale)
{
	const uint32_t n_blocks = (r->config.head_dim + 31) / 32;
	uint16_t half;
	memcpy(&half, tile + 256 * n_blocks + 2 * scale, sizeof half);
	return (double)evn_half_to_float(half) * ((second ? tile[pair] >> 4 : tile[pair] & 15) - 8);
}

/* The tile of a KV head that holds position t. */
static const uint8_t *tile_at(const evn_attention_run *r, const uint8_t *tiles, uint32_t kv, uint32_t t)
{
	const uint64_t block_bytes = evn_kv_block_bytes(r->config.kv_cache, r->config.head_dim);
	const uint64_t block = r->slot.table[t / EVN_BLOCK_POSITIONS], head = EVN_RUN_UNUSED_KV + kv;
	return tiles + (block * r->at.n_kv_held + head) * block_bytes + t / 16 % 4 * (block_bytes / 4);
}

static double key(const evn_attention_run *r, uint32_t kv, uint32_t t, uint32_t i)
{
	const uint8_t *tile = tile_at(r, r->k_tiles, kv, t);
	const uint32_t scale = i / 32 * 16 + t % 16;
	if (r->config.kv_cache == EVN_KV_Q4_0)
		return element_of_pair(r, tile, (i / 32 * 16 + i % 16) * 16 + t % 16, i % 32 >= 16, scale);
	return element(r, tile, i * 16 + t % 16, scale);
}

static double value(const evn_attention_run *r, uint32_t kv, uint32_t t, uint32_t i)
{
	const uint32_t pad = (uint32_t)evn_round_up(r->config.head_dim, 16), n_blocks = (pad + 31) / 32;
	const uint8_t *tile = tile_at(r, r->v_tiles, kv, t);
	const uint32_t scale = t % 16 * n_blocks + i / 32;
	if (r->config.kv_cache == EVN_KV_Q4_0)
		return element_of_pair(r, tile, (t % 16 * n_blocks + i / 32) * 16 + i % 16, i % 32 >= 16, scale);
	return element(r, tile, t % 16 * pad + i, scale);
}

/* Adds the error of storing a head in the cache's format. f16: half a unit of its 11 bits, or of its smallest
 * numbers. q8_0: half a step, where a step is the block's largest magnitude / 127 as a half; q4_0: the same with / 8,
 * but a whole step where the code would be +8, which does not exist. Near the middle between two codes, the errors of
 * the quotient and the product may select the other one. */
static void add_storage_error(const evn_attention_run *r, const double *want, double *bound)
{
	const uint32_t dim = r->config.head_dim;
	if (r->config.kv_cache == EVN_KV_F16)
		for (uint32_t i = 0; i < dim; i++)
			bound[i] += (fabs(want[i]) + bound[i]) * 0x1p-11 + 0x1p-25;
	const bool q4 = r->config.kv_cache == EVN_KV_Q4_0, q8 = r->config.kv_cache == EVN_KV_Q8_0;
	for (uint32_t begin = 0; begin < dim && (q4 || q8); begin += 32) {
		const uint32_t end = begin + 32 < dim ? begin + 32 : dim;
		double most = 0;
		for (uint32_t i = begin; i < end; i++)
			most = fmax(most, fabs(want[i]) + bound[i]);
		for (uint32_t i = begin; i < end; i++)
			bound[i] +=
				most / (q4 ? 8 : 127) * (1 + 0x1p-10) * (q4 && fabs(want[i]) > most * 7.4 / 8 ? 1 + 0x1p-8 : 0.5) +
				fabs(want[i]) * (EVN_DIVIDE_ERROR + 2 * EVN_UNIT);
	}
}

static void expect_value(const evn_attention_run *r, const float *head, double *want, double *bound)
{
	double error = 0;
	const double factor = r->config.v_norm ? norm_factor(head, r->config.head_dim, (double)EVN_RUN_EPS, &error) : 1;
	for (uint32_t i = 0; i < r->config.head_dim; i++) {
		want[i] = (double)head[i] * factor;
		bound[i] = error * fabs(want[i]);
	}
}

void evn_check_cache(evn_cases *c, const evn_attention_run *r)
{
	const uint32_t dim = r->config.head_dim;
	for (uint32_t t = 0; t < r->n_keys; t++) {
		const rotation rotated = rotation_at(r, t, true);
		for (uint32_t kv = 0; kv < r->of.n_kv; kv++) {
			const float *k = qkv_row(r, t) + r->at.k_offset + kv * dim,
						*v = qkv_row(r, t) + r->at.v_offset + kv * dim;
			double want[2][MAX_HEAD], bound[2][MAX_HEAD] = {{0}};
			expect_head(&rotated, k, want[0], bound[0]);
			expect_value(r, v, want[1], bound[1]);
			for (int which = 0; which < 2; which++) {
				add_storage_error(r, want[which], bound[which]);
				for (uint32_t i = 0; i < dim; i++)
					evn_case_compare(c, which ? "v_cache" : "k_cache", t,
									 which ? value(r, kv, t, i) : key(r, kv, t, i), want[which][i], bound[which][i],
									 1);
			}
		}
	}
	for (uint32_t t = r->n_keys; t < r->n_ctx; t++)
		for (uint32_t i = 0; i < r->of.n_kv * dim; i++)
			if (!isnan(key(r, i / dim, t, i % dim)) || !isnan(value(r, i / dim, t, i % dim)))
				evn_case_compare(c, "cache beyond the last token", t, 1, 0, 0, 1);
}

/* ---- attention ------------------------------------------------------------------------------------------------- */

/* The first key that a query at this position sees. */
static uint32_t first_key(const evn_attention_run *r, uint32_t position)
{
	return r->config.windowed && position + 1 > EVN_RUN_WINDOW ? position + 1 - EVN_RUN_WINDOW : 0;
}

static uint32_t end_of_keys(const evn_attention_run *r, uint32_t position)
{
	return r->config.whole || r->config.crosses ? r->n_keys : position + 1;
}

/* Caps a score and the bound of its error. The cap and its slope are at most those of the identity. Its own error is
 * that of an exponential, of a division and of two sums, and of a product in the exponent; the exponential's relative
 * error counts most where it is 1. */
static void cap_score(double *score, double *error)
{
	const double cap = (double)EVN_RUN_SOFT_CAP, exponent = 2 * *score / cap;
	*error += 1.01 * cap * (EVN_EXP_ERROR + EVN_DIVIDE_ERROR + 4 * EVN_UNIT + 3 * EVN_UNIT * fmin(fabs(exponent), 2));
	*score = cap * tanh(*score / cap);
}

/* Adds the bias of the distance of a key and a query. head: among those of the cache. */
static void add_bias(const evn_attention_run *r, uint32_t head, int distance, double *score, double *error)
{
	const int far = EVN_BIAS_FARTHEST, d = distance < -far ? -far : distance > far ? far : distance;
	*score += (double)r->weights_qk.values[2 * evn_round_up(r->config.head_dim, 16) + (uint64_t)head * EVN_BIASES +
										   (uint64_t)(d + far + EVN_KV_TILE)];
	*error += EVN_UNIT * fabs(*score);
}

/* Sets r->weights[key] to the softmax. Returns a bound of the weights' relative error, without a factor that all
 * of them share.
 *
 * A score sums dim products of three values: q, with the error of expect_head; 1/sqrt(dim), with the errors of a
 * root, a quotient and a product; and a key, which may be a code times a scale. A weight is exp(score - top) times
 * the factors exp(old top - new top) of the later changes of the maximum. All these exponents are negative, and
 * their sum is score - last top. Their subtractions together thus err by one unit of the range of the scores. Each
 * exp errs by 3 ulp and each factor by one rounding. The maximum changes at most once for each 16 keys, each
 * work-item and each split. */
static double softmax(const evn_attention_run *r, const double *q, const double *q_bound, uint32_t head,
					  uint32_t position)
{
	const uint32_t dim = r->config.head_dim, first = first_key(r, position), end = end_of_keys(r, position);
	const uint32_t in_model = r->of.first_head + head, kv = in_model / r->config.group - r->of.first_kv;
	const double scale = 1 / sqrt(dim), moves = (end + 15) / 16 + 33 + r->config.splits;
	const uint32_t in_cache = EVN_RUN_UNUSED_KV * r->config.group + in_model - r->of.first_kv * r->config.group;
	const double sink = (double)r->weights_qk.values[2 * evn_round_up(dim, 16) + in_cache];
	double top = r->config.sinks ? sink : -INFINITY, low = r->config.sinks ? sink : INFINITY, most = 0, sum = 0;
	for (uint32_t j = first; j < end; j++) {
		double score = 0, size = 0, error = 0;
		for (uint32_t i = 0; i < dim; i++) {
			double k = key(r, kv, j, i) * scale;
			score += q[i] * k;
			size += fabs(q[i] * k);
			error += q_bound[i] * fabs(k);
		}
		error += (evn_roundings(dim + 2 + r->config.query_scales) + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR) * size;
		if (r->config.biased)
			add_bias(r, in_cache, (int)j - (int)position, &score, &error);
		if (r->config.soft_capped)
			cap_score(&score, &error);
		r->weights[j] = score;
		top = fmax(top, score);
		low = fmin(low, score);
		most = fmax(most, error);
	}
	for (uint32_t j = first; j < end; j++)
		sum += r->weights[j] = exp(r->weights[j] - top);
	sum += r->config.sinks ? exp(sink - top) : 0;
	for (uint32_t j = first; j < end; j++)
		r->weights[j] /= sum;
	return most + EVN_UNIT * (top - low) + moves * (EVN_EXP_ERROR + EVN_UNIT);
}

/* Numerator and denominator are sums of n_keys terms with that error, and a division joins them. The factor 1.01
 * covers the products of errors and exp(e) - 1 > e. */
static void expect_head_output(evn_attention_run *r, uint32_t t, uint32_t h)
{
	const uint32_t dim = r->config.head_dim, position = r->of.position + t;
	const uint32_t kv = (r->of.first_head + h) / r->config.group - r->of.first_kv;
	const rotation rotated = rotation_at(r, position, false);
	double q[MAX_HEAD], q_bound[MAX_HEAD];
	expect_head(&rotated, qkv_row(r, position) + h * dim, q, q_bound);
	for (uint32_t i = 0; i < dim && r->config.query_scales; i++) {
		q[i] *= (double)rotated.rope[r->config.rope_dim];
		q_bound[i] *= fabs((double)rotated.rope[r->config.rope_dim]);
	}
	const double error = softmax(r, q, q_bound, h, position);
	const double relative =
		1.01 * (2 * (error + evn_roundings(end_of_keys(r, position) + 1 + r->config.sinks)) + EVN_DIVIDE_ERROR);
	for (uint32_t i = 0; i < dim; i++) {
		double sum = 0, magnitude = 0;
		for (uint32_t j = first_key(r, position); j < end_of_keys(r, position); j++) {
			double term = r->weights[j] * value(r, kv, j, i);
			sum += term;
			magnitude += fabs(term);
		}
		uint64_t at = (uint64_t)t * r->out_stride + r->out_offset + h * dim + i;
		r->out.want[at] = sum;
		r->out.bound[at] = relative * magnitude;
	}
}

void evn_expect_attended(evn_attention_run *r)
{
	for (uint64_t i = 0; i < r->out.n; i++)
		r->out.want[i] = r->out.bound[i] = 0;
	for (uint32_t t = 0; t < r->n_tok; t++)
		for (uint32_t h = 0; h < r->of.n_heads; h++)
			expect_head_output(r, t, h);
}

/* ---- a case ---------------------------------------------------------------------------------------------------- */

static evn_status launch(evn_cases *c, evn_attention_ops *ops, evn_attention_run *r, evn_act_format format,
						 evn_error *err)
{
	evn_row_set rows;
	EVN_TRY(evn_attention_run_fill(c, ops, r, format, err));
	EVN_TRY(evn_attention_run_rows(c, ops, r, &rows, err));
	EVN_TRY(evn_op_attention(ops, format, r->out.buf, r->out_stride, r->out_offset, &r->at, &rows, err));
	return evn_attention_run_read(c, r, err);
}

static evn_status run(evn_cases *c, const void *shape, evn_error *err)
{
	const head_shape *s = shape;
	const uint32_t dim = s->config.head_dim;
	evn_attention_run r = {.config = s->config, .of = s->of, .n_tok = s->n_tok};
	evn_attention_ops *ops;
	if (dim > MAX_HEAD)
		return evn_fail(err, EVN_ERR_LIMIT, "heads of %u dimensions: the known answers are for at most %d", dim,
						MAX_HEAD);
	r.out_offset = s->first_block ? s->first_block : FIRST_COLUMN;
	r.at.k_offset = r.of.n_heads * dim + 5;
	r.at.v_offset = r.at.k_offset + r.of.n_kv * dim + 3;
	r.at.qkv_stride = r.at.v_offset + r.of.n_kv * dim + 9;
	EVN_TRY(evn_attention_run_make(c, &r, err));
	evn_status st = evn_attention_ops_create(&ops, c->q, &r.config, err);
	if (st == EVN_OK)
		st = launch(c, ops, &r, s->format, err);
	evn_attention_ops_free(ops);
	if (st != EVN_OK)
		return st;
	evn_check_cache(c, &r);
	evn_expect_attended(&r);
	return evn_case_check_format(c, &r.out, s->format, "out", err);
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

#define HEAD(dim, rope) .head_dim = dim, .rope_dim = rope
#define LOCAL(heads, kv) .n_heads = heads, .n_kv = kv
#define F16 .kv_cache = EVN_KV_F16
#define Q8_0 .kv_cache = EVN_KV_Q8_0
#define Q4_0 .kv_cache = EVN_KV_Q4_0

/* The shapes have keys at the borders of tiles (16), of cache blocks (64) and of splits. One token appends in the
 * kernel that attends; several are appended before it. Some have fewer heads of a KV head than the model, some more
 * than a work-group takes (8). */
static const head_shape shapes[] = {
	{"20 partly norm, qk_norm",
	 true,
	 {HEAD(20, 12), .group = 2, .qk_norm = true},
	 {LOCAL(2, 1), .position = 16},
	 .n_tok = 1,
	 .first_choice = true},
	{"f16 20 neox, 2 splits",
	 true,
	 {HEAD(20, 20), .group = 2, .rope_neox = true, F16, .splits = 2},
	 {LOCAL(2, 1), .position = 15},
	 .n_tok = 2},
	{"q8_0 40", true, {HEAD(40, 40), .group = 1, Q8_0}, {LOCAL(1, 1), .position = 17}, .n_tok = 1},
	{"q4_0 40", true, {HEAD(40, 40), .group = 1, Q4_0}, {LOCAL(1, 1), .position = 17}, .n_tok = 1},
	{"64, 1 key", false, {HEAD(64, 64), .group = 3}, {LOCAL(3, 1)}, .n_tok = 1},
	{"64, 16 keys", false, {HEAD(64, 64), .group = 3}, {LOCAL(9, 3), .position = 15}, .n_tok = 1},
	{"64, heads 4-8 of 9 over 3",
	 false,
	 {HEAD(64, 64), .group = 3},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 255},
	 .n_tok = 3},
	{"64, 700 keys, 3 splits",
	 false,
	 {HEAD(64, 64), .group = 3, .splits = 3},
	 {LOCAL(3, 1), .position = 699},
	 .n_tok = 1},
	{"64, more splits than tiles",
	 false,
	 {HEAD(64, 64), .group = 3, .splits = 3},
	 {LOCAL(3, 1), .position = 17},
	 .n_tok = 1},
	{"64 neox, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"f16 64 neox, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true, F16},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"q8_0 64 neox, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true, Q8_0},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"q4_0 64 neox, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true, Q4_0},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"80 partly neox, 33 keys",
	 false,
	 {HEAD(80, 32), .group = 1, .rope_neox = true, Q8_0},
	 {LOCAL(2, 2), .position = 31},
	 .n_tok = 2},
	{"100 qk_norm, 20 heads to one",
	 false,
	 {HEAD(100, 100), .group = 20, .qk_norm = true},
	 {LOCAL(20, 1), .position = 18},
	 .n_tok = 1},
	{"128 neox, qk_norm",
	 false,
	 {HEAD(128, 128), .group = 2, .rope_neox = true, .qk_norm = true, F16},
	 {LOCAL(2, 1), .first_head = 6, .first_kv = 3, .position = 40},
	 .n_tok = 1,
	 .one_lane = true},
	{"64 neox, all rotate, qk_norm",
	 false,
	 {HEAD(64, 64), .group = 4, .rope_neox = true, .qk_norm = true},
	 {LOCAL(4, 1), .position = 33},
	 .n_tok = 1,
	 .one_lane = true},
	{"32 in blocks",
	 true,
	 {HEAD(32, 12), .group = 2},
	 {LOCAL(2, 1), .position = 16},
	 .n_tok = 1,
	 .format = EVN_ACT_Q8,
	 .first_block = FIRST_BLOCK},
	{"64 in blocks, 700 keys, 3 splits",
	 false,
	 {HEAD(64, 64), .group = 3, .splits = 3},
	 {LOCAL(3, 1), .position = 699},
	 .n_tok = 2,
	 .format = EVN_ACT_Q8,
	 .first_block = FIRST_BLOCK},
	{"20 stored in blocks afterwards",
	 true,
	 {HEAD(20, 20), .group = 1},
	 {LOCAL(2, 2), .position = 3},
	 .n_tok = 2,
	 .format = EVN_ACT_Q8},
	{"20 in a window, capped, a sink, query scales",
	 true,
	 {HEAD(20, 12), .group = 2, .windowed = true, .soft_capped = true, .sinks = true, .query_scales = true},
	 {LOCAL(2, 1), .position = 40},
	 .n_tok = 2,
	 .first_choice = true},
	{"64 neox in a window, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true, .windowed = true},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"64 in a window, heads 4-8 of 9 with sinks, 3 splits",
	 false,
	 {HEAD(64, 64), .group = 3, .windowed = true, .sinks = true, .splits = 3},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 299},
	 .n_tok = 1},
	{"64 capped, 700 keys, 3 splits",
	 false,
	 {HEAD(64, 64), .group = 3, .soft_capped = true, .splits = 3},
	 {LOCAL(3, 1), .position = 699},
	 .n_tok = 1},
	{"20, norms of queries, keys and values",
	 true,
	 {HEAD(20, 20), .group = 2, .rope_neox = true, .qk_norm = true, .v_norm = true},
	 {LOCAL(2, 1), .position = 17},
	 .n_tok = 1},
	{"20, whole sequences", true, {HEAD(20, 0), .group = 2, .whole = true}, {LOCAL(2, 1)}, .n_tok = 19},
	{"64 neox, whole, prompt of 37 on 33",
	 false,
	 {HEAD(64, 64), .group = 2, .rope_neox = true, .whole = true},
	 {LOCAL(4, 2), .position = 33},
	 .n_tok = 37},
	{"20 with biases, whole sequences",
	 true,
	 {HEAD(20, 0), .group = 2, .whole = true, .biased = true},
	 {LOCAL(2, 1)},
	 .n_tok = 19},
	{"64 with biases, heads 4-8 of 9, prompt of 37 on 233",
	 false,
	 {HEAD(64, 0), .group = 3, .biased = true},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 233},
	 .n_tok = 37},
	{"64 with biases, whole, 300 keys",
	 false,
	 {HEAD(64, 0), .group = 1, .whole = true, .biased = true},
	 {LOCAL(2, 2)},
	 .n_tok = 300},
	{"20, a memory of 40",
	 true,
	 {HEAD(20, 0), .group = 2, .crosses = true},
	 {LOCAL(2, 1), .position = 40},
	 .n_tok = 3},
	{"64, a memory of 699, 3 splits",
	 false,
	 {HEAD(64, 0), .group = 3, .crosses = true, .splits = 3},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 699},
	 .n_tok = 1},
	{"20 neox, prompt of 19 on 60",
	 true,
	 {HEAD(20, 12), .group = 2, .rope_neox = true},
	 {LOCAL(2, 1), .position = 60},
	 .n_tok = 19,
	 .first_choice = true},
	{"f16 96, heads 4-8 of 9, prompt of 27 on 121",
	 false,
	 {HEAD(96, 96), .group = 3, F16},
	 {LOCAL(5, 2), .first_head = 4, .first_kv = 1, .position = 121},
	 .n_tok = 27},
	{"q8_0 112 in a window, prompt of 35 on 190",
	 false,
	 {HEAD(112, 64), .group = 1, .rope_neox = true, .windowed = true, Q8_0},
	 {LOCAL(2, 2), .position = 190},
	 .n_tok = 35},
	{"128 in a window, capped, sinks, query scales, prompt of 13 on 150",
	 false,
	 {HEAD(128, 128), .group = 7, .windowed = true, .soft_capped = true, .sinks = true, .query_scales = true},
	 {LOCAL(7, 1), .position = 150},
	 .n_tok = 13},
	{"256 qk_norm in blocks, prompt of 21 on 70",
	 false,
	 {HEAD(256, 64), .group = 2, .rope_neox = true, .qk_norm = true},
	 {LOCAL(2, 1), .position = 70},
	 .n_tok = 21,
	 .format = EVN_ACT_Q8,
	 .first_block = FIRST_BLOCK},
	{"512, prompt of 9 on 64", false, {HEAD(512, 128), .group = 2}, {LOCAL(2, 1), .position = 64}, .n_tok = 9},
	{"528, prompt of 3 on 62",
	 false,
	 {HEAD(528, 0), .group = 1},
	 {LOCAL(1, 1), .position = 62},
	 .n_tok = 3,
	 .one_lane = true},
	{"48, no rope", false, {HEAD(48, 0), .group = 1}, {LOCAL(2, 2), .position = 5}, .n_tok = 1},
};

/* The three kinds of steps, with the given heads. */
static void heads_of_model(evn_cases *c, evn_act_format format)
{
	static const struct {
		const char *subject;
		uint32_t position, n_tok, splits;
	} steps[] = {
		{EVN_ATTENTION_TOKEN, 259, 1, 0}, {EVN_ATTENTION_PROMPT, 33, 37, 0}, {EVN_ATTENTION_SPLITS, 33, 1, 2}};
	const evn_attention_config *heads = c->options.heads;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		head_shape s = {.config = *heads,
						.of = {LOCAL(2 * heads->group, 2), .position = steps[i].position},
						.n_tok = steps[i].n_tok,
						.format = format,
						.first_block = format == EVN_ACT_Q8 ? FIRST_BLOCK : 0};
		s.config.splits = steps[i].splits;
		evn_case_run(c, &(evn_case){run, &s, steps[i].subject, NULL}, "of the model, %s, %u on %u",
					 format == EVN_ACT_Q8 ? "q8" : "f32", s.n_tok, s.of.position);
	}
}

void evn_selftest_heads(evn_cases *c)
{
	if (c->options.heads) {
		for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++)
			if (c->options.dots & evn_dots_of_format(format == EVN_ACT_Q8))
				heads_of_model(c, format);
		return;
	}
	const bool one_lane = evn_device_lanes(evn_queue_device(c->q)) == 1;
	const head_shape *s = shapes;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++, s++)
		if ((s->tiny || (one_lane && s->one_lane) || !(c->options.tiny || c->options.tiny_heads)) &&
			(s->first_choice || !c->options.few_variants))
			evn_case_run(c, &(evn_case){run, s, "attention", NULL}, "%s", s->name);
}
