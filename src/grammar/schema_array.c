/* schema_array.c - arrays: items by their place, and how many. */
#include "grammar/schema.h"

typedef struct {
	json_t *fixed;     /* an array of schemas, or NULL */
	json_t *others;    /* the schema of those behind */
	uint64_t min, max; /* of items; UINT64_MAX: any number */
	uint32_t rule;     /* of the others */
} items;

/* Draft 2020 has prefixItems and items, those before have items and additionalItems. */
static evn_status read_items(evn_schema *s, json_t *schema, items *a)
{
	json_t *list = json_object_get(schema, "items");
	*a = (items){.fixed = json_object_get(schema, "prefixItems"), .others = list, .max = UINT64_MAX};
	if (!a->fixed && json_is_array(list)) {
		a->fixed = list;
		a->others = json_object_get(schema, "additionalItems");
	}
	if (a->fixed && !json_is_array(a->fixed))
		return evn_schema_fail(s, "prefixItems", "an array of schemas", a->fixed);
	EVN_TRY(evn_schema_count(s, schema, "minItems", &a->min));
	EVN_TRY(evn_schema_count(s, schema, "maxItems", &a->max));
	if (json_is_false(a->others) && json_array_size(a->fixed) < a->max)
		a->max = json_array_size(a->fixed);
	if (a->min > EVN_NET_MAX_COUNT)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: minItems is more than %u, which is the limit",
						EVN_NET_MAX_COUNT);
	if (a->max != UINT64_MAX && a->max > EVN_NET_MAX_COUNT)
		a->max = EVN_NET_MAX_COUNT; /* fewer are valid too */
	return EVN_OK;
}

static evn_status add_item(evn_schema *s, const items *a, uint64_t i, uint32_t from, uint32_t *to)
{
	if (i > 0)
		from = evn_schema_space(s, evn_net_text(s->net, from, ",", 1));
	if (i < json_array_size(a->fixed))
		return evn_schema_add(s, json_array_get(a->fixed, (size_t)i), from, to);
	*to = evn_net_call(s->net, from, a->rule);
	return EVN_OK;
}

evn_status evn_schema_array(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	items a;
	EVN_TRY(read_items(s, schema, &a));
	const uint64_t n_fixed = json_array_size(a.fixed);
	if (a.max > n_fixed)
		EVN_TRY(evn_schema_rule_of(s, a.others ? a.others : json_true(), &a.rule));
	*to = evn_net_state(s->net);
	const uint32_t closing = evn_net_state(s->net);
	evn_net_empty(s->net, evn_net_text(s->net, evn_schema_space(s, closing), "]", 1), *to);
	uint32_t at = evn_net_text(s->net, from, "[", 1);
	if (a.min == 0)
		evn_net_empty(s->net, at, closing);
	at = evn_schema_space(s, at);
	for (uint64_t i = 0; i < a.max && s->net->status == EVN_OK; i++) {
		const bool again = a.max == UINT64_MAX && i >= n_fixed && i >= a.min && i > 0;
		uint32_t end, before = evn_net_state(s->net);
		evn_net_empty(s->net, at, before);
		EVN_TRY(add_item(s, &a, i, before, &end));
		if (i + 1 >= a.min)
			evn_net_empty(s->net, end, closing);
		if (again) {
			evn_net_empty(s->net, end, before);
			break;
		}
		at = end;
	}
	return EVN_OK;
}
