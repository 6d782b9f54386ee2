#pragma once

#include <dlfcn.h>

#include <cstddef>

namespace refork::crash {

inline constexpr std::size_t max_build_id = 32;  // bytes

// The build-id of a module, from its program headers in memory, where the first mapping of nearly every
// module begins with them. No file is touched: it may be another one by now. Its length, 0 for none.
// Async-signal-safe.
std::size_t find_build_id(const dl_find_object& module, unsigned char (&id)[max_build_id]) noexcept;

}  // namespace refork::crash
