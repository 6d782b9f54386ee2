#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "refork/domain.hpp"

namespace refork::test {

// A handler that keeps what it is given.
struct Seen {
  std::vector<Failure> failures;
  auto handler() {
    return [this](const Failure& failure) { failures.push_back(failure); };
  }
  std::size_t count() const { return failures.size(); }
  const Failure& last() const { return failures.back(); }
};

// Says that the stack was unwound past it.
struct Unwound {
  bool& flag;
  ~Unwound() { flag = true; }
};

[[noreturn]] __attribute__((noinline)) inline void throw_error(const char* message = "boom") {
  throw std::runtime_error(message);
}

// Runs f on a thread of its own, so that no catch of the test's runner is on the stack.
template <class F>
void on_a_thread(F f) {
  std::thread(std::move(f)).join();
}

}  // namespace refork::test
