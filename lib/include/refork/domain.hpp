#pragma once

#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "refork/failure.hpp"
#include "refork/version.hpp"

namespace refork {

class Domain;
class Emitter;

template <class F>
class Bound;
template <class F>
class Intercepted;

namespace detail {

struct State;

// An entry of a thread's stack of active domains; lives in the Scope or the call that made it.
struct Frame {
  Frame* previous;
  State* state;  // null: no domain is active
  bool owner;    // the last handle went away meanwhile: the domain ends with this frame
  bool call;     // of a run, a bound callback or a handler, rather than of a Scope
  bool hides;    // of a handler: what counts next is `below`, which has no meaning otherwise
  Frame* below;
};

// An R(void*), whatever R is: it is the library's assembly that calls it.
using Thunk = void (*)();

// Whether a call returned, rather than being captured, and what, if that fits a register.
struct Returned {
  std::uint64_t value;
  bool done;
};

REFORK_API Returned run(State* state, Thunk call, void* argument);
REFORK_API Returned run_bound(State* state, const std::string& label, Thunk call, void* argument);

// run() gives optional<R>, bool for void, a reference_wrapper for a reference.
template <class R>
struct RunResult {
  using type = std::optional<std::decay_t<R>>;
};
template <class R>
struct RunResult<R&> {
  using type = std::optional<std::reference_wrapper<R>>;
};
template <>
struct RunResult<void> {
  using type = bool;
};

template <class Call>
decltype(auto) call_of(void* call) {
  return (*static_cast<Call*>(call))();
}
template <class Call>
Thunk thunk() noexcept {
  return reinterpret_cast<Thunk>(&call_of<Call>);
}

// What comes back in Returned::value. Others are left in memory by the call.
template <class R>
constexpr bool fits_register() noexcept {
  return (std::is_integral_v<R> || std::is_enum_v<R> || std::is_pointer_v<R>)&&sizeof(R) <=
         sizeof(std::uint64_t);
}
template <class R>
R from_register(std::uint64_t value) noexcept {
  R result;
  std::memcpy(&result, &value, sizeof result);  // what is above it is undefined
  return result;
}

}  // namespace detail

// How an error of type E is recognised where it is the first argument of an intercepted callback, and told.
// Specialise it for another library's error type (failure_of() helps to tell it); a callback whose first
// argument has no ErrorTraits does not compile, so that no error is taken for a success.
template <class E, class Enable = void>
struct ErrorTraits;

// What a failure of a type of your own consists of: an error that was not thrown.
inline Failure failure_of(std::string_view type, std::string_view message) {
  Failure failure;
  failure.kind = Kind::error;
  failure.thrown = false;
  failure.type = type;
  failure.message = message;
  return failure;
}

template <>
struct REFORK_API ErrorTraits<std::error_code> {
  static bool is_error(const std::error_code& error) noexcept { return static_cast<bool>(error); }
  static Failure describe(const std::error_code& error) noexcept;
};

template <>
struct REFORK_API ErrorTraits<std::exception_ptr> {
  static bool is_error(const std::exception_ptr& error) noexcept { return static_cast<bool>(error); }
  static Failure describe(const std::exception_ptr& error) noexcept;
};

// The enumerations of error codes: std::errc, std::future_errc, another library's.
template <class E>
struct ErrorTraits<E, std::enable_if_t<std::is_error_code_enum<E>::value>> {
  static bool is_error(E error) noexcept { return static_cast<bool>(std::error_code(error)); }
  static Failure describe(E error) noexcept { return ErrorTraits<std::error_code>::describe(error); }
};

template <class E>
struct ErrorTraits<E, std::enable_if_t<std::is_error_condition_enum<E>::value>> {
  static bool is_error(E error) noexcept { return make_error_condition(error).value() != 0; }
  static Failure describe(E error) noexcept {
    const std::error_condition condition = make_error_condition(error);
    return ErrorTraits<std::error_code>::describe({condition.value(), condition.category()});
  }
};

// A signed integer is an error if it is negative: -errno, as of the kernel, libuv and many a C library. The
// other conventions, a positive errno or -1 with the error elsewhere, have to be told apart by the caller.
template <class E>
struct ErrorTraits<E, std::enable_if_t<std::is_integral<E>::value && std::is_signed<E>::value>> {
  static bool is_error(E error) noexcept { return error < 0; }
  static Failure describe(E error) noexcept {
    constexpr int most = std::numeric_limits<int>::max();  // nor has the least int a counterpart
    const int code = error < -most ? most : static_cast<int>(-error);
    return ErrorTraits<std::error_code>::describe({code, std::system_category()});
  }
};

// Makes a domain (or none) the active one of this thread for the life of this object, which must end on the
// thread that it began on. Ending it also ends every scope entered since, so the order of destructors cannot
// leave a domain active by mistake. A scope captures nothing by itself: see Domain::run.
class REFORK_API Scope {
 public:
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();

