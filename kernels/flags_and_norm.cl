// flags_and_norm.cl - an all-reduce and the norm that comes next.
#include "flags.cl"
#include "sum_norm.cl"

// Arrives and waits, then what add_norm does for n_tok rows. One work-item.
kernel IN_VECTORS void flags_and_norm(FLAGS, uint apart, global float *x, uint n_tok, uint first, uint ranks,
                                     global float *y, const global float *w, const global float *bias, uint stride, uint dim,
                                     float eps)
{
	const global uchar *p[EVN_MAX_RANKS];
	uint n = find_partials(p, (const global uchar *)shared, first, apart, ranks);
	wait_for_all(shared, arrive(shared, rank), n_ranks, limit);
	for (uint t = 0; t < n_tok; t++)
		add_norm_row(y, t, x, p, n, w, bias, stride, dim, eps, (local float *)0);
	wait_looks(shared, delay);
}
