/* backward.c - launchers of the training kernels: arguments in the kernel's order, sizes, one launch each. */
#include "train/backward.h"

#include <stdlib.h>

struct evn_backward {
	evn_queue *q;
	evn_kernel *rmsnorm, *rmsnorm_weight, *swiglu, *embed, *embed_back;
	evn_kernel *attention_queries, *attention_keys;
	evn_kernel *stats, *loss, *adamw, *squares, *bias;
	/* built when they are first used */
	evn_kernel *layernorm, *layernorm_weight, *gelu, *positions, *positions_back;
};

evn_status evn_backward_create(evn_backward **out, evn_queue *q, const evn_attention_config *heads, evn_error *err)
{
	evn_backward *b = *out = calloc(1, sizeof *b);
	if (!b)
		return evn_fail_memory(err, "kernels", sizeof *b);
	b->q = q;
	const struct {
		evn_kernel **kernel;
		const char *file, *name;
		bool of_heads;
	} kernels[] = {
		{&b->rmsnorm, "train/backward.cl", "rmsnorm_backward", false},
		{&b->rmsnorm_weight, "train/backward.cl", "rmsnorm_weight_gradient", false},
		{&b->swiglu, "train/backward.cl", "swiglu_backward", false},
		{&b->embed, "train/backward.cl", "embed", false},
		{&b->embed_back, "train/backward.cl", "embed_backward", false},
		{&b->attention_queries, "train/attention_backward.cl", "attention_backward_queries", true},
		{&b->attention_keys, "train/attention_backward.cl", "attention_backward_keys", true},
		{&b->stats, "train/loss.cl", "loss_stats", false},
		{&b->loss, "train/loss.cl", "loss_gradient", false},
		{&b->adamw, "train/adamw.cl", "adamw", false},
		{&b->squares, "train/adamw.cl", "sum_squares", false},
		{&b->bias, "train/backward.cl", "bias_gradient", false},
	};
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
		evn_spec spec = evn_spec_of(kernels[i].file);
		if (kernels[i].of_heads)
			evn_spec_heads(&spec, heads);
		if (!kernels[i].of_heads || heads->head_dim)
			EVN_TRY(evn_kernel_get(kernels[i].kernel, q, &spec, kernels[i].name, err));
	}
	return EVN_OK;
}

void evn_backward_free(evn_backward *b) { free(b); } /* the queue frees the kernels */

/* Both norms: computes dx and the factors of the rows, from which dw is summed. */
static evn_status norm_backward(evn_kernel *input, evn_kernel *weight, evn_buf *dx, evn_buf *dw, evn_buf *moments,
								const evn_buf *dy, const evn_buf *x, const evn_buf *w, uint32_t n_tok,
								uint32_t stride, uint32_t dim, float eps, evn_error *err)
{
	evn_args a = evn_args_begin(input);
	evn_arg_buf(&a, dx);
	evn_arg_buf(&a, moments);
	evn_arg_buf(&a, dy);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, w);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, dim);
	evn_arg_f32(&a, eps);
	EVN_TRY(evn_launch_vectors(&a, 1, (size_t[]){n_tok}, err));
	a = evn_args_begin(weight);
	evn_arg_buf(&a, dw);
	evn_arg_buf(&a, dy);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, moments);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, n_tok);
	return evn_launch_vectors(&a, 1, (size_t[]){stride / 16}, err);
}

evn_status evn_op_rmsnorm_backward(evn_backward *b, evn_buf *dx, evn_buf *dw, evn_buf *scales, const evn_buf *dy,
								   const evn_buf *x, const evn_buf *w, uint32_t n_tok, uint32_t stride, uint32_t dim,
								   float eps, evn_error *err)
{
	return norm_backward(b->rmsnorm, b->rmsnorm_weight, dx, dw, scales, dy, x, w, n_tok, stride, dim, eps, err);
}

/* Builds a kernel that only some networks need. */
static evn_status need(const evn_backward *b, evn_kernel **k, const char *file, const char *name, evn_error *err)
{
	const evn_spec spec = evn_spec_of(file);
	return *k ? EVN_OK : evn_kernel_get(k, b->q, &spec, name, err);
}

