/* fuzz_facts.c - cached measurements of any text, and two of them merged. */
#include "fuzz.h"

#include <math.h>

#include "engine/facts.h"

static void check(const evn_facts *f)
{
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++) {
		MUST(isfinite(f->ranks[i].launch_us) && f->ranks[i].launch_us >= 0);
		for (size_t k = 0; k < EVN_FORMATS; k++)
			for (size_t d = 0; d < EVN_DOT_COUNT; d++)
				MUST(isfinite(f->ranks[i].products[k][d].gbs) && f->ranks[i].products[k][d].gbs >= 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	evn_facts f;
	char *text = malloc(size + 1);
	MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	evn_facts_parse(&f, text, 7);
	check(&f);
	fuzz_valid += f.ranks[0].products[evn_quant_index(evn_quant_by_name("Q4_1"))][3].gbs > 0;
	char *merged = evn_facts_merge(text, text + strlen(text) / 2);
	MUST(merged != NULL);
	evn_facts_parse(&f, merged, 7);
	check(&f);
	free(merged);
	free(text);
	return 0;
}
