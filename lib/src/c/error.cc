// Errors at the border to C: exceptions become numbers, reports become failures, and what a C error handler
// reports to its own domain becomes what it would have thrown.
#include "c/error.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <system_error>

#include "domain/capture.h"
#include "domain/describe.h"
#include "domain/sink.h"

namespace refork::c {
namespace {

constexpr std::size_t message_size = 256;
thread_local char last_message[message_size];

// An error handler of this thread that is running, and what it reported to its own domain meanwhile.
struct Running {
  explicit Running(detail::State* own_state) noexcept : own(own_state), around(innermost) {
    innermost = this;
  }
  ~Running() { innermost = around; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static Running* of(const detail::State* state) noexcept {
    Running* running = innermost;
    while (running && running->own != state) running = running->around;
    return running;
  }

  detail::State* own;
  std::exception_ptr failed;
  Running* around;
  static thread_local Running* innermost;
};
thread_local Running* Running::innermost = nullptr;

// Either sign is an errno; the one int without a counterpart is none, and stays as it is.
std::error_code code_of(const refork_error& error) {
  const bool negative = error.code < 0 && error.code != std::numeric_limits<int>::min();
  return {negative ? -error.code : error.code, std::generic_category()};
}

std::string text_of(const refork_error& error) {
  std::string text = or_empty(error.message);
  if (error.code == 0) return text;
  const std::error_code code = code_of(error);
  return text + (text.empty() ? "" : ": ") + code.message() + " (errno " + std::to_string(code.value()) + ")";
}

// Its own, or that of one of its ancestors.
bool has_handler(Domain domain) noexcept {
  while (domain && !detail::State::of(domain)->current_handler()) domain = domain.parent();
  return static_cast<bool>(domain);
}

// The handler has failed: kept until it returns, for it cannot be left from here.
void keep(Running& running, const Failure& failure) noexcept {
  if (running.failed) return;  // the first one counts
  running.failed = std::make_exception_ptr(detail::NamedError(failure.type, failure.message));
}

}  // namespace

int fail(int errnum, const char* message) noexcept {
  std::snprintf(last_message, sizeof last_message, "%s", message);
  return -errnum;
}

int fail_with_current_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, "");
  } catch (const std::logic_error& error) {
    return fail(EINVAL, error.what());
  } catch (const std::exception& error) {
    return fail(EIO, error.what());
  } catch (...) {
    return fail(EIO, "");
  }
}

Failure describe(const refork_error& given) {
  refork_error error = REFORK_ERROR_INIT;
  take_over(error, given);
  Failure failure;
  failure.kind = Kind::error;
  failure.thrown = false;
  failure.type = error.type ? error.type : error.code != 0 ? "errno" : "error";
  failure.message = text_of(error);
  // What C++ code would have thrown, where it is C++ code that handles it.
  if (error.code != 0 && !error.type)
    failure.exception = std::make_exception_ptr(std::system_error(code_of(error), or_empty(error.message)));
  else
    failure.exception = std::make_exception_ptr(detail::NamedError(failure.type, failure.message));
  return failure;
}

int report(detail::State* state, Failure failure, const void* reported_from) noexcept {
  if (Running* running = state ? Running::of(state) : nullptr) {
    keep(*running, failure);
    return 0;
  }
  if (!domain::has_sink() && !has_handler(detail::State::handle(state)))
    return fail(ENOENT, "there is neither an error handler nor a worker to tell");
  try {
    detail::report(state, failure, reported_from);
  } catch (...) {
    // Its handler has failed. That goes outward, as far as there is C++.
    auto rethrow = [] { throw; };
    detail::run_for_c(nullptr, detail::thunk<decltype(rethrow)>(), &rethrow);
  }
  return 0;
}

struct CHandler::Shared {
  detail::State* own;
  refork_handler function;
  void* arg;
  refork_free free = nullptr;

  Shared(detail::State* domain, refork_handler handler, void* argument) noexcept
      : own(domain), function(handler), arg(argument) {}
  ~Shared() {
    if (free) free(arg);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  void call(const Failure& failure) const {
    Running running(own);
    function(wrap(failure), arg);
    if (running.failed) std::rethrow_exception(running.failed);
  }
};

CHandler::CHandler(detail::State* own, refork_handler function, void* arg) {
  if (function) shared_ = std::make_shared<Shared>(own, function, arg);
}

Domain::Handler CHandler::handler() const {
  if (!shared_) return {};
  return [shared = shared_](const Failure& failure) { shared->call(failure); };
}

void CHandler::free_with(refork_free free) noexcept {
  if (shared_) shared_->free = free;
}

}  // namespace refork::c

extern "C" const char* refork_error_message(void) { return refork::c::last_message; }
