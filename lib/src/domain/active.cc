// The stack of active domains as a handler of signals sees it: in whatever state the signal found it.
#include "domain/active.h"

#include <algorithm>
#include <cstring>

#include "domain/snapshot.h"
#include "domain/stack.h"

namespace refork::detail {
namespace {

std::atomic<void (*)() noexcept> greeting{nullptr};

}  // namespace

__attribute__((noinline, cold)) void greet_this_thread() noexcept {
  this_thread.greeted = true;
  if (const auto greet = greeting.load()) greet();
}

}  // namespace refork::detail

namespace refork::domain {
namespace {

// What was overwritten is seldom a pointer; one that could be may still lead nowhere.
template <class T>
bool can_be(const T* object) noexcept {
  return object != nullptr && reinterpret_cast<std::uintptr_t>(object) % alignof(T) == 0;
}

}  // namespace

void greet_threads(void (*greet)() noexcept) noexcept { detail::greeting.store(greet); }

std::uint64_t active(char* names, std::size_t size, std::atomic<std::uint32_t>* length) noexcept {
  using detail::Frame;
  const detail::State* seen[detail::chain_limit];
  std::size_t count = 0, used = 0, passed = 0;
  std::uint64_t request = 0;
  constexpr std::size_t most_frames = 1024;  // a damaged list may be a ring
  for (const Frame* frame = detail::this_thread.top;
       can_be(frame) && count < detail::chain_limit && passed < most_frames;
       frame = detail::below(*frame), ++passed) {
    const detail::State* const state = frame->state;
    if (!can_be(state) || std::find(seen, seen + count, state) != seen + count) continue;
    seen[count++] = state;
    if (request == 0) request = state->request.load(std::memory_order_relaxed);
    if (names == nullptr) continue;
    const std::size_t part = std::min(state->name.size(), size - used);
    std::memcpy(names + used, state->name.data(), part);
    used += part;
    if (used < size) names[used++] = '\n';
    length->store(static_cast<std::uint32_t>(used), std::memory_order_release);
  }
  return request;
}

}  // namespace refork::domain
