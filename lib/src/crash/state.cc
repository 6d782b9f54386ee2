// The handlers' shared state, and the few system calls they are made of.

#include "crash/state.h"

#include <sys/socket.h>

#include <cerrno>

#include "crash/thread.h"

namespace refork::crash {

State state;

bool is_fault(int signal, const siginfo_t& info) noexcept {
  const bool of_instruction = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
  return of_instruction && info.si_code > 0;
}

void take(Fatal& fatal, int signal, const siginfo_t& info) noexcept {
  fatal.signal = signal;
  fatal.info = info;
  fatal.known.store(true, std::memory_order_release);
}

void arm_timer(std::uint64_t ms) noexcept {
  if (!state.has_timer) return;
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(ms / 1000);
  spec.it_value.tv_nsec = static_cast<long>(ms % 1000 * 1'000'000);
  ::timer_settime(state.timer, 0, &spec, nullptr);
}

void send(const Packet& packet) noexcept {
  const int fd = state.channel_fd.load(std::memory_order_relaxed);
  if (fd >= 0) static_cast<void>(::send(fd, packet.bytes, packet.length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void sleep_ms(std::uint64_t ms) noexcept {
  timespec rest{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * 1'000'000)};
  while (::nanosleep(&rest, &rest) != 0 && errno == EINTR) continue;
}

}  // namespace refork::crash
