#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/json_reader.h"

namespace refork::config {

// refork.schema.json, as it is shipped.
extern const char* const schema_text;

// The parsed schema; it lives as long as the program.
const Value& schema();

// The schema of one service.
const Value& service_schema();

// A keyword of this schema or, failing that, of the one it refers to with "$ref" ("#/$defs/NAME").
const Value* keyword(const Value& schema, std::string_view name);

// keyword() for texts: empty if there is none.
std::string_view text_of(const Value& schema, std::string_view name);

// The names under "properties".
std::vector<std::string> property_names(const Value& schema);

// What a value has to be, in words: "a whole number from 1 to 1024". "x-expected" says it where it is given.
std::string expectation(const Value& schema);

}  // namespace refork::config
