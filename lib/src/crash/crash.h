#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "recorder/writer.h"

// Fatal signals: SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, and SIGSYS and SIGTRAP where nobody else
// handles them. They are recorded, reforkd is told, and then the process dies of them as it would have done,
// core and all; or, if faults are contained, once the other threads have finished.
namespace refork::crash {

struct Setup {
  recorder::Writer* writer = nullptr;
  int channel_fd = -1;             // -1: nobody reads the recorder, so a line goes to stderr
  std::string crashed, contained;  // what is sent on the channel
  bool show_query = false;
  std::atomic<std::int64_t>* holds = nullptr;  // of the process; a frozen connection gives its own back
  void (*wake)() noexcept = nullptr;           // the driver, which finds contained() true then
};

// Installs the handlers, in front of those that are there; one at a time. Throws nothing, fails silently: a
// process without them still dies of its signals.
void watch(const Setup& setup) noexcept;
void unwatch() noexcept;  // puts back what was there, unless somebody has replaced it
void forget() noexcept;   // in a forked child: nothing is recorded. Async-signal-safe.

// Faults of threads with a prepared answer are contained from now on.
void contain_faults() noexcept;
// How long they may be: the drain's deadline, and what its own enforcement takes.
void set_limit(std::chrono::milliseconds limit) noexcept;
bool contained() noexcept;  // a fault was: the process is to drain, and then to die()
// Dies of the fault that was contained, in the thread that it happened in. Async-signal-safe.
[[noreturn]] void die() noexcept;

// This thread handles `request`, and these are the bytes that answer it should it fault. They stay the
// caller's. `holds`: a Hold belongs to the connection.
void prepare_answer(std::uint64_t request, bool holds, int fd, std::string_view bytes) noexcept;
void withdraw_answer() noexcept;
// This thread drives the Worker: its faults are never contained.
void drives(bool does) noexcept;

// The threads that have requests in flight write their stacks into the recorder. Waits for them, but not for
// long. In a handler of a signal `context` is what it interrupted, and this thread tells its own as well.
// Async-signal-safe.
void tell_stacks(void* context) noexcept;

}  // namespace refork::crash
