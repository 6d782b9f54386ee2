#pragma once

#include <string>

#include "proto/record.h"
#include "recorder/reader.h"

namespace refork::supervisor {

struct Subject;

// A fatal signal in a flight recorder as the failure that it is; its frames have no names yet. `executable`:
// the worker's program, empty where it is not known. The id depends on nothing but the worker and the slot,
// so that the record is stored once, however often and by whomever it is found.
proto::FailureRecord crash_record(const Subject& subject, const recorder::Crash& crash,
                                  const std::string& executable);

}  // namespace refork::supervisor
