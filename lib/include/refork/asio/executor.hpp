#pragma once

// An executor for Boost.Asio whose callbacks run in the domain that scheduled them, and what else lets Asio's
// operations and domains work together.

#include <boost/asio/associator.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include "refork/domain.hpp"

namespace refork {

template <>
struct ErrorTraits<boost::system::error_code> {
  static bool is_error(const boost::system::error_code& error) noexcept { return error.failed(); }
  static Failure describe(const boost::system::error_code& error) noexcept {
    Failure failure;
    failure.kind = Kind::error;
    failure.thrown = false;
    try {
      failure.type = "boost::system::error_code";
      failure.message =
          error.message() + " (" + error.category().name() + ":" + std::to_string(error.value()) + ")";
      failure.exception = std::make_exception_ptr(boost::system::system_error(error));
    } catch (...) {
      // No memory: what has been written so far is the record.
    }
    return failure;
  }
};

}  // namespace refork

namespace refork::asio {
namespace detail {

// Whether Asio asks for the property at the moment something is scheduled.
template <class Property>
struct Schedules : std::false_type {};
template <>
struct Schedules<boost::asio::execution::outstanding_work_t::tracked_t> : std::true_type {};
template <>
struct Schedules<boost::asio::execution::relationship_t::fork_t> : std::true_type {};
template <>
struct Schedules<boost::asio::execution::relationship_t::continuation_t> : std::true_type {};
template <class Property>
struct Schedules<boost::asio::execution::prefer_only<Property>> : Schedules<Property> {};  // any_io_executor

}  // namespace detail

// Runs each callback inside the domain that was active when its operation was started, or when the function
// was posted, deferred or dispatched. What a callback throws goes to that domain, never out of the loop's
// run(); where no domain was active, to `otherwise`, whose errors fall back on the Worker if it has no
// handler.
//
// It holds for everything that Asio runs through this executor: timers, sockets, acceptors and resolvers made
// with it, the steps of composed operations, make_strand() of it, any_io_executor with it inside, coroutines
// spawned on it. A handler with another executor of its own (boost::asio::bind_executor) leaves all that:
// give it this one, or refork::bind() the handler, which keeps the executor, allocator and cancellation slot
// associated with it. The same for what a library keeps to call it from another operation's callback, as
// Beast's WebSocket does where reads and writes are of different domains.
template <class Inner>
class BasicExecutor {
 public:
  BasicExecutor(Inner inner, Domain otherwise) noexcept
      : inner_(std::move(inner)), otherwise_(std::move(otherwise)) {}

  template <class Property>
  auto query(const Property& property) const
      noexcept(noexcept(boost::asio::query(std::declval<const Inner&>(), property)))
          -> decltype(boost::asio::query(std::declval<const Inner&>(), property)) {
    return boost::asio::query(inner_, property);
  }
  template <class Property>
  auto require(const Property& property) const
      -> BasicExecutor<std::decay_t<decltype(boost::asio::require(std::declval<const Inner&>(), property))>> {
    return {boost::asio::require(inner_, property), otherwise_, scheduled_by<Property>()};
  }
  template <class Property>
  auto prefer(const Property& property) const
      -> BasicExecutor<std::decay_t<decltype(boost::asio::prefer(std::declval<const Inner&>(), property))>> {
    return {boost::asio::prefer(inner_, property), otherwise_, scheduled_by<Property>()};
  }

  template <class Function>
  void execute(Function&& function) const {
    inner_.execute((scheduled_ ? scheduled_ : active()).bind(std::forward<Function>(function)));
  }

  const Inner& inner() const noexcept { return inner_; }
  const Domain& otherwise() const noexcept { return otherwise_; }

  friend bool operator==(const BasicExecutor& a, const BasicExecutor& b) noexcept {
    return a.inner_ == b.inner_ && a.scheduled_ == b.scheduled_ && a.otherwise_ == b.otherwise_;
  }
  friend bool operator!=(const BasicExecutor& a, const BasicExecutor& b) noexcept { return !(a == b); }

 private:
  template <class>
  friend class BasicExecutor;
  BasicExecutor(Inner inner, Domain otherwise, Domain scheduled) noexcept
      : inner_(std::move(inner)), otherwise_(std::move(otherwise)), scheduled_(std::move(scheduled)) {}

  Domain active() const noexcept {
    Domain current = Domain::current();
    return current ? current : otherwise_;
  }
  // Asio asks for tracked work at the moment an operation is started, and for a relationship when something
  // is posted or deferred: that is when a callback gets its domain. When it is executed, another one's
  // callback may be running.
  template <class Property>
  Domain scheduled_by() const noexcept {
    return detail::Schedules<Property>::value ? active() : scheduled_;
  }

  Inner inner_;
  Domain otherwise_;
  Domain scheduled_ = Domain::empty();
};

using Executor = BasicExecutor<boost::asio::io_context::executor_type>;

// The executor of a context (io_context, thread_pool), or one made from another executor.
template <class ExecutorOrContext>
auto make_executor(ExecutorOrContext&& from, Domain otherwise = Domain("asio")) {
  if constexpr (boost::asio::execution::is_executor<std::decay_t<ExecutorOrContext>>::value)
    return BasicExecutor<std::decay_t<ExecutorOrContext>>(from, std::move(otherwise));
  else
    return BasicExecutor<std::decay_t<decltype(from.get_executor())>>(from.get_executor(),
                                                                      std::move(otherwise));
}

}  // namespace refork::asio

namespace boost::asio {

// A strand runs what waits for it in one go, inside the callback of whoever came first. So each function gets
// its domain before the strand takes it, not when the strand runs.
template <class Inner>
class strand<refork::asio::BasicExecutor<Inner>> : public refork::asio::BasicExecutor<strand<Inner>> {
 public:
  using inner_executor_type = refork::asio::BasicExecutor<Inner>;

  explicit strand(const inner_executor_type& executor)
      : refork::asio::BasicExecutor<strand<Inner>>(strand<Inner>(executor.inner()), executor.otherwise()) {}

  inner_executor_type get_inner_executor() const noexcept {
    return {this->inner().get_inner_executor(), this->otherwise()};
  }
  bool running_in_this_thread() const noexcept { return this->inner().running_in_this_thread(); }
};

// What is associated with a handler stays so when the handler is bound.
template <template <class, class> class Associator, class F, class DefaultCandidate>
struct associator<Associator, refork::Bound<F>, DefaultCandidate> : Associator<F, DefaultCandidate> {
  using type = typename Associator<F, DefaultCandidate>::type;
  static type get(const refork::Bound<F>& bound) noexcept {
    return Associator<F, DefaultCandidate>::get(bound.target());
  }
  static type get(const refork::Bound<F>& bound, const DefaultCandidate& candidate) noexcept {
    return Associator<F, DefaultCandidate>::get(bound.target(), candidate);
  }
};

}  // namespace boost::asio
