// How reforkd's own words look, and that nobody who does not read them can stop it.
#include "log/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/unique_fd.h"
#include "log/format.h"

namespace refork::log {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

core::Event ready_event() {
  core::Event event{.type = "worker-ready"};
  event.service = "web";
  event.slot = 0;
  event.worker = 17;
  event.pid = 4711;
  event.text = "ready after 12 ms";
  return event;
}

TEST(LogFormat, NamesTheWorkerOfAnEvent) {
  EXPECT_EQ(event_text(ready_event()), "web/0 worker 17 (pid 4711): ready after 12 ms");
}

TEST(LogFormat, LeavesOutWhatAnEventDoesNotHave) {
  core::Event event{.type = "store-state"};
  event.text = "store is full";
  EXPECT_EQ(event_text(event), "store is full");
  event.service = "web";
  EXPECT_EQ(event_text(event), "web: store is full");
  event.worker = 3;
  EXPECT_EQ(event_text(event), "web worker 3: store is full");
}

TEST(LogFormat, MakesOneLineOfAnyText) {
  EXPECT_EQ(line("a b"), "reforkd: a b\n");
  EXPECT_EQ(line("a\nb\x1b[31mc\t\x7f"), "reforkd: a b [31mc  \n");
}

TEST(LogFormat, CutsALineThatAPipeWouldNotTakeWhole) {
  constexpr std::size_t room = longest_line - 10;  // "reforkd: " and the end of the line
  EXPECT_EQ(line(std::string(room, 'x')), "reforkd: " + std::string(room, 'x') + "\n");
  const std::string cut = line(std::string(room + 1, 'x'));
  EXPECT_EQ(cut.size(), longest_line);
  EXPECT_THAT(cut, EndsWith("xxx...\n"));
}

TEST(LogFormat, DoesNotCutACharacterInTwo) {
  std::string text;
  while (text.size() < longest_line) text += "\xe2\x82\xac";
  std::string cut = line(text);
  cut.erase(cut.size() - 4);
  EXPECT_THAT(cut, EndsWith("\xe2\x82\xac"));
}

TEST(LogFormat, GivesTheJournalItsFields) {
  core::Event event = ready_event();
  event.generation = 3;
  EXPECT_THAT(journal_fields(Level::warning, "two\nlines", &event),
              ElementsAre("MESSAGE=two\nlines", "PRIORITY=4", "SYSLOG_IDENTIFIER=reforkd",
                          "MESSAGE_ID=25f8c26b2a914bdc879e0d115007c98e", "REFORK_EVENT=worker-ready",
                          "REFORK_SERVICE=web", "REFORK_SLOT=0", "REFORK_WORKER=17", "REFORK_WORKER_PID=4711",
                          "REFORK_GENERATION=3"));
  EXPECT_THAT(journal_fields(Level::debug, "x", nullptr),
              ElementsAre("MESSAGE=x", "PRIORITY=7", "SYSLOG_IDENTIFIER=reforkd"));
}

TEST(LogFormat, KnowsTheJournalsStream) {
  EXPECT_TRUE(is_journal_stream("8:1234", 8, 1234));
  EXPECT_FALSE(is_journal_stream("8:1234", 8, 123));
  EXPECT_FALSE(is_journal_stream("", 8, 1234));
  EXPECT_FALSE(is_journal_stream(nullptr, 8, 1234));
}

// Lends stderr to a test.
class Log : public ::testing::Test {
 protected:
  Log() : before_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) { ::unsetenv("JOURNAL_STREAM"); }
  ~Log() override {
    ::dup2(before_.get(), STDERR_FILENO);  // one that was closed must not become the number of the next file
    const base::UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ::dup2(null.get(), STDERR_FILENO);
    error("so that no count of dropped lines is left for the next test");
    ::dup2(before_.get(), STDERR_FILENO);
    set_level(Level::info);
    ::unsetenv("JOURNAL_STREAM");
  }

  void connect_to_pipe() {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reader_.reset(ends[0]);
    const base::UniqueFd writer(ends[1]);
    ASSERT_EQ(::dup2(writer.get(), STDERR_FILENO), STDERR_FILENO);
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
  }

  std::string read_some() {
    std::string text(1 << 17, '\0');
    const ssize_t count = ::read(reader_.get(), text.data(), text.size());
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }

  base::UniqueFd reader_;

 private:
  base::UniqueFd before_;
};

TEST_F(Log, WritesLinesToStderr) {
  connect_to_pipe();
  notice("two services");
  event(Level::info, ready_event());
  EXPECT_EQ(read_some(), "reforkd: two services\nreforkd: web/0 worker 17 (pid 4711): ready after 12 ms\n");
}

TEST_F(Log, LeavesOutWhatIsLessImportantThanAskedFor) {
  connect_to_pipe();
  debug("hidden");
  info("shown");
  set_level(Level::error);
  warning("hidden");
  error("shown");
  EXPECT_EQ(read_some(), "reforkd: shown\nreforkd: shown\n");
}

TEST_F(Log, NeitherWaitsForAFullPipeNorForgetsHowMuchItDropped) {
  connect_to_pipe();
  const std::string text(4000, 'x');
  for (int i = 0; i < 64; ++i) info(text);  // a pipe has room for 16 of them
  std::string all = read_some();
  const auto kept = std::count(all.begin(), all.end(), '\n');
  ASSERT_LT(kept, 64);
  info("again");
  EXPECT_EQ(read_some(), "reforkd: " + std::to_string(64 - kept) +
                             " lines of this log were dropped: nobody was reading\nreforkd: again\n");
  info("and again");
  EXPECT_EQ(read_some(), "reforkd: and again\n");
}

TEST_F(Log, SurvivesAReaderThatIsGone) {
  const auto before = ::signal(SIGPIPE, SIG_DFL);  // would end this test
  connect_to_pipe();
  reader_.reset();
  error("to nobody");
  connect_to_pipe();
  info("to somebody");
  EXPECT_THAT(read_some(), HasSubstr("reforkd: to somebody\n"));
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ::dup2(ends[0], STDERR_FILENO);
  ::close(ends[0]);
  ::close(ends[1]);
  error("to nobody");
  sigset_t pending, blocked;
  ::sigpending(&pending);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0);
  EXPECT_EQ(::sigismember(&blocked, SIGPIPE), 0);
  ::signal(SIGPIPE, before);
}

TEST_F(Log, SurvivesAClosedStderr) {
  ::close(STDERR_FILENO);
  error("to nobody");
  SUCCEED();
}

TEST_F(Log, KeepsStderrIfTheJournalIsAnotherFile) {
  connect_to_pipe();
  ::setenv("JOURNAL_STREAM", "1:1", 1);
  info("here");
  EXPECT_EQ(read_some(), "reforkd: here\n");
}

}  // namespace
}  // namespace refork::log
