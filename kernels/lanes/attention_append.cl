// attention_append.cl - appends keys and values to the KV cache, with scalars.
#include "lanes/heads.cl"

// Work-group (KV head, row).
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1))) void attention_append(ATTENTION_PARAMETERS)
{
	local float x[2 * HEAD_PAD], part[EVN_LANE_ITEMS];
	const attention_input a = ATTENTION_INPUT;
	const row_span s = span_of_row(spans, get_group_id(1));
	append(&a, &s, get_group_id(0), get_group_id(1), x, part);
}
