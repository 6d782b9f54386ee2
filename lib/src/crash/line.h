#pragma once

#include "recorder/layout.h"

namespace refork::crash {

// Where no reforkd reads the flight recorder: the fatal signal as one JSON line on stderr, in the shape of
// other failures. The query of the label is shown only if `show_query`. Async-signal-safe; for one thread of
// the process.
void write_crash_line(const recorder::CrashSlot& slot, const recorder::ModuleSlot* modules,
                      bool show_query) noexcept;

}  // namespace refork::crash
