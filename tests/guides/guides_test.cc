// The servers of the guides under a real reforkd: each does what its guide says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;

enum class Protocol {
  http,
  lines
};

struct Guide {
  const char* program;
  Protocol protocol;
  const char* type;  // of the failure
  const char* message;
};
void PrintTo(const Guide& guide, std::ostream* out) { *out << guide.program; }

// What all of them can be asked, in either protocol.
struct Question {
  const char* target;
  const char* line;
  const char* answer;
  int status = 200;
};
constexpr Question kPlain{"/", "hello", nullptr};
constexpr Question kUser{"/user/7", "user 7", "user 7\n"};
constexpr Question kReport{"/report", "report", "report\n"};  // takes its time
constexpr Question kCulprit{"/user/x", "user x", "sorry\n", 500};

// A client that keeps its connection.
class Client {
 public:
  Client(const Daemon& daemon, Protocol protocol) : protocol_(protocol), connection_(daemon.address()) {}

  void send(const Question& question) {
    if (protocol_ == Protocol::http)
      EXPECT_TRUE(connection_.send_get(question.target));
    else
      EXPECT_TRUE(connection_.send(std::string(question.line) + '\n'));
  }
  std::string read() {
    if (protocol_ == Protocol::lines) return read_line();
    const Answer answer = connection_.read_answer();
    return std::to_string(answer.status) + ' ' + answer.body + answer.error;
  }
  std::string expected(const Question& question) const {
    if (protocol_ == Protocol::lines) return question.answer ? question.answer : "hello\n";
    return std::to_string(question.status) + ' ' + (question.answer ? question.answer : "ok\n");
  }
  void expect_answer(const Question& question) { EXPECT_EQ(read(), expected(question)); }
  void ask(const Question& question) {
    send(question);
    expect_answer(question);
  }
  bool wait_closed() { return connection_.wait_closed(); }

 private:
  std::string read_line() const {
    std::string line;
    char byte = 0;
    pollfd item{connection_.fd(), POLLIN, 0};
    while (byte != '\n' && ::poll(&item, 1, static_cast<int>(kProcessPatience.count() * 1000)) == 1 &&
           ::recv(item.fd, &byte, 1, 0) == 1)
      line += byte;
    return line;
  }

  Protocol protocol_;
  HttpConnection connection_;
};

class Guides : public testing::TestWithParam<Guide> {
 protected:
  static Daemon start(const char* workers = "1") {
    return web_of(built_program(std::string("tests/guides/") + GetParam().program), {"--workers", workers});
  }
  static Client client(const Daemon& daemon) { return {daemon, GetParam().protocol}; }
};
INSTANTIATE_TEST_SUITE_P(
    Each, Guides,
    testing::Values(Guide{"httplib_server", Protocol::http, "std::invalid_argument", "stoi"},
                    Guide{"asio_server", Protocol::http, "std::invalid_argument", "stoi"},
                    Guide{"libevent_server", Protocol::http, "bad user", "the user's id is no number"},
                    Guide{"uv_server", Protocol::lines, "std::invalid_argument", "stoi"},
                    Guide{"threads_server", Protocol::lines, "std::invalid_argument", "stoi"},
                    Guide{"c_server", Protocol::lines, "bad user", "the user's id is no number"}),
    [](const auto& tested) { return std::string(tested.param.program); });

TEST_P(Guides, ARequestThatFailsIsAnsweredAndRecordedAndDisturbsNobody) {
  const Daemon daemon = start();
  const auto before = daemon.pids();
  Client bystander = client(daemon);
  bystander.ask(kPlain);
  bystander.ask(kUser);
  bystander.send(kReport);
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));

  Client culprit = client(daemon);
  culprit.ask(kCulprit);
  EXPECT_TRUE(culprit.wait_closed());
  bystander.expect_answer(kReport);

  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U);
  const json& failure = failures[0];
  EXPECT_EQ(failure["type"], GetParam().type);
  EXPECT_EQ(failure["message"], GetParam().message);
  EXPECT_EQ(failure["request"]["label"],
            GetParam().protocol == Protocol::http ? "GET /user/x" : kCulprit.line);
  EXPECT_EQ(failure["pid"], before.at(0));
  EXPECT_EQ(failure["drain"]["outcome"], "clean") << failure;
  EXPECT_THAT(cut_by(failure), testing::IsEmpty());

  ASSERT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.pids().size(), 1U);
  EXPECT_NE(daemon.pids(), before) << "the worker was not replaced";
  client(daemon).ask(kUser);
}

