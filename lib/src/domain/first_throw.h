#pragma once

#include <cstddef>
#include <cstdint>

namespace refork::detail {

inline constexpr std::size_t first_throw_frames = 64;  // return addresses kept of a throw

// The stacks of the exceptions that were thrown inside a domain of late, by their objects: for those that are
// caught and thrown again, by `throw;`, from a future or out of a coroutine, perhaps on another thread. Kept
// without allocating, in a table of fixed size; what finds no place is not kept.
void note_throw(const void* object) noexcept;
// Another exception is thrown at this address, and not noted.
void forget_throw(const void* object) noexcept;
// Copies the stack, newest first, and returns its length: 0 if it is not known. `stack` has room for
// first_throw_frames.
std::size_t find_throw(const void* object, void** stack) noexcept;
// The same where it is whole: it reaches to the call through a domain at this stack address.
std::size_t find_throw_below(const void* object, std::uintptr_t domain, void** stack) noexcept;

}  // namespace refork::detail
