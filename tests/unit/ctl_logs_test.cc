// What `reforkctl logs` shows of a file, and how lines look.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "ctl/json.h"
#include "ctl/log_file.h"
#include "ctl/render.h"

namespace refork::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LogFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "refork-logs-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/web.log";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  LogFile open() {
    auto file = LogFile::open(path_);
    if (!file) throw std::runtime_error(file.error().what);
    return std::move(*file);
  }
  std::vector<std::string> last(LogFile& file, std::uint64_t count) {
    std::vector<std::string> lines;
    EXPECT_TRUE(file.show_last(count, [&](std::string_view line) { lines.emplace_back(line); }));
    return lines;
  }
  std::vector<std::string> more(LogFile& file) {
    std::vector<std::string> lines;
    EXPECT_TRUE(file.show_new([&](std::string_view line) { lines.emplace_back(line); }));
    return lines;
  }

  std::string directory_, path_;
};

TEST_F(LogFileTest, ShowsTheLastLines) {
  append("one\ntwo\nthree\n");
  LogFile file = open();
  EXPECT_THAT(last(file, 2), ElementsAre("two", "three"));
  EXPECT_THAT(last(file, 3), ElementsAre("one", "two", "three"));
  EXPECT_THAT(last(file, 4), ElementsAre("one", "two", "three"));
  EXPECT_THAT(last(file, 0), IsEmpty());
}

TEST_F(LogFileTest, FindsTheLastLinesOfALongFile) {
  for (int i = 0; i < 20'000; ++i) append("line " + std::to_string(i) + "\n");
  LogFile file = open();
  const auto lines = last(file, 15'000);
  ASSERT_THAT(lines, SizeIs(15'000));
  EXPECT_EQ(lines.front(), "line 5000");
  EXPECT_EQ(lines.back(), "line 19999");
}

TEST_F(LogFileTest, ShowsALineOnceItHasItsEnd) {
  append("one\n");
  LogFile file = open();
  last(file, 10);
  append("tw");
  EXPECT_THAT(more(file), IsEmpty());
  append("o\nthree\n");
  EXPECT_THAT(more(file), ElementsAre("two", "three"));
}

TEST_F(LogFileTest, GoesOnWithTheNextFileWhereOneIsPutAside) {
  append("one\n");
  LogFile file = open();
  last(file, 10);
  append("two\n");
  std::filesystem::rename(path_, path_ + ".1");
  append("three\n");
  EXPECT_THAT(more(file), ElementsAre("two", "three"));
  append("four\n");
  EXPECT_THAT(more(file), ElementsAre("four"));
}

TEST_F(LogFileTest, BeginsAnewWhereItIsEmptied) {
  append("one\ntwo\n");
  LogFile file = open();
  last(file, 10);
  std::filesystem::resize_file(path_, 0);
  append("new\n");
  EXPECT_THAT(more(file), ElementsAre("new"));
}

// Whoever waits is woken by what show_new() is there for; a wait for nothing hangs, and its test times out.
TEST_F(LogFileTest, WaitsUntilThereIsMore) {
  append("one\n");
  LogFile file = open();
  last(file, 10);
  append("two\n");
  file.wait();
  EXPECT_THAT(more(file), ElementsAre("two"));
  std::filesystem::rename(path_, path_ + ".1");
  append("three\n");
  file.wait();
  EXPECT_THAT(more(file), ElementsAre("three"));
  append("four\n");
  file.wait();
  EXPECT_THAT(more(file), ElementsAre("four")) << "of the new file";
  std::filesystem::resize_file(path_, 0);
  file.wait();
  append("five\n");
  EXPECT_THAT(more(file), ElementsAre("five"));
}

TEST_F(LogFileTest, IsARegularFile) {
  EXPECT_FALSE(LogFile::open(path_));
  const auto directory = LogFile::open(directory_);
  ASSERT_FALSE(directory);
  EXPECT_THAT(directory.error().what, HasSubstr("no regular file"));
}

TEST(LogLineText, NamesWhoSaysIt) {
  const LogLine output{0, "web", -1, 0, 4711, "", "hello \x1b[31m"};
  EXPECT_EQ(render_log_line(output, {}), "web[4711]: hello \\x1b[31m\n");
  const LogLine event{0, "reforkd", 0, 17, 4711, "worker-ready", "web/0 worker 17 (pid 4711): ready"};
  EXPECT_EQ(render_log_line(event, {}), "reforkd: web/0 worker 17 (pid 4711): ready\n");
}

TEST(LogLineText, IsAnObjectInJson) {
  EXPECT_EQ(log_line_json({1000, "web", -1, 0, 4711, "", "hello"}),
            "{\"time_ms\":1000,\"source\":\"web\",\"slot\":null,\"worker\":null,\"pid\":4711,\"event\":null,"
            "\"text\":\"hello\"}\n");
}

}  // namespace
}  // namespace refork::ctl
