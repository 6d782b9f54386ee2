// A real worker killed in the middle of its requests: what its recorder still tells.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "unit/recorder_support.h"

namespace refork::recorder {
namespace {

// The child attaches, does `work`, says so on a pipe and then waits for its death.
template <class F>
pid_t worker_that(const Reader& reader, F work) {
  int ready[2];
  EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = Writer::attach(base::UniqueFd(::fcntl(reader.fd(), F_DUPFD_CLOEXEC, 0)));
    if (!writer) ::_exit(1);
    work(**writer);
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  ::close(ready[1]);
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the worker died before it was told to";
  ::close(ready[0]);
  return child;
}

void kill_and_wait(pid_t child) {
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(KilledWorker, NamesTheRequestsThatDiedWithItAndKeepsItsRecords) {
  const auto reader = Reader::create(web_worker());
  ASSERT_TRUE(reader);
  const pid_t child = worker_that(*reader, [](Writer& writer) {
    writer.end(writer.begin("GET /done", 1));
    writer.begin("GET /hang", 2);
    writer.begin("POST /upload", 3);
    writer.record("{\"id\":\"17-1\"}", 1);
    writer.set_draining();
  });
  kill_and_wait(child);

  std::vector<std::string> cut;
  for (const auto& request : *reader->in_flight()) {
    cut.push_back(request.label);
    EXPECT_EQ(request.thread, static_cast<std::uint32_t>(child));
  }
  std::sort(cut.begin(), cut.end());
  EXPECT_EQ(cut, (std::vector<std::string>{"GET /hang", "POST /upload"}));
  ASSERT_EQ(reader->records()->size(), 1u);
  EXPECT_EQ(reader->records()->at(0).json, "{\"id\":\"17-1\"}");
  const auto counters = reader->counters();
  EXPECT_EQ(counters->served, 1u);
  EXPECT_EQ(counters->in_flight, 2u);
  EXPECT_EQ(counters->pid, child);
  EXPECT_TRUE(counters->draining);
  EXPECT_EQ(reader->torn(), 0u);
}

TEST(KilledWorkers, LeaveARecorderThatCanBeReadWhereverTheyDied) {
  for (int i = 0; i < 20; ++i) {
    const auto reader = Reader::create(web_worker());
    ASSERT_TRUE(reader);
    const pid_t child = ::fork();
    if (child == 0) {
      auto writer = Writer::attach(base::UniqueFd(::fcntl(reader->fd(), F_DUPFD_CLOEXEC, 0)));
      while (true) {
        const auto token = (*writer)->begin("GET /", 0);
        (*writer)->record("{\"id\":\"17-1\"}", 1);
        (*writer)->end(token);
      }
    }
    while (reader->counters()->dropped < 1000) {  // it is at work
    }
    kill_and_wait(child);
    for (const auto& request : *reader->in_flight())
      EXPECT_TRUE(request.label == "GET /" || request.label.empty());
    for (const auto& record : *reader->records()) EXPECT_EQ(record.json, "{\"id\":\"17-1\"}");
    EXPECT_LE(reader->torn(), 1u);
  }
}

}  // namespace
}  // namespace refork::recorder