 private:
  friend class Domain;
  explicit Scope(detail::State* state) noexcept;
  detail::Frame frame_;
};

// The scope in which a request's errors are caught, as Node.js' `domain`.
//
// A Domain is a handle: cheap to copy, equal if it names the same domain, possibly empty. The domain itself
// lives as long as a handle, a bound callback or an emitter names it; do not let go of the last one while
// another thread is inside run(). Handles that its own error handler captured directly do not count, so
// `domain.on_error([domain](auto&) { … })` is no leak. All members may be called from any thread; operations
// that need a domain throw std::logic_error on an empty handle, run() and bind() then do nothing but call.
//
// Who captures what is thrown: `run`, if its own domain has a handler at that moment; otherwise the exception
// goes on outward, and a catch on its way wins. The outermost run of a thread, and every bound callback, fall
// back on the process's Worker (record, drain). Where nobody captures, std::terminate is called at the throw
// and nothing is unwound. Forced unwinding (pthread_cancel) always passes.
class REFORK_API Domain {
 public:
  using Handler = std::function<void(const Failure&)>;

  explicit Domain(std::string_view name = {});
  Domain(const Domain& other) noexcept;
  Domain(Domain&& other) noexcept;
  Domain& operator=(const Domain& other) noexcept;
  Domain& operator=(Domain&& other) noexcept;
  ~Domain();

  static Domain current() noexcept;   // this thread's active domain, or an empty handle
  [[nodiscard]] static Scope none();  // leaves all domains for a while; for adapters
  static Domain empty() noexcept;     // the empty handle
  [[nodiscard]] Scope enter() const;  // an empty handle: as none()
  explicit operator bool() const noexcept { return state_ != nullptr; }
  std::string_view name() const noexcept;  // valid as long as the domain

  // Sets, replaces or (with an empty function) removes the handler. Takes effect at once, for calls under way
  // too. The handler runs on the thread that captured, after the stack was unwound, outside this domain,
  // never concurrently with itself; an error that it throws goes outward, with the original kept as its
  // cause. Two handlers that cause errors in each other's domains at once wait for each other for ever.
  // `then` is what follows for the worker.
  void on_error(Handler handler, Then then = Then::drain) const;

  // Adds a handler that runs after those that are there, unless one of them throws. The worker drains if one
  // of them wants that.
  void also_on_error(Handler handler, Then then = Then::drain) const;

  // Calls f inside the domain. Returns its result; nothing (false) if an error was captured.
  template <class F, class... Args>
  typename detail::RunResult<std::invoke_result_t<F, Args...>>::type run(F&& f, Args&&... args) const;

  // A callable that calls f inside the domain, which it keeps alive. Errors never pass to its caller; it then
  // returns R{}. `label` names it in failures.
  template <class F>
  Bound<std::decay_t<F>> bind(F&& f, std::string label = {}) const;

  // A callable whose first argument is an error (see ErrorTraits): if it is one, it is reported to the domain
  // and f is not called; otherwise f is called, as if bound, with the arguments after it.
  template <class F>
  Intercepted<std::decay_t<F>> intercept(F&& f, std::string label = {}) const;

  // Tells the domain of an error that was not thrown; the code after it goes on. Without a handler, and
  // without a Worker, it is thrown to the caller.
  void report(const std::error_code& error, std::string_view message = {}) const;
  void report(const std::exception_ptr& error) const;
  void report(Failure failure) const;

