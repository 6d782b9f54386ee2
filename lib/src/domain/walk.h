#pragma once

#include <cstddef>
#include <cstdint>

namespace refork::detail {

inline constexpr std::size_t machinery_limit =
    16;  // entries of the unwinder and of this library, above the throw

enum class WalkTo {
  limit,   // to the stack address
  domain,  // to the innermost call through a domain, or to the stack address
};

// Writes the return addresses of this thread's stack, newest first, and returns their number. Does not
// allocate, takes no lock.
std::size_t walk(void** stack, std::size_t size, std::uintptr_t limit, WalkTo to = WalkTo::limit) noexcept;

// How many of the newest entries belong to the throwing itself: this library, the unwinder, the runtime.
std::size_t count_machinery(void* const* stack, std::size_t size) noexcept;

}  // namespace refork::detail
