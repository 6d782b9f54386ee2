// How the process dies of a signal that was caught: of that signal, with its own particulars, and so that the
// kernel's core shows the fault rather than its handler.

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash/crash.h"
#include "crash/state.h"
#include "crash/thread.h"

namespace refork::crash {
namespace {

constexpr std::uint64_t grace_ms = 1000;       // for a thread that was told to die
constexpr std::uint64_t enforcement_ms = 500;  // after the drain's own deadline
constexpr int exit_base = 128;                 // plus the signal: if all else fails

void set_default(int signal) noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
}

void set_blocked(int how, int signal) noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_sigmask(how, &set, nullptr);
}

void queue_to(std::uint32_t thread, int signal, const siginfo_t& info) noexcept {
  siginfo_t copy = info;
  if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), thread, signal, &copy) != 0)
    ::syscall(SYS_tgkill, ::getpid(), thread, signal);
}

// Here and now, if nobody else does it within the grace.
[[noreturn]] void die_here(const Fatal& fatal) noexcept {
  sleep_ms(grace_ms);
  set_default(fatal.signal);
  set_blocked(SIG_UNBLOCK, fatal.signal);
  queue_to(thread_id(), fatal.signal, fatal.info);
  sleep_ms(grace_ms);
  ::_exit(exit_base + fatal.signal);
}

}  // namespace

void let_die(int signal, const siginfo_t& info) noexcept {
  set_default(signal);
  if (is_fault(signal, info)) return;
  // Delivered by the return from the handler, which restores the mask.
  set_blocked(SIG_BLOCK, signal);
  queue_to(thread_id(), signal, info);
}

void unblock() noexcept {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, recorder::stacks_signal()})
    set_blocked(SIG_UNBLOCK, signal);
}

bool contained() noexcept { return state.drains.load(std::memory_order_acquire); }

// The timer is for a process whose threads never finish, because of a lock that the frozen one holds, or
// where no thread is left that could see to it.
void tell_contained() noexcept {
  if (!state.drains.exchange(true)) arm_timer(state.contained_limit_ms.load() + enforcement_ms);
  send(state.contained);
  state.wake();
}

void die() noexcept {
  state.released.store(1);
  ::syscall(SYS_futex, &state.released, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  die_here(state.frozen);
}

void enforce() noexcept {
  if (!state.dying.known.load(std::memory_order_acquire)) {
    if (contained()) die();
    if (state.frozen.known.load(std::memory_order_acquire)) tell_contained();
    return;
  }
  if (!state.told.exchange(true)) send(state.crashed);
  set_default(state.dying.signal);
  queue_to(state.dying.thread.load(), state.dying.signal, state.dying.info);
  die_here(state.dying);
}

}  // namespace refork::crash
