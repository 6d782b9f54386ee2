// Words for the service manager. When something is up, or takes too long, is decided by those who call.
#include "supervisor/manager.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace refork::supervisor {

namespace {

using std::chrono::microseconds;

constexpr int beats_a_watchdog = 2;  // as sd_watchdog_enabled(3) asks for

std::string in_microseconds(core::Clock::duration time) {
  return std::to_string(std::chrono::duration_cast<microseconds>(time).count());
}

std::optional<std::uint64_t> number(const char* text) {
  if (!text) return std::nullopt;
  const std::string_view digits(text);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<core::Millis> watchdog_of_manager(pid_t keeper) {
  const auto pid = number(std::getenv("WATCHDOG_PID"));
  if (pid && *pid != static_cast<std::uint64_t>(::getpid()) &&
      (keeper == 0 || *pid != static_cast<std::uint64_t>(keeper)))
    return std::nullopt;
  const auto time = number(std::getenv("WATCHDOG_USEC"));
  constexpr std::uint64_t longest = 86'400'000'000;  // a day; more is as good as none
  if (!time || *time == 0 || *time > longest) return std::nullopt;
  return std::max(core::Millis(1), std::chrono::duration_cast<core::Millis>(microseconds(*time)));
}

Manager::Manager(Loop& loop, os::FdStore& to, Setup setup)
    : to_(to),
      setup_(std::move(setup)),
      status_timer_(loop.timer([this] { tell_status(); })),
      extend_timer_(loop.timer([this] { extend(); })),
      watchdog_timer_(loop.timer([this] { beat(); })) {
  if (setup_.watchdog) beat();
}

void Manager::starting(core::Time latest) {
  latest_ = latest;
  extend();
}

void Manager::up() {
  if (std::exchange(up_, true)) return;
  Loop::disarm(extend_timer_);
  tell_status();
  to_.say("READY=1");
}

void Manager::reloading() {
  up_ = true;  // the next reforkd says when it is
  Loop::disarm(extend_timer_);
  to_.say("RELOADING=1\nMONOTONIC_USEC=" + in_microseconds(core::Clock::now().time_since_epoch()));
}

void Manager::stopping(core::Time latest) {
  to_.say("STOPPING=1");
  up_ = true;  // it does not become so any more
  latest_ = latest;
  extend();
}

// Little by little, so that one that hangs meanwhile is found.
void Manager::extend() {
  const auto now = core::Clock::now();
  if (now >= latest_) return up();
  to_.say("EXTEND_TIMEOUT_USEC=" + in_microseconds(extend_by));
  Loop::arm(extend_timer_, std::min(latest_, now + extend_every));
}

void Manager::status_changed() {
  if (std::exchange(status_due_, true)) return;
  const auto now = core::Clock::now();
  Loop::arm(status_timer_, status_told_ ? std::max(now, *status_told_ + status_interval) : now);
}

void Manager::tell_status() {
  status_due_ = false;
  Loop::disarm(status_timer_);
  const std::string line = setup_.status();
  if (line == told_) return;
  told_ = line;
  status_told_ = core::Clock::now();
  to_.say("STATUS=" + line);
}

void Manager::beat() {
  to_.say("WATCHDOG=1");
  Loop::arm(watchdog_timer_, core::Clock::now() + *setup_.watchdog / beats_a_watchdog);
}

}  // namespace refork::supervisor
