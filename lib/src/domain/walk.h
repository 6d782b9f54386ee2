#pragma once

#include <cstddef>
#include <cstdint>

namespace refork::detail {

inline constexpr std::size_t machinery_limit =
    16;  // entries of the unwinder and of this library, above the throw

struct Walked {
  std::size_t frames;
  std::uintptr_t domain;  // stack address of the call through a domain at which it ended, 0 if it did not
};

// Writes the return addresses of this thread's stack, newest first: up to the stack address, or to the
// innermost call through a domain. Does not allocate, takes no lock.
std::size_t walk(void** stack, std::size_t size, std::uintptr_t limit) noexcept;
Walked walk_to_domain(void** stack, std::size_t size) noexcept;

// How many of the newest entries belong to the throwing itself: this library, the unwinder, the runtime.
std::size_t count_machinery(void* const* stack, std::size_t size) noexcept;

}  // namespace refork::detail
