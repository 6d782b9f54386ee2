// What the kernel tells of threads, of this very process.
#include "os/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace refork::os {
namespace {

pid_t own_tid() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

TEST(Task, ThreadsAreListedAndDescribed) {
  std::atomic<pid_t> other = 0;
  std::atomic<bool> end = false;
  std::thread thread([&] {
    ::pthread_setname_np(::pthread_self(), "a ) name");
    other = own_tid();
    other.notify_one();
    end.wait(false);
  });
  other.wait(0);
  EXPECT_THAT(list_threads(::getpid()), testing::IsSupersetOf({own_tid(), other.load()}));
  std::string name;
  for (const auto& one : describe_threads(::getpid()))
    if (one.tid == other) name = one.name;
  EXPECT_EQ(name, "a ) name");
  end = true;
  end.notify_all();
  thread.join();
}

TEST(Task, TheSchedulerTellsWhatAThreadHasRun) {
  const auto before = read_task(::getpid(), own_tid());
  ASSERT_TRUE(before);
  EXPECT_EQ(before->state, 'R');
  for (;;) {
    const auto now = read_task(::getpid(), own_tid());
    ASSERT_TRUE(now);
    ASSERT_GE(now->slices, before->slices);
    if (now->run_ns > before->run_ns) break;
  }
}

TEST(Task, OfAProcessThatIsGoneNothingIsTold) {
  constexpr pid_t nobody = 0x7ffffffe;
  EXPECT_TRUE(list_threads(nobody).empty());
  EXPECT_TRUE(describe_threads(nobody).empty());
  EXPECT_FALSE(read_task(nobody, nobody));
}

TEST(Task, StatesHaveWords) {
  EXPECT_EQ(say_thread_state('R'), "running");
  EXPECT_EQ(say_thread_state('D'), "waiting for a device");
  EXPECT_EQ(say_thread_state('?'), "idle");
}

}  // namespace
}  // namespace refork::os
