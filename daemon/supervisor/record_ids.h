#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/records.h"
#include "proto/record.h"

namespace refork::supervisor {

struct Subject;

// The ids of what reforkd itself records. Each follows from the worker, so that the same thing, met again by
// the next reforkd, is stored once; no worker may use one for a record of its own.
std::string report_id(const Subject& subject, Kind kind, std::uint32_t number);  // of that kind, from 1
std::string crash_id(const Subject& subject, std::uint32_t slot);
bool is_own_id(std::string_view id);

}  // namespace refork::supervisor
