#pragma once

#include "config/json_reader.h"
#include "config/problems.h"
#include "core/service_config.h"

namespace refork::config {

// The configuration that a root value says, and the checks that need more than one value. What the schema
// refused is passed over, so that these problems are told together with the schema's.
core::DaemonConfig build(const Value& root, ProblemList& problems);

}  // namespace refork::config
