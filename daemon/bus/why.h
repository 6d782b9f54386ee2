#pragma once

#include "bus/sdbus.h"
#include "core/history.h"

namespace refork::bus {

// slot (-1: the service), worker (0: none), kind, text, until (Unix ms, 0: not known).
inline constexpr const char* condition_signature = "(itsst)";
// time (Unix ms), slot, worker, pid, what, text, detail (both empty for those who may not read failures),
// failure, instead_of, by, waited_ms, waited_for, duration_ms, completed, cut (-1: do not apply), count.
inline constexpr const char* entry_signature = "(titisssststsxxxt)";

int answer_why(sd_bus_message* call, const core::Why& why, bool with_texts);

}  // namespace refork::bus
