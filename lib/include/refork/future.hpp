#pragma once

// A future whose continuations run in the domain in which they were attached, and whose error is never lost.

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

#include "refork/domain.hpp"

namespace refork {

// What a job ends with that was never run, because its pool ended first.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("the thread pool ended before this job was run") {}
};

template <class R>
class Future;

namespace detail {

// The active domain, or one of that name, which has no handler: its errors fall back on the Worker.
inline Domain active_or_own(const char* name) {
  Domain current = Domain::current();
  return current ? current : Domain(name);
}

// An exception that nobody caught, as if it had been thrown by a callback bound to the domain.
inline void tell(const Domain& domain, const std::exception_ptr& error) {
  domain.bind([&] { std::rethrow_exception(error); })();
}

// Calls it, and gives what it throws. Forced unwinding (pthread_cancel) passes.
template <class Call>
std::exception_ptr error_of(Call&& call) {
  try {
    std::forward<Call>(call)();
    return nullptr;
#ifdef __GLIBCXX__
  } catch (const __cxxabiv1::__forced_unwind&) {
    throw;
#endif
  } catch (...) {
    return std::current_exception();
  }
}

template <class R>
struct Stored {
  using type = R;
};
template <class R>
struct Stored<R&> {
  using type = std::reference_wrapper<R>;
};
template <>
struct Stored<void> {
  using type = std::monostate;
};

// A move-only function without arguments.
class Task {
 public:
  Task() = default;
  template <class F, std::enable_if_t<!std::is_same_v<std::decay_t<F>, Task>, int> = 0>
  explicit Task(F&& f) : held_(std::make_unique<Held<std::decay_t<F>>>(std::forward<F>(f))) {}
  explicit operator bool() const noexcept { return held_ != nullptr; }
  void operator()() { std::exchange(held_, nullptr)->call(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual void call() = 0;
  };
  template <class F>
  struct Held final : Base {
    explicit Held(F&& f) : function(std::move(f)) {}
    explicit Held(const F& f) : function(f) {}
    void call() override { function(); }
    F function;
  };
  std::unique_ptr<Base> held_;
};

// What a job and its Future share. Its end tells the domain of an error that nobody fetched.
template <class R>
class FutureState {
 public:
  explicit FutureState(Domain domain) : domain_(std::move(domain)) {}
  ~FutureState() {
    if (error_ && !fetched_) tell(domain_, error_);
  }
  FutureState(const FutureState&) = delete;
  FutureState& operator=(const FutureState&) = delete;

  // Calls the job inside the domain, and keeps its result or its error.
  template <class Call>
  void run(Call&& call) {
    std::optional<typename Stored<R>::type> value;
    std::exception_ptr error = error_of([&] {
      const Scope inside = domain_.enter();
      if constexpr (std::is_void_v<R>) {
        std::forward<Call>(call)();
        value.emplace();
      } else {
        value.emplace(std::forward<Call>(call)());
      }
    });
    complete(std::move(value), std::move(error));
  }

  void fail(std::exception_ptr error) { complete(std::nullopt, std::move(error)); }

  // To be run by whoever waits first.
  void defer(Task task) { deferred_ = std::move(task); }
  bool deferred() {
    const std::lock_guard lock(mutex_);
    return static_cast<bool>(deferred_);
  }

  bool ready() {
    const std::lock_guard lock(mutex_);
    return ready_;
  }

  void wait() {
    run_deferred();
    std::unique_lock lock(mutex_);
    completed_.wait(lock, [this] { return ready_; });
  }

  template <class Duration>
  bool wait_for(Duration duration) {
    run_deferred();
    std::unique_lock lock(mutex_);
    return completed_.wait_for(lock, duration, [this] { return ready_; });
  }

  // Only once complete: the error is then the caller's.
  std::exception_ptr take_error() {
    fetched_ = true;
    return error_;
  }
  R take_value() {
    if constexpr (std::is_reference_v<R>)
      return value_->get();
    else if constexpr (!std::is_void_v<R>)
      return std::move(*value_);
  }

