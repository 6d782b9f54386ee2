#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "recorder/layout.h"

// How the parts of Reader look at a file that an untrusted process maps.
namespace refork::recorder {

// The bytes that are there, at most `size`; 0 for none and for an error.
std::size_t read_at(int fd, void* into, std::size_t size, std::size_t offset) noexcept;
base::Result<void> write_at(int fd, const void* from, std::size_t size, std::size_t offset);

// A copy of what the file holds, in types that can be copied about: the layout's own are atomics.
template <class T>
struct Copy {
  alignas(T) std::byte bytes[sizeof(T)];
  const T* operator->() const noexcept { return reinterpret_cast<const T*>(bytes); }
  const T& operator*() const noexcept { return *operator->(); }
};

template <class T>
bool read_copy(int fd, Copy<T>& into, std::size_t offset) noexcept {
  return read_at(fd, &into, sizeof into, offset) == sizeof into;
}

base::Result<Copy<Header>> read_header(int fd);

std::uint64_t now_ns() noexcept;                                              // of CLOCK_MONOTONIC
std::uint64_t age_ms(std::uint64_t start_ns, std::uint64_t now_ns) noexcept;  // 0 of what is yet to come

}  // namespace refork::recorder
