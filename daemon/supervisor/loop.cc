// sd-event behind std::function. Nothing here knows what is watched.
#include "supervisor/loop.h"

#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "log/log.h"

namespace refork::supervisor {

struct Loop::Watch {
  sd_event_source* source = nullptr;
  std::function<void(std::uint32_t)> callback;
};

void Loop::Unwatch::operator()(Watch* watch) const noexcept {
  if (watch->source) sd_event_source_disable_unref(watch->source);
  delete watch;
}

namespace {

template <class Callback, class... Args>
int guarded(const Callback& callback, Args... args) noexcept {
  try {
    callback(args...);
  } catch (const std::exception& error) {
    log::error(std::string("an event was not handled: ") + error.what());
  } catch (...) {
    log::error("an event was not handled: unknown exception");
  }
  return 0;
}

int on_io(sd_event_source*, int, std::uint32_t revents, void* userdata) noexcept {
  return guarded(static_cast<Loop::Watch*>(userdata)->callback, revents);
}
int on_time(sd_event_source*, std::uint64_t, void* userdata) noexcept {
  return guarded(static_cast<Loop::Watch*>(userdata)->callback, 0u);
}
int on_signal(sd_event_source*, const signalfd_siginfo*, void* userdata) noexcept {
  return guarded(static_cast<Loop::Watch*>(userdata)->callback, 0u);
}
int on_turn(sd_event_source*, void* userdata) noexcept {
  return guarded(static_cast<Loop::Watch*>(userdata)->callback, 0u);
}

void check(int result, const char* doing) {
  if (result < 0) throw std::system_error(-result, std::generic_category(), doing);
}

}  // namespace

Loop::Loop() {
  sd_event* loop = nullptr;
  check(sd_event_new(&loop), "sd_event_new");
  loop_.reset(loop);
  deferred_.reset(new Watch{nullptr, [this](std::uint32_t) { call_due(); }});
  check(sd_event_add_defer(loop, &deferred_->source, on_turn, deferred_.get()), "sd_event_add_defer");
  check(sd_event_source_set_enabled(deferred_->source, SD_EVENT_OFF), "sd_event_source_set_enabled");
}

Loop::Source Loop::watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback) {
  Source source(new Watch{nullptr, std::move(callback)});
  check(sd_event_add_io(loop_.get(), &source->source, fd, events, on_io, source.get()), "sd_event_add_io");
  return source;
}

Loop::Source Loop::watch_signal(int signal, std::function<void()> callback) {
  Source source(new Watch{nullptr, [callback = std::move(callback)](std::uint32_t) { callback(); }});
  check(sd_event_add_signal(loop_.get(), &source->source, signal, on_signal, source.get()),
        "sd_event_add_signal");
  // A signal that is read is the next thing to be told: none is lost between here and a loop that is to end.
  check(sd_event_source_set_priority(source->source, SD_EVENT_PRIORITY_IMPORTANT),
        "sd_event_source_set_priority");
  return source;
}

Loop::Source Loop::timer(std::function<void()> callback) {
  Source source(new Watch{nullptr, [callback = std::move(callback)](std::uint32_t) { callback(); }});
  // Accuracy of 1 ms: deadlines are few, and the default of 250 ms would delay them.
  check(sd_event_add_time(loop_.get(), &source->source, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_time,
                          source.get()),
        "sd_event_add_time");
  check(sd_event_source_set_enabled(source->source, SD_EVENT_OFF), "sd_event_source_set_enabled");
  return source;
}

void Loop::arm(Source& timer, core::Time at) {
  // steady_clock is CLOCK_MONOTONIC on Linux.
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count();
  check(sd_event_source_set_time(timer->source, static_cast<std::uint64_t>(us) + 1),
        "sd_event_source_set_time");
  check(sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT), "sd_event_source_set_enabled");
}

void Loop::disarm(Source& timer) { sd_event_source_set_enabled(timer->source, SD_EVENT_OFF); }

void Loop::later(std::function<void()> callback) {
  due_.push_back(std::move(callback));
  check(sd_event_source_set_enabled(deferred_->source, SD_EVENT_ONESHOT), "sd_event_source_set_enabled");
}

void Loop::call_due() {
  for (const auto& callback : std::exchange(due_, {})) guarded(callback);
}

void Loop::park(Source source) {
  if (!source) return;
  sd_event_source_set_enabled(source->source, SD_EVENT_OFF);
  later([parked = std::shared_ptr<Watch>(std::move(source))] {});
}

int Loop::run() {
  const int code = sd_event_loop(loop_.get());
  return code < 0 ? EXIT_FAILURE : code;
}

void Loop::exit(int code) { sd_event_exit(loop_.get(), code); }

}  // namespace refork::supervisor
