// The one place where domains meet the process's Worker, which they know as a Sink.
#include "domain/sink.h"

#include <sched.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include "domain/stack.h"
#include "domain/terminate.h"

namespace refork::domain {
namespace {

std::atomic<Sink*> the_sink{nullptr};
std::atomic<unsigned> recording{0};

// Never destroyed: an error may come as late as in a destructor of the program's own statics.
struct Observer {
  std::mutex mutex;
  std::shared_ptr<const Domain::Handler> function;
};
Observer& observer() {
  static auto* const one = new Observer;
  return *one;
}

void tell_observer(const Failure& failure) noexcept {
  try {
    std::shared_ptr<const Domain::Handler> function;
    {
      const std::lock_guard lock(observer().mutex);
      function = observer().function;
    }
    if (function) (*function)(failure);
  } catch (...) {
    // Whoever only looks on changes nothing.
  }
}

}  // namespace

bool has_sink() noexcept { return the_sink.load(std::memory_order_acquire) != nullptr; }

void record(Failure& failure, Then then, std::uint64_t request) noexcept {
  detail::Nowhere nowhere;
  recording.fetch_add(1);
  const bool before = std::exchange(detail::this_thread.recording, true);
  if (Sink* sink = the_sink.load()) sink->record(failure, then, request);
  detail::this_thread.recording = before;
  recording.fetch_sub(1);
  tell_observer(failure);
}

// Waits until no thread is in the old sink any more, so that it may be destroyed.
void set_sink(Sink* sink) noexcept {
  watch_terminate(sink != nullptr);
  if (the_sink.exchange(sink) == nullptr) return;
  while (recording.load() != 0) sched_yield();
}

void set_request(const Domain& domain, std::uint64_t request) noexcept {
  if (auto* state = detail::State::of(domain)) state->request.store(request, std::memory_order_relaxed);
}

std::uint64_t number(const Domain& domain) noexcept {
  auto* state = detail::State::of(domain);
  return state ? state->number : 0;
}

}  // namespace refork::domain

namespace refork {

void observe_failures(Domain::Handler function) {
  auto made = function ? std::make_shared<const Domain::Handler>(std::move(function)) : nullptr;
  const std::lock_guard lock(domain::observer().mutex);
  std::swap(domain::observer().function, made);
}

}  // namespace refork
