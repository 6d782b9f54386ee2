#pragma once

// Timers and watchers of libuv as emitters: made in a domain, or added to one, they call back there. (The
// functions of callbacks.hpp bind each start of a handle instead.)

#include <uv.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "refork/domain.hpp"
#include "refork/uv/callbacks.hpp"

namespace refork::uv {
namespace detail {

inline std::uint64_t ms(std::chrono::milliseconds time) { return static_cast<std::uint64_t>(time.count()); }

// An emitter with a handle, which libuv closes some time after the emitter has ended.
template <class Handle, class... Args>
class HandleEmitter : public Emitter {
 public:
  // Gets what libuv tells.
  using Function = std::function<void(Args...)>;

  ~HandleEmitter() override {
    handle_->data = nullptr;
    uv_close(generic(), [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
  }

 protected:
  template <class Init>
  HandleEmitter(std::string name, Init init) : Emitter(std::move(name)), handle_(make(init)) {
    handle_->data = this;
  }
  Handle* handle() const noexcept { return handle_; }
  void set(Function function) { function_ = std::move(function); }

  static void on_event(Handle* handle, Args... args) noexcept {
    auto* const self = static_cast<HandleEmitter*>(handle->data);
    if (self == nullptr) return;
    const Function function = self->function_;  // it may be exchanged meanwhile, and the emitter end
    const Domain domain = self->domain();
    (domain ? domain : nobodys()).bind([&] { function(args...); }, self->name())();
  }

 private:
  template <class Init>
  static Handle* make(Init init) {
    auto made = std::make_unique<Handle>();
    const int status = init(made.get());
    if (status < 0) throw std::system_error(-status, std::system_category(), uv_strerror(status));
    return made.release();
  }
  uv_handle_t* generic() const noexcept { return reinterpret_cast<uv_handle_t*>(handle_); }

  Handle* const handle_;
  Function function_;
};

}  // namespace detail

// A uv_timer_t. Used on the loop's thread; the loop runs once more after its end, as after any uv_close().
class Timer : public detail::HandleEmitter<uv_timer_t> {
 public:
  explicit Timer(uv_loop_t* loop, std::string name = "timer")
      : HandleEmitter(std::move(name), [&](uv_timer_t* timer) { return uv_timer_init(loop, timer); }) {}

  // Calls the function after `timeout`, and from then on every `repeat`, if that is not 0, until stop().
  void start(Function function, std::chrono::milliseconds timeout, std::chrono::milliseconds repeat = {}) {
    set(std::move(function));
    uv_timer_start(handle(), on_event, detail::ms(timeout), detail::ms(repeat));
  }
  void stop() noexcept { uv_timer_stop(handle()); }
};

// A uv_poll_t: watches a descriptor, which stays the caller's and must outlive this. Throws
// std::system_error for one that cannot be watched. Used on the loop's thread.
class Poll : public detail::HandleEmitter<uv_poll_t, int, int> {
 public:
  Poll(uv_loop_t* loop, int fd, std::string name = "poll")
      : HandleEmitter(std::move(name), [&](uv_poll_t* poll) { return uv_poll_init(loop, poll, fd); }) {}

  // Calls function(status, events) each time there are such events (UV_READABLE…), until stop(). A negative
  // result is libuv's.
  int start(int events, Function function) {
    set(std::move(function));
    return uv_poll_start(handle(), events, on_event);
  }
  void stop() noexcept { uv_poll_stop(handle()); }
};

}  // namespace refork::uv
