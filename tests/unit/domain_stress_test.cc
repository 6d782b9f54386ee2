// Many domains at once and one after the other: nobody gets another's errors, and nothing is left behind.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <random>

#include "unit/domain_support.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace refork::test {
namespace {

// A domain whose callbacks are called in any order, mixed with those of all others.
struct Conversation {
  explicit Conversation(int number) : name("domain " + std::to_string(number)), domain(name) {
    domain.set("number", std::to_string(number));
    domain.on_error([this](const Failure& failure) {
      handled.fetch_add(1);
      if (failure.domain != name || failure.message != name || failure.context.size() != 1 ||
          failure.context[0].second != name.substr(7))
        strangers.fetch_add(1);
    });
  }
  std::string name;
  Domain domain;
  std::atomic<int> handled{0}, strangers{0};
};

constexpr int conversations = 1000;
constexpr int rounds = 8;

void overlap(unsigned threads) {
  std::vector<std::unique_ptr<Conversation>> all;
  std::vector<std::function<void()>> work;
  for (int i = 0; i < conversations; ++i) {
    all.push_back(std::make_unique<Conversation>(i));
    Conversation* const one = all.back().get();
    Conversation* const other = all[static_cast<std::size_t>(i) / 2].get();
    for (int r = 0; r < rounds; ++r)
      work.push_back(one->domain.bind([one, other] {
        if (Domain::current() != one->domain) one->strangers.fetch_add(1);
        other->domain.run([&] { throw_error(other->name.c_str()); });  // inside one another, too
        throw_error(one->name.c_str());
      }));
  }
  std::shuffle(work.begin(), work.end(), std::minstd_rand(threads));
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t)
    pool.emplace_back([&] {
      for (std::size_t i = next++; i < work.size(); i = next++) work[i]();
      EXPECT_FALSE(Domain::current());
    });
  for (auto& thread : pool) thread.join();
  int handled = 0;
  for (const auto& one : all) {
    handled += one->handled;
    EXPECT_EQ(one->strangers, 0) << one->name;
  }
  EXPECT_EQ(handled, 2 * conversations * rounds);
}

TEST(DomainStress, AThousandOverlappingDomainsOnOneThreadDoNotMix) { overlap(1); }
TEST(DomainStress, AThousandOverlappingDomainsOnEightThreadsDoNotMix) { overlap(8); }

#if defined(__SANITIZE_THREAD__)
constexpr int many = 50'000;  // one thread: nothing to see for it but that it works
#else
constexpr int many = 1'000'000;
#endif

// Bytes of the heap in use.
std::size_t allocated() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return ::__sanitizer_get_current_allocated_bytes();
#else
  return ::mallinfo2().uordblks;
#endif
}

void live_and_die(int& handled) {
  Domain domain("request");
  domain.on_error([domain, &handled](const Failure&) { ++handled; });
  domain.set("key", "value");
  auto bound = domain.bind([] { return 1; });
  Emitter member("connection");
  domain.add(member);
  if (bound() == 1) domain.run([] { throw_error(); });
}

TEST(DomainStress, AMillionDomainsEachThrownInLeaveNothingBehind) {
  int handled = 0;
  for (int i = 0; i < many / 100; ++i) live_and_die(handled);
  const auto before = allocated();
  for (int i = 0; i < many; ++i) live_and_die(handled);
  EXPECT_EQ(handled, many + many / 100);
  EXPECT_LE(allocated(), before + 64 * 1024);
}

}  // namespace
}  // namespace refork::test
