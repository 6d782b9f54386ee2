// What reforkd tells of a service and gives to it: how a drain went, where its workers write, and when it is
// up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "e2e/scene.h"
#include "os/notify.h"

namespace refork::test {
namespace {

using testing::HasSubstr;

TEST(Service, TheRecordCountsTheRequestsThatItsDrainCompleted) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  EXPECT_EQ(busy.read_answer().status, 200);
  const auto failures = complete_failures(daemon, 1);
  EXPECT_GE(failures[0]["drain"]["completed"].get<int>(), 1) << failures[0];
}

TEST(Service, ItsWorkersWriteWhereItsLogSays) {
  const TempDir directory;
  const std::string file = directory.file("web.log");
  Daemon daemon = web_of("http_asio", {"--workers", "1", "--log", "file:" + file});
  std::ifstream log(file);
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(log), {}), HasSubstr("listening on"));
  EXPECT_THAT(daemon.process().output(), testing::Not(HasSubstr("listening on")));
}

TEST(Service, ALogThatIsAPipeWithoutAReaderHoldsUpNobody) {
  const TempDir directory;
  const std::string pipe = directory.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  Daemon daemon = Daemon::run({"--log", "file:" + pipe, "--", built_program("examples/http_asio")});
  EXPECT_TRUE(daemon.wait_for_failures(1));
  EXPECT_THAT(daemon.failures()[0]["message"].get<std::string>(), HasSubstr("the log: open " + pipe));
}

TEST(Service, TheManagerIsToldWhenItIsUpAndWhenItStops) {
  auto manager = os::NotifySocket::open_abstract();
  ASSERT_TRUE(manager);
  ::setenv("NOTIFY_SOCKET", manager->name().c_str(), 1);
  Daemon daemon = Daemon::run(
      {"--workers", "2", "--listen", "tcp://127.0.0.1:0", "--", built_program("examples/http_asio")});
  ::unsetenv("NOTIFY_SOCKET");
  const auto hears = [&manager](const std::string& field) {
    return wait_until([&] {
      const auto told = manager->receive();
      return told && told->fields.contains(field);
    });
  };
  EXPECT_TRUE(hears("READY"));
  EXPECT_EQ(daemon.service()["state"], "running") << "ready means that every worker serves";
  ASSERT_TRUE(daemon.stop());
  EXPECT_TRUE(hears("STOPPING"));
}

}  // namespace
}  // namespace refork::test
