#pragma once

#include <ucontext.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "recorder/writer.h"

namespace refork::crash {

// The first unwinding of a process loads and allocates what later ones only use.
void warm_unwinder() noexcept;

// Writes the stack that a signal interrupted: the instruction itself, then calls, newest first, each counted
// as soon as it is there. To be called from the signal's handler, with its context. Async-signal-safe; where
// the stack is damaged it is shorter.
void unwind(recorder::Writer& writer, ucontext_t& interrupted, recorder::Place* frames, std::size_t size,
            std::atomic<std::uint32_t>& count) noexcept;

}  // namespace refork::crash
