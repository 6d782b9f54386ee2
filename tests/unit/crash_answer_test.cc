// The answer that a thread has prepared, as a signal finds it that comes at any moment.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>

#include "crash/crash.h"
#include "crash/thread.h"

namespace refork::crash {
namespace {

constexpr int enough = 1000;
constexpr std::string_view short_answer = "1", long_answer = "22";

std::atomic<int> looked{0}, mixed{0};

bool is_whole() noexcept {
  const auto& answer = this_thread;
  if (answer.request == 1)
    return !answer.holds && answer.answer_fd == 1 && answer.bytes == short_answer.data() && answer.size == 1;
  return answer.request == 2 && answer.holds && answer.answer_fd == 2 && answer.bytes == long_answer.data() &&
         answer.size == 2;
}

void look(int) noexcept {
  ++looked;
  if (this_thread.answers && !is_whole()) ++mixed;
}

TEST(PreparedAnswer, IsThatOfOneRequestOrNone) {
  struct sigaction action {
  }, before{};
  action.sa_handler = look;
  ::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 100}, {0, 100}}, never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (looked < enough && std::chrono::steady_clock::now() < deadline)
    for (int i = 0; i < 1000; ++i) {
      prepare_answer(1, false, 1, short_answer);
      prepare_answer(2, true, 2, long_answer);
    }
  ::setitimer(ITIMER_REAL, &never, nullptr);
  withdraw_answer();
  ::sigaction(SIGALRM, &before, nullptr);
  EXPECT_GT(looked, 0);
  EXPECT_EQ(mixed, 0);
}

}  // namespace
}  // namespace refork::crash
