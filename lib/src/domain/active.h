#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

// What a handler of signals may ask about the thread that it interrupted. No lock, no memory.
namespace refork::domain {

// The in-flight request of the innermost active domain that has one, 0 for none. Writes the names of the
// active domains into `names` (unless null), innermost first, each followed by a newline; `length` grows as
// they are there. Where the stack of domains is damaged it may read memory that is not there.
std::uint64_t active(char* names, std::size_t size, std::atomic<std::uint32_t>* length) noexcept;

// std::terminate was called, and has been recorded or is just being.
bool terminating() noexcept;

// Called on each thread from now on, as it enters its first domain.
void greet_threads(void (*greet)() noexcept) noexcept;

}  // namespace refork::domain