  // Binds the emitter, after removing it from the domain it was bound to; nothing if it is bound here
  // already.
  void add(Emitter& emitter) const;
  void remove(Emitter& emitter) const;  // nothing if it is bound elsewhere
  // Those added, in order; one made inside is bound, but not listed.
  std::vector<Emitter*> members() const;

  // Makes this the parent of another domain, which it keeps alive no longer than before: what is reported to
  // the other one, and finds no handler there, is reported here. (What is thrown goes to the domains active
  // around it, whatever their parents.) A domain has one parent, the last that it was added to. Throws
  // std::invalid_argument if that would make a domain its own ancestor.
  void add(const Domain& child) const;
  void remove(const Domain& child) const;  // nothing if this is not its parent
  Domain parent() const noexcept;          // or an empty handle

  // Key/value pairs that are copied into the failures of this domain and of domains active together with it.
  void set(std::string_view key, std::string_view value) const;
  std::optional<std::string> get(std::string_view key) const;

  friend bool operator==(const Domain& a, const Domain& b) noexcept { return a.state_ == b.state_; }
  friend bool operator!=(const Domain& a, const Domain& b) noexcept { return a.state_ != b.state_; }

 private:
  friend class Emitter;
  template <class F>
  friend class Bound;
  template <class F>
  friend class Intercepted;
  friend struct detail::State;
  enum class Adopt {
    reference
  };
  Domain(detail::State* state, Adopt) noexcept : state_(state) {}
  void report_intercepted(Failure failure, const std::string& label, const char* type) const;

  detail::State* state_ = nullptr;
  bool inner_ = false;  // captured by the domain's own handler: not counted
};

// Told of every failure of the process, before the handler of its domain: for logs and counters. A second one
// replaces the first; an empty function takes it away. It runs on the thread of the failure, outside all
// domains, perhaps on several at once. What it throws is dropped.
REFORK_API void observe_failures(Domain::Handler observer);

// What an application reports errors through, as Node's event emitter: a connection, an upstream, a timer, an
// object of a library of your own, which derives from it. Bound to the domain in which it was made, or to
// which it was added; removes itself when it ends. Used by one thread at a time.
class REFORK_API Emitter {
 public:
  explicit Emitter(std::string name = {});
  virtual ~Emitter();
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  const std::string& name() const noexcept { return name_; }
  Domain domain() const noexcept { return domain_; }

  // A listener of its own wins over the domain, which is then told nothing. It runs where the error is
  // reported; what it throws goes to the caller of report().
  void on_error(Domain::Handler listener);

  // Calls f inside the emitter's domain, whichever is active, as a callback bound to it would be: for the
  // events of a connection, the ticks of a timer. Returns R{} after a capture.
  template <class F, class... Args>
  std::invoke_result_t<F, Args...> call(F&& f, Args&&... args) const;

  // As Domain::report, with this as the emitter.
  void report(const std::error_code& error, std::string_view message = {});
  void report(const std::exception_ptr& error);
  void report(Failure failure);

 private:
  friend class Domain;
  std::string name_;
  Domain domain_;
  bool listed_ = false;
  Domain::Handler listener_;
};

// What Domain::bind gives. Copyable if F is.
template <class F>
class Bound {
 public:
  const Domain& domain() const noexcept { return domain_; }
  const F& target() const noexcept { return f_; }
  F& target() noexcept { return f_; }

  template <class... Args>
  std::invoke_result_t<F&, Args...> operator()(Args&&... args) {
    return call(f_, std::forward<Args>(args)...);
  }
  template <class... Args>
  std::invoke_result_t<const F&, Args...> operator()(Args&&... args) const {
    return call(f_, std::forward<Args>(args)...);
  }

 private:
  friend class Domain;
  template <class G>
  friend class Intercepted;
  template <class G>
  friend Bound<std::decay_t<G>> bind(G&& f, std::string label);
  template <class G>
  Bound(Domain domain, G&& f, std::string label)
      : domain_(std::move(domain)), f_(std::forward<G>(f)), label_(std::move(label)) {}

