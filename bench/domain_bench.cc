// What domains cost: next to nothing as long as nothing is thrown, and about one more walk over the stack if
// something is. PlainCall and ThrowCatch are what to compare with, in the same run.
#include <benchmark/benchmark.h>

#include <stdexcept>

#include "refork/domain.hpp"

namespace {

using refork::Domain;
using refork::Failure;

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
  for (auto _ : state) benchmark::DoNotOptimize(work(1));
}

void DomainRun(benchmark::State& state) {
  static Domain domain("request");
  for (auto _ : state) benchmark::DoNotOptimize(domain.run(work, 1));
}

void DomainCreateRun(benchmark::State& state) {
  for (auto _ : state) {
    Domain domain("request");
    benchmark::DoNotOptimize(domain.run(work, 1));
  }
}

void DomainCreateHandlerRun(benchmark::State& state) {
  for (auto _ : state) {
    Domain domain("request");
    domain.on_error([&state](const Failure&) { benchmark::DoNotOptimize(&state); });
    benchmark::DoNotOptimize(domain.run(work, 1));
  }
}

void DomainBindCall(benchmark::State& state) {
  auto bound = Domain("request").bind(work);
  for (auto _ : state) benchmark::DoNotOptimize(bound(1));
}

void ThrowCatch(benchmark::State& state) {
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
  for (auto _ : state) benchmark::DoNotOptimize(domain.run(fail, depth));
}

// Swallowed before it reaches the domain: costs what it costs without one.
void ThrowCatchInside(benchmark::State& state) {
  Domain domain("request");
  domain.run([&] { ThrowCatch(state); });
}

BENCHMARK(PlainCall);
BENCHMARK(DomainRun)->ThreadRange(1, 2);
BENCHMARK(DomainCreateRun);
BENCHMARK(DomainCreateHandlerRun);
BENCHMARK(DomainBindCall);
BENCHMARK(ThrowCatch);
BENCHMARK(ThrowCatchInside);
BENCHMARK(ThrowCaptured);

}  // namespace

BENCHMARK_MAIN();
