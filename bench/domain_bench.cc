// What domains cost: next to nothing as long as nothing is thrown, and about one more walk over the stack if
// something is. PlainCall and ThrowCatch are what to compare with, in the same run. `allocs` is the number of
// heap allocations of one round in the steady state.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <new>
#include <stdexcept>

#include "refork/domain.hpp"
#include "refork/worker.hpp"

namespace {

thread_local std::size_t allocations = 0;

}  // namespace

// Not inlined: g++ 12 would otherwise take malloc and free for a mismatched pair.
__attribute__((noinline)) void* operator new(std::size_t size) {
  ++allocations;
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
__attribute__((noinline)) void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto boundary = static_cast<std::size_t>(alignment);
  if (void* block = std::aligned_alloc(boundary, (size + boundary - 1) / boundary * boundary)) return block;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
__attribute__((noinline)) void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  std::free(block);
}
__attribute__((noinline)) void operator delete(void* block) noexcept { std::free(block); }
__attribute__((noinline)) void operator delete(void* block, std::size_t) noexcept { std::free(block); }

namespace {

using refork::Domain;
using refork::Failure;

// Counts the allocations of the rounds.
class Allocations {
 public:
  explicit Allocations(benchmark::State& state) : state_(state), before_(allocations) {}
  ~Allocations() {
    state_.counters["allocs"] =
        benchmark::Counter(static_cast<double>(allocations - before_), benchmark::Counter::kAvgIterations);
  }
  Allocations(const Allocations&) = delete;
  Allocations& operator=(const Allocations&) = delete;

 private:
  benchmark::State& state_;
  std::size_t before_;
};

__attribute__((noinline)) int work(int value) {
  benchmark::DoNotOptimize(value);
  return value + 1;
}

// The frames that a handler typically has below it.
__attribute__((noinline)) int fail(int depth) {
  if (depth == 0) throw std::runtime_error("boom");
  int below = fail(depth - 1);
  benchmark::DoNotOptimize(below);
  return below;
}

constexpr int depth = 20;

void PlainCall(benchmark::State& state) {
  const Allocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(work(1));
}

void DomainRun(benchmark::State& state) {
  Domain domain("request");
  const Allocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(domain.run(work, 1));
}

// One domain on all threads.
void DomainRunShared(benchmark::State& state) {
  static Domain domain("request");
  const Allocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(domain.run(work, 1));
}

void DomainCreateRun(benchmark::State& state) {
  const Allocations count(state);
  for (auto _ : state) {
    Domain domain("request");
    benchmark::DoNotOptimize(domain.run(work, 1));
  }
}

void DomainCreateHandlerRun(benchmark::State& state) {
  const Allocations count(state);
  for (auto _ : state) {
    Domain domain("request");
    domain.on_error([&state](const Failure&) { benchmark::DoNotOptimize(&state); });
    benchmark::DoNotOptimize(domain.run(work, 1));
  }
}

void DomainBindCall(benchmark::State& state) {
  auto bound = Domain("request").bind(work);
  const Allocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(bound(1));
}

void RequestBegin(benchmark::State& state) {
  static refork::Worker worker([] {
    refork::Worker::Options options;
    options.standalone = refork::Worker::Standalone::serve;
    return options;
  }());
  const Domain domain("request");
  const Allocations count(state);
  for (auto _ : state) {
    auto request = worker.begin("GET /search", domain);
    benchmark::DoNotOptimize(request);
  }
}

void ThrowCatch(benchmark::State& state) {
  const Allocations count(state);
  for (auto _ : state) {
    try {
      fail(depth);
    } catch (const std::exception& error) {
      benchmark::DoNotOptimize(error.what());
    }
  }
}

void ThrowCaptured(benchmark::State& state) {
  Domain domain("request");
  domain.on_error([](const Failure& failure) { benchmark::DoNotOptimize(failure.message.data()); });
  const Allocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(domain.run(fail, depth));
}

// Swallowed before it reaches the domain, which keeps its stack for the case that it is thrown again.
void ThrowCatchInside(benchmark::State& state) {
  Domain domain("request");
  domain.run([&] { ThrowCatch(state); });
}

#define REFORK_BENCHMARK(name) BENCHMARK(name)->ThreadRange(1, 2)->UseRealTime()
REFORK_BENCHMARK(PlainCall);
REFORK_BENCHMARK(DomainRun);
REFORK_BENCHMARK(DomainRunShared);
REFORK_BENCHMARK(DomainCreateRun);
REFORK_BENCHMARK(DomainCreateHandlerRun);
REFORK_BENCHMARK(DomainBindCall);
REFORK_BENCHMARK(ThrowCatch);
REFORK_BENCHMARK(ThrowCatchInside);
REFORK_BENCHMARK(ThrowCaptured);
REFORK_BENCHMARK(RequestBegin);  // last: with its Worker the others would record their errors, too

}  // namespace

BENCHMARK_MAIN();
