// The handlers of fatal signals, in the order of what they do: is it ours, is it contained, record it, tell
// reforkd, and go on to whoever handled it before us. No memory is allocated, no lock taken; what may fault
// is guarded; a timer ends what takes too long.

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "crash/crash.h"
#include "crash/line.h"
#include "crash/modules.h"
#include "crash/state.h"
#include "crash/thread.h"
#include "crash/unwind.h"
#include "domain/active.h"

namespace refork::crash {
namespace {

using recorder::CrashSlot;
using recorder::CrashState;
using recorder::Writer;

// With a client that takes its answer slowly, or not at all.
constexpr int answer_waits = 20, answer_wait_ms = 50;

const struct sigaction& before(int signal) noexcept {
  const auto* found = std::find(fatal_signals.begin(), fatal_signals.end(), signal);
  return state.before[found - fatal_signals.begin()];
}

bool is_function(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 ||
         (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

// --- the record

std::uint64_t unix_ms() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

void write_fault(CrashSlot& slot, int signal, const siginfo_t& info, bool contained) noexcept {
  slot.signal = signal;
  slot.code = info.si_code;
  const bool sent = info.si_code <= 0;
  slot.sender = sent ? info.si_pid : 0;
  if (!sent)
    slot.address = reinterpret_cast<std::uintptr_t>(signal == SIGSYS ? info.si_call_addr : info.si_addr);
  slot.time_ms = unix_ms();
  slot.thread = thread_id();
  slot.contained = contained ? 1 : 0;
  slot.state.store(static_cast<std::uint32_t>(CrashState::known), std::memory_order_release);
}

std::uint64_t write_request(CrashSlot& slot, const Writer& writer) noexcept {
  std::uint64_t request = 0;
  guarded(
      [&]() noexcept { request = domain::active(slot.domains, sizeof slot.domains, &slot.domains_length); });
  if (this_thread.answers) request = this_thread.request;
  if (request == 0) request = writer.request_of(slot.thread, true);
  Writer::RequestInfo info{};
  if (request != 0 && writer.describe(request, info)) {
    slot.has_request = 1;
    slot.age_ms = info.age_ms;
    const std::size_t length = ::strnlen(info.label, sizeof slot.label);
    std::memcpy(slot.label, info.label, length);
    slot.label_length.store(static_cast<std::uint32_t>(length), std::memory_order_release);
  }
  slot.in_flight = writer.in_flight();
  return request;
}

// The request that it hit, 0 for none.
std::uint64_t write_crash(CrashSlot& slot, Writer& writer, int signal, const siginfo_t& info,
                          ucontext_t& context, bool contained) noexcept {
  write_fault(slot, signal, info, contained);
  const std::uint64_t request = write_request(slot, writer);
  unwind(writer, context, slot.frames, recorder::crash_frames, slot.frame_count);
  slot.state.store(static_cast<std::uint32_t>(CrashState::complete), std::memory_order_release);
  if (state.channel_fd.load() < 0) write_crash_line(slot, writer.modules(), state.show_query);
  return request;
}

// --- containment

void send_answer() noexcept {
  const int fd = this_thread.answer_fd;
  const char* bytes = this_thread.bytes;
  std::size_t left = this_thread.size;
  for (int waits = 0; left > 0 && waits < answer_waits;) {
    const ssize_t part = ::send(fd, bytes, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (part > 0) {
      bytes += part;
      left -= static_cast<std::size_t>(part);
      continue;
    }
    if (part < 0 && errno == EINTR) continue;
    if (errno != EAGAIN) break;
    pollfd item{fd, POLLOUT, 0};
    ::poll(&item, 1, answer_wait_ms);
    ++waits;
  }
  ::shutdown(fd, SHUT_WR);
}

// Until the process dies; the thread that the process dies of goes on.
void freeze(bool first) noexcept {
  while (!first || state.released.load() == 0)
    ::syscall(SYS_futex, &state.released, FUTEX_WAIT_PRIVATE, first ? 0 : state.released.load(), nullptr,
              nullptr, 0);
}

// False if it is not to be, or cannot be. Otherwise the thread stays here to the end.
bool contain(Writer& writer, int signal, const siginfo_t& info, ucontext_t& context) noexcept {
  if (!state.contains.load() || !is_fault(signal, info) || !this_thread.answers || this_thread.control ||
      this_thread.freezes || state.dying.thread.load() != 0)
    return false;
  CrashSlot* const slot = writer.take_crash();
  if (slot == nullptr) return false;
  this_thread.freezes = true;
  std::uint32_t nobody = 0;
  const bool first = state.frozen.thread.compare_exchange_strong(nobody, thread_id());
  if (first) {
    take(state.frozen, signal, info);
    arm_timer(handler_limit_ms);
  }
  send_answer();
  const std::uint64_t request = write_crash(*slot, writer, signal, info, context, true);
  writer.end(request);
  if (this_thread.holds) state.holds->fetch_sub(1);
  tell_contained();
  freeze(first);
  let_die(signal, info);
  return true;
}

// --- the way of a signal

void record(Writer& writer, int signal, const siginfo_t& info, ucontext_t& context) noexcept {
  // What std::terminate was called for has its record.
  const bool terminated = signal == SIGABRT && domain::terminating();
  if (CrashSlot* const slot = terminated ? nullptr : writer.take_crash())
    write_crash(*slot, writer, signal, info, context, false);
  if (!state.told.exchange(true)) send(state.crashed);
}

void pass_on(int signal, siginfo_t& info, void* context) noexcept {
  const struct sigaction& handler = before(signal);
  if (is_function(handler)) {
    arm_timer(0);  // it takes the time that it takes
    if ((handler.sa_flags & SA_SIGINFO) != 0)
      handler.sa_sigaction(signal, &info, context);
    else
      handler.sa_handler(signal);
    if (is_fault(signal, info)) return;  // it may have mended it; if not, it comes again
  }
  let_die(signal, info);
}

// Another thread is at it, and takes this one along.
void wait_for_death() noexcept { sleep_ms(2 * handler_limit_ms); }

void handle(int signal, siginfo_t& info, void* context) noexcept {
  if (before(signal).sa_handler == SIG_IGN && !is_fault(signal, info)) return;
  Writer* const writer = state.writer.load();
  if (writer == nullptr || ::getpid() != state.process) return pass_on(signal, info, context);  // a child
  const std::uint32_t thread = thread_id();
  // The handler before us did not mend it, or ours failed itself.
  if (state.dying.thread.load() == thread) return let_die(signal, info);
  auto& interrupted = *static_cast<ucontext_t*>(context);
  if (contain(*writer, signal, info, interrupted)) return;
  std::uint32_t nobody = 0;
  if (state.dying.thread.compare_exchange_strong(nobody, thread)) {
    take(state.dying, signal, info);
    arm_timer(handler_limit_ms);
    record(*writer, signal, info, interrupted);
    return pass_on(signal, info, context);
  }
  wait_for_death();
  pass_on(signal, info, context);
}

extern "C" void refork_on_fatal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  unblock();
  if (this_thread.guard != nullptr && is_fault(signal, *info)) siglongjmp(*this_thread.guard, 1);
  handle(signal, *info, context);
  errno = saved;
}

extern "C" void refork_on_stacks(int, siginfo_t* info, void* context) {
  const int saved = errno;
  if (info->si_code == SI_TIMER)
    enforce();
  else
    answer_stacks(context);
  errno = saved;
}

// --- installing

// All but the fatal signals, which may come again meanwhile, and the timers' are blocked in the handlers.
sigset_t mask() noexcept {
  sigset_t set;
  ::sigfillset(&set);
  for (const int signal : fatal_signals) ::sigdelset(&set, signal);
  ::sigdelset(&set, recorder::stacks_signal());
  ::sigdelset(&set, recorder::stacks_signal() + 1);  // the end of a drain
  return set;
}

bool leave_alone(int signal, const struct sigaction& before) noexcept {
  return (signal == SIGSYS || signal == SIGTRAP) && is_function(before);
}

void install(std::size_t i) noexcept {
  struct sigaction action {};
  action.sa_sigaction = refork_on_fatal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  action.sa_mask = mask();
  const int signal = fatal_signals[i];
  if (::sigaction(signal, nullptr, &state.before[i]) != 0 || leave_alone(signal, state.before[i])) return;
  state.installed[i] = ::sigaction(signal, &action, nullptr) == 0;
}

// Not where the application uses the signal itself: then nobody is asked for stacks, and nothing bounds the
// time of a handler.
void install_stacks() noexcept {
  struct sigaction action {};
  if (::sigaction(recorder::stacks_signal(), nullptr, &action) != 0 ||
      (is_function(action) && action.sa_sigaction != refork_on_stacks))
    return;
  action = {};
  action.sa_sigaction = refork_on_stacks;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  action.sa_mask = mask();
  if (::sigaction(recorder::stacks_signal(), &action, nullptr) != 0) return;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = recorder::stacks_signal();
  state.has_timer = ::timer_create(CLOCK_MONOTONIC, &event, &state.timer) == 0;
  state.writer.load()->set_answers_stacks(true);
}

void keep(Packet& packet, const std::string& text) noexcept {
  packet.length = std::min(text.size(), sizeof packet.bytes);
  std::memcpy(packet.bytes, text.data(), packet.length);
}

}  // namespace

void watch(const Setup& setup) noexcept {
  warm_unwinder();
  enter_modules(*setup.writer);
  meet();
  keep(state.crashed, setup.crashed);
  keep(state.contained, setup.contained);
  state.show_query = setup.show_query;
  state.holds = setup.holds;
  state.wake = setup.wake;
  state.channel_fd.store(setup.channel_fd);
  state.contains.store(false);
  state.process = ::getpid();
  state.writer.store(setup.writer);
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) install(i);
  install_stacks();
}

void unwatch() noexcept {
  Writer* const writer = state.writer.exchange(nullptr);
  if (writer == nullptr) return;
  writer->set_answers_stacks(false);
  state.channel_fd.store(-1);
  if (state.has_timer) ::timer_delete(state.timer);
  state.has_timer = false;
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) {
    struct sigaction now {};
    if (!state.installed[i] || ::sigaction(fatal_signals[i], nullptr, &now) != 0) continue;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == refork_on_fatal)
      ::sigaction(fatal_signals[i], &state.before[i], nullptr);
    state.installed[i] = false;
  }
  // The handler of stacks stays: a signal may be on its way, and would end the process without one.
}

void forget() noexcept {
  state.writer.store(nullptr);
  state.channel_fd.store(-1);
  state.has_timer = false;
}

void contain_faults() noexcept { state.contains.store(true); }

void set_limit(std::chrono::milliseconds limit) noexcept {
  state.contained_limit_ms.store(static_cast<std::uint64_t>(std::max<std::int64_t>(limit.count(), 0)));
}

void prepare_answer(std::uint64_t request, bool holds, int fd, std::string_view bytes) noexcept {
  withdraw_answer();  // half of this one and half of another is none
  this_thread.request = request;
  this_thread.holds = holds;
  this_thread.answer_fd = fd;
  this_thread.bytes = bytes.data();
  this_thread.size = bytes.size();
  std::atomic_signal_fence(std::memory_order_release);
  this_thread.answers = true;
}

void withdraw_answer() noexcept {
  this_thread.answers = false;
  std::atomic_signal_fence(std::memory_order_release);
}

void drives(bool does) noexcept { this_thread.control = does; }

}  // namespace refork::crash