  template <class G, class... Args>
  std::invoke_result_t<G&, Args...> call(G& f, Args&&... args) const {
    using R = std::invoke_result_t<G&, Args...>;
    if (!domain_) return std::invoke(f, std::forward<Args>(args)...);
    if constexpr (std::is_void_v<R>) {
      auto body = [&] { std::invoke(f, std::forward<Args>(args)...); };
      detail::run_bound(domain_.state_, label_, detail::thunk<decltype(body)>(), &body);
    } else if constexpr (detail::fits_register<R>()) {
      auto body = [&]() -> R { return std::invoke(f, std::forward<Args>(args)...); };
      const auto returned = detail::run_bound(domain_.state_, label_, detail::thunk<decltype(body)>(), &body);
      return returned.done ? detail::from_register<R>(returned.value) : R{};
    } else {
      static_assert(std::is_default_constructible_v<R>, "a bound callback returns R{} after an error");
      std::optional<R> result;
      auto body = [&] { result.emplace(std::invoke(f, std::forward<Args>(args)...)); };
      detail::run_bound(domain_.state_, label_, detail::thunk<decltype(body)>(), &body);
      return result ? std::move(*result) : R{};
    }
  }

  Domain domain_;
  F f_;
  std::string label_;
};

// What Domain::intercept gives. Copyable if F is.
template <class F>
class Intercepted {
 public:
  const Domain& domain() const noexcept { return bound_.domain_; }

  template <class Error, class... Args>
  std::invoke_result_t<F&, Args...> operator()(Error&& error, Args&&... args) {
    using R = std::invoke_result_t<F&, Args...>;
    if (report(error)) return R();
    return bound_(std::forward<Args>(args)...);
  }
  template <class Error, class... Args>
  std::invoke_result_t<const F&, Args...> operator()(Error&& error, Args&&... args) const {
    using R = std::invoke_result_t<const F&, Args...>;
    if (report(error)) return R();
    return bound_(std::forward<Args>(args)...);
  }

 private:
  friend class Domain;
  explicit Intercepted(Bound<F> bound) : bound_(std::move(bound)) {}

  template <class Error>
  bool report(const Error& error) const {
    using Traits = ErrorTraits<Error>;
    if (!Traits::is_error(error)) return false;
#ifdef __cpp_rtti
    const char* type = typeid(F).name();
#else
    const char* type = nullptr;
#endif
    bound_.domain_.report_intercepted(Traits::describe(error), bound_.label_, type);
    return true;
  }

  Bound<F> bound_;
};

// Binds to the active domain; without one, the callable does nothing but call.
template <class F>
Bound<std::decay_t<F>> bind(F&& f, std::string label = {}) {
  return Bound<std::decay_t<F>>(Domain::current(), std::forward<F>(f), std::move(label));
}

template <class F, class... Args>
std::invoke_result_t<F, Args...> Emitter::call(F&& f, Args&&... args) const {
  auto body = [&]() -> std::invoke_result_t<F, Args...> {
    return std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  };
  return domain_.bind(std::move(body), name_)();
}

template <class F, class... Args>
typename detail::RunResult<std::invoke_result_t<F, Args...>>::type Domain::run(F&& f, Args&&... args) const {
  using R = std::invoke_result_t<F, Args...>;
  if constexpr (std::is_void_v<R>) {
    auto body = [&] { std::invoke(std::forward<F>(f), std::forward<Args>(args)...); };
    return detail::run(state_, detail::thunk<decltype(body)>(), &body).done;
  } else if constexpr (detail::fits_register<R>()) {
    auto body = [&]() -> R { return std::invoke(std::forward<F>(f), std::forward<Args>(args)...); };
    const auto returned = detail::run(state_, detail::thunk<decltype(body)>(), &body);
    return returned.done ? std::optional<R>(detail::from_register<R>(returned.value)) : std::nullopt;
  } else {
    typename detail::RunResult<R>::type result;
    auto body = [&] { result.emplace(std::invoke(std::forward<F>(f), std::forward<Args>(args)...)); };
    if (!detail::run(state_, detail::thunk<decltype(body)>(), &body).done) result.reset();
    return result;
  }
}

template <class F>
Bound<std::decay_t<F>> Domain::bind(F&& f, std::string label) const {
  return Bound<std::decay_t<F>>(*this, std::forward<F>(f), std::move(label));
}

template <class F>
Intercepted<std::decay_t<F>> Domain::intercept(F&& f, std::string label) const {
  return Intercepted<std::decay_t<F>>(bind(std::forward<F>(f), std::move(label)));
}

}  // namespace refork
