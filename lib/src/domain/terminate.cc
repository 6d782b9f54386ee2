// The last word of a process that calls std::terminate. It does not save the process: it only tells.
#include "domain/terminate.h"

#include <atomic>
#include <cstdlib>
#include <exception>

#include "domain/describe.h"
#include "domain/sink.h"
#include "domain/snapshot.h"
#include "domain/stack.h"

namespace refork::domain {
namespace {

std::atomic<std::terminate_handler> next_handler{nullptr};

void record_terminate() noexcept {
  Failure failure;
  detail::Snapshot snapshot;
  const std::exception_ptr uncaught = std::current_exception();
  snapshot.take(uncaught);
  detail::describe(uncaught, failure);
  snapshot.tell(failure);
  failure.kind = Kind::terminate;
  failure.thrown = uncaught != nullptr;
  try {
    if (!uncaught) failure.message = "std::terminate was called";
    if (!failure.domains.empty()) failure.domain = failure.domains.front();
  } catch (...) {
    // No memory: the record says as much as there was room for.
  }
  record(failure, Then::drain, snapshot.request());
}

// Two threads may come here at once, and the recording itself may fail: each process tells of the first.
[[noreturn]] void on_terminate() {
  static std::atomic_flag told = ATOMIC_FLAG_INIT;
  if (!told.test_and_set()) record_terminate();
  detail::this_thread.top = nullptr;  // what comes now runs outside all domains
  if (const auto next = next_handler.load()) next();
  std::abort();
}

}  // namespace

void watch_terminate(bool watch) noexcept {
  if (watch) {
    const auto before = std::set_terminate(on_terminate);
    if (before != on_terminate) next_handler.store(before);
  } else if (std::get_terminate() == on_terminate) {
    std::set_terminate(next_handler.load());
  }
}

}  // namespace refork::domain
