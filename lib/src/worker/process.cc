// The part of the worker that is one a process: the wake-up descriptor, signal handlers, forks. It decides
// nothing; it only leaves word (an atomic and a wake-up), except for the deadline's second line, which ends
// the process.

#include "worker/process.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/unique_fd.h"
#include "crash/crash.h"
#include "proto/messages.h"

namespace refork::worker {

Process process;

namespace {

std::atomic<bool> forked{false};
std::atomic<int> fd_not_for_children{-1};

struct Sigterm {
  bool caught = false;
  struct sigaction before {};
};
Sigterm sigterm;

struct SecondLine {
  std::atomic<int> channel_fd{-1};
  std::atomic<int> exit_code{0};
  std::atomic<bool> armed{false};
  timer_t timer{};
  struct sigaction before {};
  std::string farewell;
};
// Never destroyed: the handler may run during exit().
SecondLine& second_line = *new SecondLine;

extern "C" void on_sigterm(int) {
  const int saved = errno;
  process.terminate.store(true);
  wake();
  errno = saved;
}

extern "C" void on_second_line(int, siginfo_t*, void* context) {
  crash::tell_stacks(context);
  const int fd = second_line.channel_fd.load();
  if (fd >= 0)
    static_cast<void>(
        ::send(fd, second_line.farewell.data(), second_line.farewell.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  if (crash::contained()) crash::die();
  _exit(second_line.exit_code.load());
}

// Async-signal-safe: a fork of a process with threads allows no more.
extern "C" void in_child() {
  if (process.writer.load() == nullptr) return;
  crash::forget();
  forked.store(true);
  process.writer.store(nullptr);
  process.draining.store(false);
  if (const int fd = fd_not_for_children.exchange(-1); fd >= 0) ::close(fd);
  restore_sigterm();
}

}  // namespace

void wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(process.wake_fd.load(std::memory_order_relaxed), &one, sizeof one));
}

bool in_forked_child() noexcept { return forked.load(std::memory_order_relaxed); }

void watch_forks(int channel_fd) noexcept {
  fd_not_for_children.store(channel_fd);
  static const int registered = pthread_atfork(nullptr, nullptr, in_child);
  static_cast<void>(registered);
}

void catch_sigterm() {
  struct sigaction action {};
  action.sa_handler = on_sigterm;
  action.sa_flags = SA_RESTART;
  sigterm.caught = sigaction(SIGTERM, &action, &sigterm.before) == 0;
}

void restore_sigterm() noexcept {
  if (!sigterm.caught) return;
  sigterm.caught = false;
  sigaction(SIGTERM, &sigterm.before, nullptr);
}

int deadline_signal() noexcept { return SIGRTMAX - 2; }

void arm_second_line(std::chrono::steady_clock::time_point deadline, int channel_fd, int exit_code) noexcept {
  second_line.channel_fd.store(channel_fd);
  second_line.exit_code.store(exit_code);
  try {
    second_line.farewell = proto::encode(proto::Disconnect{true});
  } catch (...) {
    second_line.channel_fd.store(-1);
  }
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = deadline_signal();
  if (timer_create(CLOCK_MONOTONIC, &event, &second_line.timer) != 0) return;
  struct sigaction action {};
  action.sa_sigaction = on_second_line;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(deadline_signal(), &action, &second_line.before);
  using namespace std::chrono;
  const auto when = duration_cast<nanoseconds>((deadline + second_line_after).time_since_epoch());
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(when.count() / 1'000'000'000);
  spec.it_value.tv_nsec = static_cast<long>(when.count() % 1'000'000'000);
  timer_settime(second_line.timer, TIMER_ABSTIME, &spec, nullptr);
  second_line.armed.store(true);
}

void disarm_second_line() noexcept {
  if (!second_line.armed.exchange(false)) return;
  timer_delete(second_line.timer);
  sigaction(deadline_signal(), &second_line.before, nullptr);
}

}  // namespace refork::worker
