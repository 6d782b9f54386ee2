#pragma once

#include "domain/state.h"

namespace refork::detail {

// Tells the domain (null for none) of an error that was not thrown, by the function that returns to
// `reported_from`. Throws it if there is neither a handler nor a sink.
void report(State* state, Failure& failure, const void* reported_from);

// As run(), for a caller that no exception may cross: what would go outward is captured at once, by the
// handler that it would have come to, or else by the sink. A null state is no domain.
Returned run_for_c(State* state, Thunk call, void* argument);

}  // namespace refork::detail