TEST_P(Guides, AStopWaitsForTheRequestUnderWay) {
  Daemon daemon = start();
  Client under_way = client(daemon);
  under_way.send(kReport);
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  daemon.process().signal(SIGTERM);
  under_way.expect_answer(kReport);
  EXPECT_TRUE(daemon.process().wait());
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].outcome, "clean");
  EXPECT_EQ(ends[0].cut, 0U);
}

TEST_P(Guides, ADrainClosesAnIdleConnectionAndEndsCleanly) {
  Daemon daemon = start("2");
  std::vector<Client> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(client(daemon));
    idle.back().ask(kPlain);
  }
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_EQ(daemon.ctl({"drain", "web/1"}).code, 0);
  for (Client& one : idle) EXPECT_TRUE(one.wait_closed());
  ASSERT_TRUE(wait_until_settled(daemon));
  client(daemon).ask(kUser);
  EXPECT_THAT(daemon.failures(), testing::IsEmpty());
  const auto ends = ends_after_stop(daemon);
  EXPECT_EQ(ends.size(), 4U);
  for (const End& end : ends) EXPECT_EQ(end.outcome, "clean") << end.cause;
}

TEST(ThreadsGuide, AnErrorThatIsOnlyReportedIsAnsweredAsOne) {
  const Daemon daemon = web_of(built_program("tests/guides/threads_server"), {"--workers", "1"});
  Client client(daemon, Protocol::lines);
  client.ask({nullptr, "remove 7", "removed\n"});
  client.ask({nullptr, "remove x", "sorry\n"});
  EXPECT_TRUE(client.wait_closed());
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0]["kind"], "error");
  EXPECT_EQ(failures[0]["thrown"], false);
}

TEST(RecordsGuide, WhatDoesNotFailIsAnswered) {
  Daemon daemon = web_of(built_program("tests/guides/records_server"), {"--workers", "1"});
  Client(daemon, Protocol::lines).ask(kPlain);
  Client(daemon, Protocol::lines).ask({nullptr, "price 7", "price 5\n"});
  Client(daemon, Protocol::lines).ask({nullptr, "price 7?currency=euro", "price 5\n"});
  Client(daemon, Protocol::lines).ask({nullptr, "else", "what?\n"});
  EXPECT_THAT(daemon.failures(), testing::IsEmpty());
  for (const End& end : ends_after_stop(daemon)) EXPECT_EQ(end.outcome, "clean") << end.cause;
}

TEST(MembersOfGuides, AnErrorOfWhatARequestStartedGoesToTheDomainItIsAMemberOf) {
  for (const char* program : {"asio_members", "uv_members", "libevent_members"}) {
    Process process({{built_program(std::string("tests/guides/") + program)}, {}, {}, {}, {}, {}});
    const auto exit = process.wait();
    ASSERT_TRUE(exit) << program;
    EXPECT_EQ(exit->code, 0) << program << ": " << process.errors();
    EXPECT_EQ(process.output(), "cache: out of date\n") << program;
  }
}

TEST(UnlinkedGuide, ItsServerServesAndEndsCleanly) {
  if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "needs python3";
  Daemon daemon = web({"--workers", "2", "--ready", "exec"}, {"python3", UNLINKED_SERVER});
  ASSERT_TRUE(daemon.wait_for_state("running"));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_THAT(daemon.failures(), testing::IsEmpty());
  const auto ends = ends_after_stop(daemon);
  EXPECT_EQ(ends.size(), 2U);
  for (const End& end : ends) EXPECT_EQ(end.outcome, "clean") << end.cause;
}

TEST(Readme, ItsServerAloneSaysThatItHasNothingToListenOn) {
  Process alone({{built_program("tests/guides/readme_server")}, {}, {}, {}, {}, {}});
  EXPECT_TRUE(alone.wait_for_error_line("not under reforkd, and no listening sockets were passed on"));
  const auto [fd, port] = listen_tcp();
  Process given({{built_program("tests/guides/readme_server")}, {}, {fd.get()}, {}, {}, {}});
  const Address address = Address::tcp(port);
  EXPECT_EQ(http_get(address, "/").body, "ok");
  EXPECT_EQ(given.errors(), "");
}

TEST(Readme, ItsServerServesAndStops) {
  Daemon daemon = web_of(built_program("tests/guides/readme_server"));
  const Answer answer = http_get(daemon.address(), "/");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "ok");
  for (const End& end : ends_after_stop(daemon)) EXPECT_EQ(end.outcome, "clean") << end.cause;
}

}  // namespace
}  // namespace refork::test
