#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "recorder/writer.h"

// What the handlers share. One a process, in static memory: they may run at any time, exit() included.
namespace refork::crash {

inline constexpr std::array fatal_signals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};

// How long a handler may take until the signal has its way regardless.
inline constexpr std::uint64_t handler_limit_ms = 2000;

struct Packet {
  char bytes[64];
  std::size_t length = 0;
};

// A signal that the process is to die of. Written once, by the thread that takes `thread` from 0.
struct Fatal {
  std::atomic<std::uint32_t> thread{0};
  std::atomic<bool> known{false};  // the rest is there
  int signal = 0;
  siginfo_t info{};
};

struct State {
  std::atomic<recorder::Writer*> writer{nullptr};  // nullptr: nothing is recorded
  pid_t process = 0;  // whose signals these are; not those of a child of any kind
  std::atomic<int> channel_fd{-1};
  Packet crashed, contained;
  bool show_query = false;
  std::atomic<std::int64_t>* holds = nullptr;
  void (*wake)() noexcept = nullptr;
  struct sigaction before[fatal_signals.size()]{};
  bool installed[fatal_signals.size()] = {};
  timer_t timer{};
  bool has_timer = false;
  std::atomic<bool> contains{false};
  std::atomic<std::uint64_t> contained_limit_ms{30000};
  std::atomic<bool> told{false};           // reforkd knows that this process dies
  Fatal dying;                             // now
  Fatal frozen;                            // once the others have finished: the first that was contained
  std::atomic<bool> drains{false};         // the process is to finish, and then to die of `frozen`
  std::atomic<std::uint32_t> released{0};  // a futex: the frozen thread goes on to die
};
extern State state;

// A fault of the instruction that was interrupted, which happens again when the handler returns; otherwise
// somebody sent the signal, or it tells of what is over.
bool is_fault(int signal, const siginfo_t& info) noexcept;

void take(Fatal& fatal, int signal, const siginfo_t& info) noexcept;  // what is not its thread
void arm_timer(std::uint64_t ms) noexcept;                            // 0: off
void send(const Packet& packet) noexcept;
void sleep_ms(std::uint64_t ms) noexcept;

// The signal has its default meaning again and comes again, at the latest when the handler returns.
void let_die(int signal, const siginfo_t& info) noexcept;
// In the handler of the timer: whoever should have died by now, or have begun to drain, did not come to it.
void enforce() noexcept;
// A fault was contained: the process is to drain.
void tell_contained() noexcept;
// In a handler: its own faults reach it, and so does the timer, whatever this thread has blocked, or a
// handler of the application that goes on to ours.
void unblock() noexcept;

// This thread's stack for the latest demand; `context` is what the signal interrupted.
void answer_stacks(void* context) noexcept;

}  // namespace refork::crash
