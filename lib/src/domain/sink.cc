// The one place where domains meet the process's Worker, which they know as a Sink.
#include "domain/sink.h"

#include <sched.h>

#include <atomic>

#include "domain/stack.h"

namespace refork::domain {
namespace {

std::atomic<Sink*> the_sink{nullptr};
std::atomic<unsigned> recording{0};

}  // namespace

bool has_sink() noexcept { return the_sink.load(std::memory_order_acquire) != nullptr; }

void record(Failure& failure, Then then, std::uint64_t request) noexcept {
  detail::Nowhere nowhere;
  recording.fetch_add(1);
  if (Sink* sink = the_sink.load()) sink->record(failure, then, request);
  recording.fetch_sub(1);
}

// Waits until no thread is in the old sink any more, so that it may be destroyed.
void set_sink(Sink* sink) noexcept {
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
