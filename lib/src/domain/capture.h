#pragma once

#include "domain/state.h"

namespace refork::detail {

// Tells the domain (null for none) of an error that was not thrown, by the function that returns to
// `reported_from`. Throws it if there is neither a handler nor a sink.
void report(State* state, Failure& failure, const void* reported_from);

}  // namespace refork::detail
