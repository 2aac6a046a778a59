// attention_append.cl - appends keys and values to the KV cache.
#include "heads.cl"

// Work-item (KV head, row).
kernel IN_VECTORS void attention_append(ATTENTION_PARAMETERS)
{
	const attention_input a = ATTENTION_INPUT;
	const row_span s = span_of_row(spans, get_global_id(1));
	append(&a, &s, get_global_id(0), get_global_id(1));
}
