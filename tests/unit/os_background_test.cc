// Work off the main thread, and the end of a file that others write.
#include "os/background.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>
#include <latch>
#include <thread>

#include "os/file_end.h"
#include "support/process.h"

namespace refork::os {
namespace {

void dispatch_one(Background& background) {
  pollfd poll{background.fd(), POLLIN, 0};
  ASSERT_GT(::poll(&poll, 1, 10000), 0);
  background.dispatch();
}

TEST(Background, WorksOnAThreadOfItsOwnAndAnswersOnThisOne) {
  Background background;
  std::thread::id worked, answered;
  ASSERT_TRUE(background.run([&] {
    worked = std::this_thread::get_id();
    return [&] { answered = std::this_thread::get_id(); };
  }));
  dispatch_one(background);
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(answered, std::this_thread::get_id());
}

TEST(Background, TakesOnlySoMuch) {
  Background background;
  std::latch go(1), begun(1);
  ASSERT_TRUE(background.run([&]() -> Background::Done {
    begun.count_down();
    go.wait();
    return [] {};
  }));
  begun.wait();
  for (std::size_t i = 0; i < Background::max_waiting; ++i)
    ASSERT_TRUE(background.run([]() -> Background::Done { return [] {}; }));
  EXPECT_FALSE(background.run([]() -> Background::Done { return [] {}; }));
  go.count_down();
  dispatch_one(background);
}

TEST(Background, WhatIsStuckIsLeftBehind) {
  static std::latch go(1), begun(1), over(1);
  {
    Background background;
    ASSERT_TRUE(background.run([]() -> Background::Done {
      begun.count_down();
      go.wait();
      over.count_down();
      return [] { ADD_FAILURE() << "nobody waits for it any more"; };
    }));
    begun.wait();
  }
  go.count_down();
  over.wait();
}

TEST(FileEnd, IsWhatWasWrittenSince) {
  const test::TempDir directory;
  const std::string file = directory.file("log");
  EXPECT_EQ(read_end(file, 0, 10), "");
  std::ofstream(file) << "before|after";
  EXPECT_EQ(read_end(file, 7, 10), "after");
  EXPECT_EQ(read_end(file, 12, 10), "");
  EXPECT_EQ(read_end(file, 0, 5), "after");
  EXPECT_EQ(read_end(file, 13, 100), "before|after") << "it was emptied meanwhile";
  EXPECT_EQ(read_end(file, 0, 3, 6), "ore") << "what was written later is not of it";
  EXPECT_EQ(read_end(file, 7, 10, 6), "");
  EXPECT_EQ(read_end(directory.path(), 0, 10), "");
  EXPECT_EQ(read_end("/dev/null", 0, 10), "");
}

}  // namespace
}  // namespace refork::os
