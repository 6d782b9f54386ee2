#pragma once

// Coroutines of Boost.Asio and domains. A coroutine spawned on an Executor resumes in the domain in which it
// awaited, whoever completes what it waits for. To await something inside another domain, and to return from
// it, use run(): a Scope must not be held across a co_await, because it is of one thread. (Where one thread
// runs the loop such a Scope ends for others of the thread with the co_await, and for the coroutine never.)
// C++20; as C++17 only `reported` is here.

#include <boost/asio/async_result.hpp>
#include <boost/asio/detail/config.hpp>
#include <exception>
#include <type_traits>
#include <utility>

#ifdef BOOST_ASIO_HAS_CO_AWAIT
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#endif

#include "refork/asio/executor.hpp"
#include "refork/domain.hpp"

namespace refork::asio {

// A completion token for operations that nobody waits for: as boost::asio::detached, but an error is not
// lost. It goes to the domain that was active when the operation was started: an exception that left a
// coroutine as thrown, an error_code as reported. boost::asio::detached drops both.
struct Reported {};
inline constexpr Reported reported{};

namespace detail {

class Report {
 public:
  template <class Error, class... Args>
  void operator()(const Error& error, Args&&...) const {
    if (!ErrorTraits<Error>::is_error(error)) return;
    const Domain domain = domain_ ? domain_ : current_or_own();
    // Bound, so that it cannot pass into the loop.
    domain.bind([&] {
      if constexpr (std::is_same_v<Error, std::exception_ptr>)
        std::rethrow_exception(error);
      else
        domain.report(ErrorTraits<Error>::describe(error));
    })();
  }

 private:
  static Domain current_or_own() {
    Domain current = Domain::current();
    return current ? current : Domain("asio");
  }
  Domain domain_ = Domain::current();
};

}  // namespace detail
}  // namespace refork::asio

namespace boost::asio {

template <class Error, class... Args>
class async_result<refork::asio::Reported, void(Error, Args...)> {
 public:
  using return_type = void;
  template <class Initiation, class Token, class... InitiationArgs>
  static void initiate(Initiation&& initiation, Token&&, InitiationArgs&&... args) {
    std::forward<Initiation>(initiation)(refork::asio::detail::Report(),
                                         std::forward<InitiationArgs>(args)...);
  }
};

}  // namespace boost::asio

#ifdef BOOST_ASIO_HAS_CO_AWAIT
namespace refork::asio {
namespace detail {

template <class T>
struct IsBasicExecutor : std::false_type {};
template <class Inner>
struct IsBasicExecutor<BasicExecutor<Inner>> : std::true_type {};
template <class Inner>
struct IsBasicExecutor<boost::asio::strand<BasicExecutor<Inner>>> : std::true_type {};

template <class ExecutorOrContext>
auto in_domains(ExecutorOrContext& from) {
  if constexpr (IsBasicExecutor<std::decay_t<ExecutorOrContext>>::value)
    return from;
  else
    return make_executor(from);
}

// Goes on in the domain, or in none. The scope in which the rest is scheduled is this thread's, and not the
// coroutine's: another thread may go on with that before the scope has ended.
template <class Executor>
boost::asio::awaitable<void, Executor> move_into(Domain domain) {
  const auto schedule = [](auto handler, const Domain& where, const Executor& on) {
    const Domain kept = where;
    const Scope scope = kept.enter();
    boost::asio::post(Executor(on), std::move(handler));
  };
  const Executor executor = co_await boost::asio::this_coro::executor;
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<Executor>, void()>(
      schedule, boost::asio::use_awaitable_t<Executor>(), domain, executor);
}

}  // namespace detail

// Starts a coroutine, an awaitable or a function that returns one, in the domain active now. What it throws
// goes to that domain. On any executor or context: the coroutine's own steps run through a BasicExecutor.
template <class ExecutorOrContext, class Coroutine>
void spawn(ExecutorOrContext&& executor, Coroutine&& coroutine) {
  boost::asio::co_spawn(detail::in_domains(executor), std::forward<Coroutine>(coroutine), reported);
}

// Awaits inside a domain what Domain::run calls there: gives the result, or nothing (false) if the domain
// captured an error; without a handler of the domain's own the error goes on to the awaiter, who is back in
// the domain that it came from in any case. For coroutines spawned on a BasicExecutor.
template <class T, class Executor>
boost::asio::awaitable<typename refork::detail::RunResult<T>::type, Executor> run(
    Domain domain, boost::asio::awaitable<T, Executor> inner) {
  const Domain awaiter = Domain::current();
  typename refork::detail::RunResult<T>::type result{};
  std::exception_ptr error;
  co_await detail::move_into<Executor>(domain);
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(inner);
      result = true;
    } else {
      result.emplace(co_await std::move(inner));
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await detail::move_into<Executor>(awaiter);
  if (error) domain.run([&] { std::rethrow_exception(error); });
  co_return result;
}

}  // namespace refork::asio
#endif
