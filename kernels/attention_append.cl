// attention_append.cl - keys and values to the KV cache.
#include "heads.cl"

// Work-item (KV head, token).
kernel IN_VECTORS void attention_append(ATTENTION_PARAMETERS)
{
	const attention_input a = ATTENTION_INPUT;
	append(&a, get_global_id(0), get_global_id(1));
}
