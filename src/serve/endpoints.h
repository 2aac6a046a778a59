/* endpoints.h - what each route runs; see route.run. */
#ifndef EVN_SERVE_ENDPOINTS_H
#define EVN_SERVE_ENDPOINTS_H

#include "serve/exchange.h"

bool endpoint_page(exchange *x);
bool endpoint_events(exchange *x);
bool endpoint_health(exchange *x);
bool endpoint_models(exchange *x);
bool endpoint_model(exchange *x);
bool endpoint_openapi(exchange *x);
bool endpoint_metrics(exchange *x);
bool endpoint_tokenize(exchange *x);
bool endpoint_detokenize(exchange *x);
bool endpoint_apply_template(exchange *x);
bool endpoint_completions(exchange *x);
bool endpoint_embeddings(exchange *x);
bool endpoint_chat(exchange *x);
bool endpoint_messages(exchange *x);
bool endpoint_responses(exchange *x);
bool endpoint_count_tokens(exchange *x);

#endif
