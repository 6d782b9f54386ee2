// The stack of an exception that is caught and thrown again is that of the first throw, wherever and however
// it is thrown again; and where that is not known, the failure says so.
#include <gtest/gtest.h>
#include <unwind.h>

#include <coroutine>
#include <future>
#include <memory>

#include "unit/domain_support.h"

namespace refork::test {
namespace {

__attribute__((noinline)) void first_thrower() { throw std::runtime_error("first"); }

bool shows_first_thrower(const Failure& failure) {
  return !failure.stack.empty() &&
         _Unwind_FindEnclosingFunction(failure.stack.front()) == reinterpret_cast<void*>(&first_thrower);
}

template <class F>
Failure captured(F f) {
  Domain domain("request");
  Seen seen;
  domain.on_error(seen.handler());
  EXPECT_FALSE(domain.run(f));
  EXPECT_EQ(seen.count(), 1U);
  return seen.count() == 1 ? seen.last() : Failure();
}

std::exception_ptr caught(void (*f)()) {
  try {
    f();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

void expect_first(const Failure& failure) {
  EXPECT_TRUE(shows_first_thrower(failure));
  EXPECT_FALSE(failure.rethrown);
}

__attribute__((noinline)) int throw_from_depth(int depth, void (*thrower)()) {
  if (depth == 0) return thrower(), 0;
  const int below = throw_from_depth(depth - 1, thrower);
  asm volatile("" ::: "memory");  // no tail call
  return below + 1;
}

// Whether the stack fits into what is kept of a first throw or not.
TEST(Rethrow, WhatIsNotOneShowsItsWholeStackHoweverDeep) {
  std::size_t before = 0;
  for (int depth = 50; depth < 90; ++depth) {
    const Failure failure = captured([depth] { return throw_from_depth(depth, first_thrower); });
    if (before > 0) {
      EXPECT_GT(failure.stack.size(), before) << depth;
    }
    before = failure.stack.size();
  }
}

TEST(Rethrow, ByThrowKeepsTheFirstStack) {
  expect_first(captured([] {
    try {
      first_thrower();
    } catch (const std::exception&) {
      throw;
    }
  }));
}

TEST(Rethrow, ByThrowSeveralTimesKeepsTheFirstStack) {
  expect_first(captured([] {
    try {
      try {
        first_thrower();
      } catch (...) {
        throw;
      }
    } catch (...) {
      throw;
    }
  }));
}

TEST(Rethrow, OfAnExceptionPtrKeepsTheFirstStack) {
  expect_first(captured([] { std::rethrow_exception(caught(first_thrower)); }));
}

TEST(Rethrow, OutOfAFutureKeepsTheStackOfTheOtherThread) {
  Domain job("job");
  expect_first(captured([&] {
    std::promise<void> promise;
    std::thread([&] {
      const Scope inside = job.enter();
      promise.set_exception(caught(first_thrower));
    }).join();
    promise.get_future().get();
  }));
}

struct Task {
  struct promise_type {
    Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { error = std::current_exception(); }
    std::exception_ptr error;
  };
  std::coroutine_handle<promise_type> coroutine;
};

Task fails() {
  first_thrower();
  co_return;
}

TEST(Rethrow, OutOfACoroutineKeepsTheFirstStack) {
  expect_first(captured([] {
    Task task = fails();
    task.coroutine.resume();
    const std::exception_ptr error = task.coroutine.promise().error;
    task.coroutine.destroy();
    std::rethrow_exception(error);
  }));
}

TEST(Rethrow, OfWhatWasThrownOutsideAllDomainsIsSaidToBeOne) {
  const std::exception_ptr error = caught(first_thrower);
  const Failure failure = captured([&] { std::rethrow_exception(error); });
  EXPECT_TRUE(failure.rethrown);
  EXPECT_FALSE(shows_first_thrower(failure));
  EXPECT_FALSE(failure.stack.empty());
}

TEST(Rethrow, OfWhatWasNeverThrownIsSaidToBeOneWhateverLayThereBefore) {
  for (int i = 0; i < 100; ++i) {
    const Failure failure = captured([] {
      caught(first_thrower);  // its place in memory is free again
      std::rethrow_exception(std::make_exception_ptr(std::runtime_error("made")));
    });
    EXPECT_TRUE(failure.rethrown);
    EXPECT_FALSE(shows_first_thrower(failure));
  }
}

TEST(Rethrow, OfALaterExceptionAtTheSameAddressIsNotTakenForTheFormerOne) {
  for (int i = 0; i < 100; ++i) {
    Domain("other").run([] { caught(first_thrower); });
    const std::exception_ptr error = caught([] { throw std::runtime_error("outside all domains"); });
    const Failure failure = captured([&] { std::rethrow_exception(error); });
    EXPECT_TRUE(failure.rethrown);
    EXPECT_FALSE(shows_first_thrower(failure));
  }
}

TEST(Rethrow, KeepsTheFirstStacksOfAtLeastAHundredPendingExceptions) {
  constexpr int pending = 100;
  std::vector<std::exception_ptr> errors;
  Domain("job").run([&] {
    for (int i = 0; i < pending; ++i) errors.push_back(caught(first_thrower));
  });
  int known = 0;
  for (const auto& error : errors)
    if (!captured([&] { std::rethrow_exception(error); }).rethrown) ++known;
  EXPECT_GE(known, pending / 2);  // by which places they get in the table
}

TEST(Rethrow, OnManyThreadsAtOnceMixesNoStacks) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) {
        const Failure failure = captured([] {
          try {
            first_thrower();
          } catch (...) {
            throw;
          }
        });
        EXPECT_TRUE(failure.rethrown || shows_first_thrower(failure));
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace refork::test
