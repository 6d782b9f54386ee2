#pragma once

// A timer of Boost.Asio that may be a member of a domain.

#include <boost/asio/associator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/wait_traits.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

#include "refork/asio/executor.hpp"
#include "refork/domain.hpp"

namespace refork::asio {
namespace detail {

using ErrorCode = boost::system::error_code;
using SteadyTimer =
    boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                      boost::asio::wait_traits<std::chrono::steady_clock>, Executor>;

inline std::shared_ptr<Emitter> emitter_of_no_domain(const char* name) {
  const Scope outside = Domain::none();
  return std::make_shared<Emitter>(name);
}

// What waits for a timer, called where it is, unless the timer was added to a domain. It keeps the emitter
// rather than the timer, which may be gone by then.
template <class Handler>
struct Tick {
  std::shared_ptr<Emitter> emitter;
  Handler handler;

  void operator()(ErrorCode error) { emitter->call(std::move(handler), error); }
};

template <class Result>
struct IsAwaitable : std::false_type {};
#ifdef BOOST_ASIO_HAS_CO_AWAIT
template <class Value, class Of>
struct IsAwaitable<boost::asio::awaitable<Value, Of>> : std::true_type {};
#endif

}  // namespace detail

// A steady timer on refork::asio::Executor. A wait calls back in the domain that started it; while the timer
// is a member of a domain, after `domain.add(timer)`, its waits call back there, whichever domain they were
// started in. (Coroutines resume in their own.) Its end is that of its membership.
class Timer : public detail::SteadyTimer {
 public:
  template <class... Expiry>
  explicit Timer(const Executor& executor, const Expiry&... expiry)
      : detail::SteadyTimer(executor, expiry...), emitter_(detail::emitter_of_no_domain("timer")) {}
  Timer(Timer&&) = default;
  ~Timer() {
    if (emitter_) emitter_->domain().remove(*emitter_);
  }

  // What is added to domains, reports, and has a listener of its own. Of no domain, unless it is added to
  // one.
  Emitter& emitter() noexcept { return *emitter_; }
  operator Emitter&() noexcept { return *emitter_; }

  template <class Token = boost::asio::default_completion_token_t<Executor>>
  auto async_wait(Token&& token = Token()) {
    using Result = decltype(detail::SteadyTimer::async_wait(std::forward<Token>(token)));
    if constexpr (detail::IsAwaitable<Result>::value) {
      return detail::SteadyTimer::async_wait(std::forward<Token>(token));
    } else {
      return boost::asio::async_initiate<Token, void(detail::ErrorCode)>(
          [this](auto&& handler) {
            using Handler = std::decay_t<decltype(handler)>;
            detail::Tick<Handler> tick{emitter_, std::forward<decltype(handler)>(handler)};
            detail::SteadyTimer::async_wait(std::move(tick));
          },
          token);
    }
  }

 private:
  std::shared_ptr<Emitter> emitter_;
};

}  // namespace refork::asio

namespace boost::asio {

// What is associated with a handler stays so.
template <template <class, class> class Associator, class Handler, class DefaultCandidate>
struct associator<Associator, refork::asio::detail::Tick<Handler>, DefaultCandidate>
    : Associator<Handler, DefaultCandidate> {
  using type = typename Associator<Handler, DefaultCandidate>::type;
  static type get(const refork::asio::detail::Tick<Handler>& tick) noexcept {
    return Associator<Handler, DefaultCandidate>::get(tick.handler);
  }
  static type get(const refork::asio::detail::Tick<Handler>& tick,
                  const DefaultCandidate& candidate) noexcept {
    return Associator<Handler, DefaultCandidate>::get(tick.handler, candidate);
  }
};

}  // namespace boost::asio
