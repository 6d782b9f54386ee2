#pragma once

// Plain threads, pools and futures with domains: what they run belongs to the domain in which it was asked
// for.

#include <future>
#include <memory>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

#include "refork/future.hpp"
#include "refork/thread_pool.hpp"

namespace refork {

// A std::thread that runs inside the domain active now. What f throws goes to that domain; without a domain,
// to the Worker, or to std::terminate.
template <class F, class... Args>
std::thread make_thread(F&& f, Args&&... args) {
  auto body = [f = std::decay_t<F>(std::forward<F>(f))](auto&&... passed) mutable {
    std::invoke(std::move(f), std::forward<decltype(passed)>(passed)...);
  };
  return std::thread(detail::active_or_own("thread").bind(std::move(body)), std::forward<Args>(args)...);
}

#ifdef __cpp_lib_jthread
// The same as a std::jthread, whose stop_token is passed to f if f takes one first.
template <class F, class... Args>
std::jthread make_jthread(F&& f, Args&&... args) {
  constexpr bool takes_token = std::is_invocable_v<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>;
  auto body = [f = std::decay_t<F>(std::forward<F>(f))](std::stop_token token, auto&&... passed) mutable {
    if constexpr (takes_token)
      std::invoke(std::move(f), std::move(token), std::forward<decltype(passed)>(passed)...);
    else
      std::invoke(std::move(f), std::forward<decltype(passed)>(passed)...);
  };
  return std::jthread(detail::active_or_own("thread").bind(std::move(body)), std::forward<Args>(args)...);
}
#endif

namespace detail {

// A thread that is joined where its last Future is let go of.
struct Joined {
  ~Joined() {
    if (thread.get_id() == std::this_thread::get_id())
      thread.detach();  // let go of by what it runs itself: nobody is left to join it
    else if (thread.joinable())
      thread.join();
  }
  std::thread thread;
};

}  // namespace detail

// As std::async, with a Future: on a thread of its own, for which the last Future waits, or, for
// std::launch::deferred, where the Future is waited for. In either case in the domain active now.
template <class F, class... Args>
auto async(std::launch policy, F&& f, Args&&... args) {
  using R = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;
  const auto state = std::make_shared<detail::FutureState<R>>(detail::active_or_own("async"));
  auto job = [state = std::weak_ptr(state), f = std::decay_t<F>(std::forward<F>(f)),
              arguments = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
    if (const auto alive = state.lock())
      alive->run([&]() -> R { return std::apply(std::move(f), std::move(arguments)); });
  };
  if ((policy & std::launch::async) != std::launch::async) {
    state->defer(detail::Task(std::move(job)));
    return Future<R>(state, nullptr);
  }
  const auto keeper = std::make_shared<detail::Joined>();
  keeper->thread = std::thread([state, job = std::move(job)]() mutable { job(); });
  return Future<R>(state, keeper);
}

template <class F, class... Args, std::enable_if_t<!std::is_same_v<std::decay_t<F>, std::launch>, int> = 0>
auto async(F&& f, Args&&... args) {
  return refork::async(std::launch::async, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace refork
