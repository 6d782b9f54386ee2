// The last word of a process that calls std::terminate. It does not save the process: it only tells.
#include "domain/terminate.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include "domain/active.h"
#include "domain/describe.h"
#include "domain/sink.h"
#include "domain/snapshot.h"
#include "domain/stack.h"

namespace refork::domain {
namespace {

// How long a thread waits before it ends the process while another one is recording.
constexpr std::chrono::seconds record_time{1};

std::atomic<std::terminate_handler> next_handler{nullptr};
std::atomic_flag begun = ATOMIC_FLAG_INIT;

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

// Two threads may come here at once, and the recording itself may fail: each process tells of the first, and
// the second thread does not end it in the midst of that. A thread that terminates while it records holds
// what a second record would need.
void record_once() noexcept {
  if (detail::this_thread.recording) return;
  static std::atomic<bool> told{false};
  if (!begun.test_and_set()) {
    record_terminate();
    told.store(true);
  }
  const auto latest = std::chrono::steady_clock::now() + record_time;
  while (!told.load() && std::chrono::steady_clock::now() < latest) std::this_thread::yield();
}

[[noreturn]] void on_terminate() {
  static thread_local bool here = false;
  if (std::exchange(here, true)) std::abort();  // the handler after ours has us after it
  record_once();
  detail::this_thread.top = nullptr;  // what comes now runs outside all domains
  if (const auto next = next_handler.load()) next();
  std::abort();
}

}  // namespace

bool terminating() noexcept { return begun.test(); }

void watch_terminate(bool watch) noexcept {
  if (watch) {
    const auto before = std::set_terminate(on_terminate);
    if (before != on_terminate) next_handler.store(before);
  } else if (std::get_terminate() == on_terminate) {
    std::set_terminate(next_handler.load());
  }
}

}  // namespace refork::domain
