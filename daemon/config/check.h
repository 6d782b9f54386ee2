#pragma once

#include <string>

#include "config/json_reader.h"
#include "config/problems.h"

namespace refork::config {

// Checks a value against a schema and adds everything that is wrong with it, at its place, under its path.
void check(const Value& value, const Value& schema, const std::string& path, ProblemList& problems);

}  // namespace refork::config
