// meet_and_norm.cl - a meeting and the norm that comes next. Comes after meet.cl.

// The meeting, then what add_norm does for n_tok rows. One work-item.
kernel IN_VECTORS void meet_and_norm(MEETING, uint apart, global float *x, uint n_tok, uint first, uint contributors,
                                     global float *y, const global float *w, const global float *bias, uint stride, uint dim,
                                     float eps)
{
	const global uchar *p[MAX_RANKS];
	uint n = find_partials(p, (const global uchar *)shared, first, apart, contributors);
	wait_for_all(shared, come(shared, rank), n_ranks, limit);
	for (uint t = 0; t < n_tok; t++)
		add_norm_row(y, t, x, p, n, w, bias, stride, dim, eps, (local float *)0);
	stay(shared, linger);
}
