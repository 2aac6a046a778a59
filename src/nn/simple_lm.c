/* simple_lm.c - the least language model: an embedding and a linear layer. What it says next depends on the last
 * token alone. */
#include "nn/decoder_rank.h"

/* There is none: the output matrix reads the embedding. */
static evn_status no_norm(evn_decoder *d, const evn_norm_weights *w, uint32_t first, uint32_t n_tok, evn_error *err)
{
	(void)w;
	if (!d->norm_kernel)
		EVN_TRY(evn_kernel_get(&d->norm_kernel, d->q, "copy_rows.cl", "copy_rows", "", err));
	evn_args a = evn_args_begin(d->norm_kernel);
	evn_arg_buf(&a, d->normed);
	evn_arg_buf(&a, d->x);
	evn_arg_u32(&a, first);
	evn_arg_u32(&a, d->dim_stride);
	return evn_launch(&a, 2, (size_t[]){d->dim_stride / 16, n_tok}, (size_t[]){1, 1}, err);
}

static const char *const proofs[] = {NULL};

const evn_arch evn_arch_simple_lm = {.name = "simple-lm", .proofs = proofs, .norm = no_norm};
