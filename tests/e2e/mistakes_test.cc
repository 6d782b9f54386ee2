// A user's mistakes: reforkd ends at once, and a sentence says where the mistake is and what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Mistake : public testing::Test {
 protected:
  Mistake() { ::chmod(dir_.path().c_str(), 0755); }

  Daemon::Ran config(const std::string& text) {
    std::ofstream(dir_.file("refork.json")) << text;
    return reforkd({"--config", dir_.file("refork.json"), "--control", control(), "--state-dir", state()});
  }
  Daemon::Ran run(std::vector<std::string> options, bool as_nobody = false) {
    options.insert(options.begin(), "run");
    return reforkd(std::move(options), as_nobody);
  }
  // With the usual places and an example server.
  Daemon::Ran run_web(std::vector<std::string> options) {
    options.insert(options.begin(), {"--control", control(), "--state-dir", state()});
    options.insert(options.end(), {"--", built_program("examples/http_asio")});
    return run(std::move(options));
  }
  std::string control() const { return dir_.file("control"); }
  std::string state() const { return dir_.file("state"); }

  TempDir dir_;
};

TEST_F(Mistake, BadJsonIsShownWithItsLineAndColumn) {
  const auto ran = config("{ \"services\": {\n  \"web\": { \"command\": [\"x\" }\n} }");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("refork.json:2:"));
}

TEST_F(Mistake, AWrongTypeIsShownWithItsPlaceAndWhatWasExpected) {
  const auto ran =
      config("{ \"services\": { \"web\": {\n \"command\": [\"x\"],\n \"workers\": \"four\" } } }");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err,
              AllOf(HasSubstr("refork.json:3:"), HasSubstr("services.web.workers"), HasSubstr("expected")));
}

TEST_F(Mistake, AnUnknownKeyIsShownWithTheNearestKnownOne) {
  const auto ran = config("{ \"services\": { \"web\": {\n \"command\": [\"x\"],\n \"wrokers\": 4 } } }");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("refork.json:3:"), HasSubstr("wrokers"), HasSubstr("workers")));
}

TEST_F(Mistake, AMissingFileIsNamed) {
  const auto ran = reforkd({"--config", dir_.file("nothing.json")});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("nothing.json"), HasSubstr("no such file")));
}

TEST_F(Mistake, ACommandThatIsNotFoundIsNamed) {
  for (const std::string command : {"no-such-program-anywhere", "/no/such/program"}) {
    const auto ran = run({"--control", control(), "--state-dir", state(), "--", command});
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, AllOf(HasSubstr("service web"), HasSubstr(command)));
  }
}

TEST_F(Mistake, ATakenPortIsNamed) {
  const auto [fd, port] = listen_tcp();
  const auto ran = run_web({"--listen", Address::tcp(port).text()});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("service web"), HasSubstr(std::to_string(port)),
                             HasSubstr("the port is taken")));
}

TEST_F(Mistake, AnAddressThatIsFreeAgainCanBeTaken) {
  std::string address;
  {
    const auto [fd, port] = listen_tcp();
    address = Address::tcp(port).text();
    EXPECT_EQ(run_web({"--listen", address}).code, 1);
  }
  const Daemon daemon = web_of("http_asio", {"--listen", address});
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
}

TEST_F(Mistake, ASocketPathThatIsTooLongIsShownWithTheLimit) {
  const std::string path = "/tmp/" + std::string(120, 'x');
  const auto listens = run_web({"--listen", "unix:" + path});
  EXPECT_NE(listens.code, 0);
  EXPECT_THAT(listens.err, AllOf(HasSubstr("xxxx"), HasSubstr("107")));
  const auto controls =
      run({"--control", path, "--state-dir", state(), "--", built_program("examples/http_asio")});
  EXPECT_EQ(controls.code, 1);
  EXPECT_THAT(controls.err, AllOf(HasSubstr("xxxx"), HasSubstr("107")));
}

TEST_F(Mistake, NoPermissionForTheControlSocketIsSaid) {
  const std::string place = dir_.file("private");
  ::mkdir(place.c_str(), 0700);
  if (::geteuid() != 0) ::chmod(place.c_str(), 0500);
  const auto ran = run({"--control", place + "/control", "--state-dir", "/tmp", "--", "/bin/true"}, true);
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr(place));
}

TEST_F(Mistake, AStateDirectoryThatCannotBeUsedIsNamed) {
  const std::string place = dir_.file("private-state");
  ::mkdir(place.c_str(), 0700);
  if (::geteuid() != 0) ::chmod(place.c_str(), 0000);
  const std::string open = dir_.file("open");
  ::mkdir(open.c_str(), 0777);
  ::chmod(open.c_str(), 01777);
  const auto ran = run({"--control", open + "/control", "--state-dir", place, "--", "/bin/true"}, true);
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr(place), HasSubstr("readable and writable")));
}

TEST_F(Mistake, AFileInPlaceOfTheStateDirectoryIsSaid) {
  std::ofstream(dir_.file("file")) << "here";
  const auto ran = run({"--control", control(), "--state-dir", dir_.file("file"), "--", "/bin/true"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr(dir_.file("file")), HasSubstr("expected a directory")));
}

TEST_F(Mistake, AUserThatDoesNotExistIsNamed) {
  const auto ran = run_web({"--user", "no-such-user"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("no-such-user"));
}

TEST_F(Mistake, AUserWithoutRootIsRefusedBeforeAnythingStarts) {
  const std::string open = dir_.file("open");
  ::mkdir(open.c_str(), 0777);
  ::chmod(open.c_str(), 01777);
  const auto ran = run(
      {"--control", open + "/control", "--state-dir", open + "/state", "--user", "root", "--", "/bin/true"},
      true);
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("user"), HasSubstr("root")));
}

TEST_F(Mistake, ASecondInstanceIsToldOfTheFirst) {
  const Daemon first = web_of("http_asio", {"--workers", "1"});
  const std::string pid = std::to_string(first.pid());
  const auto same_socket =
      run({"--control", first.control(), "--state-dir", state(), "--", built_program("examples/http_asio")});
  EXPECT_EQ(same_socket.code, 1);
  EXPECT_THAT(same_socket.err,
              AllOf(HasSubstr("another reforkd"), HasSubstr(pid), HasSubstr(first.control())));
  const auto same_state = run({"--control", control(), "--state-dir", first.state_directory(), "--",
                               built_program("examples/http_asio")});
  EXPECT_EQ(same_state.code, 1);
  EXPECT_THAT(same_state.err, AllOf(HasSubstr("another reforkd"), HasSubstr(first.state_directory())));
  EXPECT_EQ(http_get(first.address(), "/").status, 200);
  EXPECT_EQ(first.ctl({"status"}).code, 0);
}

TEST_F(Mistake, ReforkctlWithoutADaemonSaysSo) {
  Process::Options options;
  options.argv = {built_program("reforkctl"), "--control", control(), "status"};
  Process process(std::move(options));
  const auto exit = process.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 5);
  EXPECT_THAT(process.errors(), AllOf(HasSubstr("no reforkd at"), HasSubstr(control())));
}

}  // namespace
}  // namespace refork::test