evn_status evn_op_bias_gradient(evn_backward *b, evn_buf *db, const evn_buf *dy, uint32_t stride, uint32_t width,
								uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(b->bias);
	evn_arg_buf(&a, db);
	evn_arg_buf(&a, dy);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, width);
	evn_arg_u32(&a, n_tok);
	return evn_launch_vectors(&a, 1, (size_t[]){(width + 15) / 16}, err);
}

evn_status evn_op_layernorm_backward(evn_backward *b, evn_buf *dx, evn_buf *dw, evn_buf *db, evn_buf *moments,
									 const evn_buf *dy, const evn_buf *x, const evn_buf *w, uint32_t n_tok,
									 uint32_t stride, uint32_t dim, float eps, evn_error *err)
{
	EVN_TRY(need(b, &b->layernorm, "train/backward_gpt2.cl", "layernorm_backward", err));
	EVN_TRY(need(b, &b->layernorm_weight, "train/backward_gpt2.cl", "layernorm_weight_gradient", err));
	EVN_TRY(
		norm_backward(b->layernorm, b->layernorm_weight, dx, dw, moments, dy, x, w, n_tok, stride, dim, eps, err));
	return evn_op_bias_gradient(b, db, dy, stride, dim, n_tok, err);
}

evn_status evn_op_gelu_backward(evn_backward *b, evn_buf *dx, const evn_buf *x, uint32_t x_stride, const evn_buf *dy,
								uint32_t y_stride, uint32_t width, uint32_t n_tok, evn_error *err)
{
	EVN_TRY(need(b, &b->gelu, "train/backward_gpt2.cl", "gelu_backward", err));
	evn_args a = evn_args_begin(b->gelu);
	evn_arg_buf(&a, dx);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_buf(&a, dy);
	evn_arg_u32(&a, y_stride);
	return evn_launch_vectors(&a, 2, (size_t[]){width / 16, n_tok}, err);
}

evn_status evn_op_swiglu_backward(evn_backward *b, evn_buf *dgu, const evn_buf *gu, uint32_t gu_stride,
								  uint32_t up_offset, const evn_buf *dy, uint32_t y_stride, uint32_t width,
								  uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(b->swiglu);
	evn_arg_buf(&a, dgu);
	evn_arg_buf(&a, gu);
	evn_arg_u32(&a, gu_stride);
	evn_arg_u32(&a, up_offset);
	evn_arg_buf(&a, dy);
	evn_arg_u32(&a, y_stride);
	return evn_launch_vectors(&a, 2, (size_t[]){width / 16, n_tok}, err);
}

evn_status evn_op_attention_backward(evn_backward *b, evn_buf *dqkv, evn_buf *delta, const evn_buf *qkv,
									 const evn_buf *out, const evn_buf *dout, const evn_buf *lse,
									 const evn_sequences *s, evn_error *err)
{
	evn_args a = evn_args_begin(b->attention_queries);
	evn_arg_buf(&a, dqkv);
	evn_arg_buf(&a, delta);
	evn_arg_buf(&a, qkv);
	evn_arg_buf(&a, out);
	evn_arg_buf(&a, dout);
	evn_arg_buf(&a, lse);
	evn_arg_struct(&a, s, sizeof *s);
	EVN_TRY(evn_launch_vectors(&a, 3, (size_t[]){s->n_ctx / EVN_SEQUENCE_GRAIN, s->n_heads, s->n_sequences}, err));
	a = evn_args_begin(b->attention_keys);
	evn_arg_buf(&a, dqkv);
	evn_arg_buf(&a, delta);
	evn_arg_buf(&a, qkv);
	evn_arg_buf(&a, dout);
	evn_arg_buf(&a, lse);
	evn_arg_struct(&a, s, sizeof *s);
	return evn_launch_vectors(&a, 3, (size_t[]){s->n_ctx / EVN_SEQUENCE_GRAIN, s->n_kv, s->n_sequences}, err);
}

evn_status evn_op_embed(evn_backward *b, evn_buf *x, const evn_buf *table, const evn_buf *ids, uint32_t first,
						uint32_t n, uint32_t stride, uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(b->embed);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, table);
	evn_arg_buf(&a, ids);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, first);
	evn_arg_u32(&a, n);
	return evn_launch_vectors(&a, 2, (size_t[]){stride / 16, n_tok}, err);
}

