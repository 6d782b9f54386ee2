#pragma once

#include <setjmp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace refork::crash {

// What a thread's handlers of signals know. Trivial, so that reaching it costs one instruction and is safe in
// a handler.
struct Thread {
  bool met;           // it has an alternate stack, or cannot have one
  bool control;       // it drives the Worker
  bool answers;       // an answer is prepared, below
  bool holds;         // the connection holds the worker
  bool freezes;       // it has faulted and is contained
  int answer_fd;      // where the answer goes
  const char* bytes;  // prepared; the adapter's
  std::size_t size;
  std::uint64_t request;  // what it answers
  sigjmp_buf* guard;      // where a fault of the handler's own goes
};
extern __thread Thread this_thread __attribute__((visibility("hidden"), tls_model("initial-exec")));

// Gives this thread a stack for its handlers, freed when it ends, unless it has one. Not for handlers.
void meet_thread() noexcept;
inline void meet() noexcept {
  if (__builtin_expect(!this_thread.met, false)) meet_thread();
}

std::uint32_t thread_id() noexcept;  // by a system call: a forked child has another one

// Calls what may read memory that is not there; false if it did. In handlers of signals only.
template <class Call>
bool guarded(Call call) noexcept {
  sigjmp_buf here;
  sigjmp_buf* const before = this_thread.guard;
  if (sigsetjmp(here, 0) != 0) {
    this_thread.guard = before;
    return false;
  }
  this_thread.guard = &here;
  call();
  this_thread.guard = before;
  return true;
}

}  // namespace refork::crash