  // Calls it when complete, at once if it is.
  void when_complete(Task task) {
    {
      const std::lock_guard lock(mutex_);
      if (!ready_) {
        continuation_ = std::move(task);
        return;
      }
    }
    task();
  }

 private:
  void complete(std::optional<typename Stored<R>::type> value, std::exception_ptr error) {
    Task continuation;
    {
      const std::lock_guard lock(mutex_);
      value_ = std::move(value);
      error_ = std::move(error);
      ready_ = true;
      continuation = std::move(continuation_);
      completed_.notify_all();
    }
    if (continuation) continuation();
  }

  void run_deferred() {
    Task task;
    {
      const std::lock_guard lock(mutex_);
      task = std::move(deferred_);
    }
    if (task) task();
  }

  const Domain domain_;
  std::mutex mutex_;
  std::condition_variable completed_;
  bool ready_ = false;
  std::optional<typename Stored<R>::type> value_;
  std::exception_ptr error_;
  bool fetched_ = false;
  Task deferred_;
  Task continuation_;
};

}  // namespace detail

// The result of a job, as std::future; got once, by get() or then(). An error is thrown by get(), to a catch
// of its caller or to the domain that is active there. One that nobody fetched goes to the domain in which
// the job was submitted, when the Future goes away or, if it went before, when the job has ended; it is then
// told as thrown.
template <class R>
class Future {
 public:
  Future() = default;
  Future(Future&&) noexcept = default;
  Future& operator=(Future&& other) noexcept {
    if (this == &other) return *this;
    keeper_ = std::move(other.keeper_);
    state_ = std::move(other.state_);
    return *this;
  }

  bool valid() const noexcept { return state_ != nullptr; }
  bool ready() const { return state().ready(); }
  void wait() const { state().wait(); }
  // Whether it is ready by then.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> duration) const {
    return state().wait_for(duration);
  }

  R get() {
    wait();
    const auto kept = std::move(state_);
    keeper_.reset();
    if (std::exception_ptr error = kept->take_error()) std::rethrow_exception(error);
    return kept->take_value();
  }

  // Calls f with the result (with nothing for a Future<void>) in the domain active now, on the thread that
  // completes the job, or at once if it is complete. After an error f is not called: the returned Future has
  // it, and so has the domain active now if that is not fetched either.
  template <class F>
  auto then(F&& f) {
    using Next = typename Invoked<std::decay_t<F>, R>::type;
    state();
    const Domain domain = detail::active_or_own("then");
    auto next = std::make_shared<detail::FutureState<Next>>(domain);
    const auto done = std::move(state_);
    auto proceed = [next, from = done.get(), f = std::decay_t<F>(std::forward<F>(f))]() mutable {
      if (std::exception_ptr error = from->take_error()) return next->fail(std::move(error));
      next->run([&]() -> Next {
        if constexpr (std::is_void_v<R>)
          return std::invoke(std::move(f));
        else
          return std::invoke(std::move(f), from->take_value());
      });
    };
    if (done->deferred()) {
      next->defer(detail::Task([done, proceed = std::move(proceed)]() mutable {
        done->wait();
        proceed();
      }));
    } else {
      done->when_complete(detail::Task(std::move(proceed)));
    }
    return Future<Next>(std::move(next), std::move(keeper_));
  }

  // For those that run jobs: `keeper` is let go of with the last Future.
  Future(std::shared_ptr<detail::FutureState<R>> state, std::shared_ptr<void> keeper)
      : state_(std::move(state)), keeper_(std::move(keeper)) {}

 private:
  template <class F, class Argument>
  struct Invoked : std::invoke_result<F, Argument> {};
  template <class F>
  struct Invoked<F, void> : std::invoke_result<F> {};

  detail::FutureState<R>& state() const {
    if (!state_) throw std::future_error(std::future_errc::no_state);
    return *state_;
  }

  std::shared_ptr<detail::FutureState<R>> state_;
  std::shared_ptr<void> keeper_;  // goes first: it waits for the job
};

}  // namespace refork
