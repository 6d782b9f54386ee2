#pragma once

#include <cstdint>

#include "recorder/writer.h"

namespace refork::crash {

// Enters all modules of the process into the recorder's table. Not for signal handlers.
void enter_modules(recorder::Writer& writer);

// Where an instruction is. A module that was loaded later is entered now. Async-signal-safe.
recorder::Place place_of(recorder::Writer& writer, std::uintptr_t address) noexcept;
bool in_module(std::uintptr_t address) noexcept;

}  // namespace refork::crash