evn_status evn_op_embed_backward(evn_backward *b, evn_buf *dtable, const evn_buf *dx, const evn_buf *starts,
								 const evn_buf *order, uint32_t n, uint32_t stride, evn_error *err)
{
	evn_args a = evn_args_begin(b->embed_back);
	evn_arg_buf(&a, dtable);
	evn_arg_buf(&a, dx);
	evn_arg_buf(&a, starts);
	evn_arg_buf(&a, order);
	evn_arg_u32(&a, stride);
	return evn_launch_vectors(&a, 2, (size_t[]){stride / 16, n}, err);
}

evn_status evn_op_add_positions(evn_backward *b, evn_buf *x, const evn_buf *table, const evn_positions *p,
								evn_error *err)
{
	EVN_TRY(need(b, &b->positions, "train/backward_gpt2.cl", "add_positions", err));
	evn_args a = evn_args_begin(b->positions);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, table);
	evn_arg_u32(&a, p->stride);
	evn_arg_u32(&a, p->first);
	evn_arg_u32(&a, p->n);
	evn_arg_u32(&a, p->n_ctx);
	return evn_launch_vectors(&a, 2, (size_t[]){p->stride / 16, p->n_tok}, err);
}

evn_status evn_op_positions_backward(evn_backward *b, evn_buf *dtable, const evn_buf *dx, const evn_positions *p,
									 evn_error *err)
{
	EVN_TRY(need(b, &b->positions_back, "train/backward_gpt2.cl", "positions_backward", err));
	evn_args a = evn_args_begin(b->positions_back);
	evn_arg_buf(&a, dtable);
	evn_arg_buf(&a, dx);
	evn_arg_u32(&a, p->stride);
	evn_arg_u32(&a, p->first);
	evn_arg_u32(&a, p->n_ctx);
	evn_arg_u32(&a, p->n_tok);
	return evn_launch_vectors(&a, 2, (size_t[]){p->stride / 16, p->n}, err);
}

evn_status evn_op_loss_stats(evn_backward *b, evn_buf *stats, const evn_buf *logits, const evn_buf *targets,
							 const evn_loss *l, evn_error *err)
{
	evn_args a = evn_args_begin(b->stats);
	evn_arg_buf(&a, stats);
	evn_arg_buf(&a, logits);
	evn_arg_buf(&a, targets);
	evn_arg_struct(&a, l, sizeof *l);
	return evn_launch_vectors(&a, 1, (size_t[]){l->n_tok}, err);
}

evn_status evn_op_loss_gradient(evn_backward *b, evn_buf *losses, evn_buf *logits, const evn_buf *stats,
								const evn_buf *targets, const evn_loss *l, float scale, evn_error *err)
{
	evn_args a = evn_args_begin(b->loss);
	evn_arg_buf(&a, losses);
	evn_arg_buf(&a, logits);
	evn_arg_buf(&a, stats);
	evn_arg_buf(&a, targets);
	evn_arg_struct(&a, l, sizeof *l);
	evn_arg_f32(&a, scale);
	return evn_launch_vectors(&a, 1, (size_t[]){l->n_tok}, err);
}

evn_status evn_op_adamw(evn_backward *b, evn_buf *w, evn_buf *m, evn_buf *v, const evn_buf *g, uint64_t n,
						const evn_adamw *o, evn_error *err)
{
	evn_args a = evn_args_begin(b->adamw);
	evn_arg_buf(&a, w);
	evn_arg_buf(&a, m);
	evn_arg_buf(&a, v);
	evn_arg_buf(&a, g);
	evn_arg_struct(&a, o, sizeof *o);
	return evn_launch_items(&a, (uint32_t)(n / 16), err);
}

evn_status evn_op_sum_squares(evn_backward *b, evn_buf *sums, const evn_buf *g, uint64_t n, evn_error *err)
{
	evn_args a = evn_args_begin(b->squares);
	evn_arg_buf(&a, sums);
	evn_arg_buf(&a, g);
	evn_arg_u32(&a, (uint32_t)n);
	return evn_launch_vectors(&a, 1, (size_t[]){(size_t)((n + EVN_SQUARES_PIECE - 1) / EVN_SQUARES_PIECE)}, err);
}
