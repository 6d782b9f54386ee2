// The example servers over real sockets, without reforkd: what the adapters promise to a client, on both
// libraries.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "support/http.h"
#include "support/load.h"
#include "support/process.h"

namespace {

using namespace refork::test;
using std::chrono::milliseconds;

// A server on a free port of its own. An error is answered there and the server goes on.
struct Server {
  explicit Server(const std::string& program, std::vector<std::string> more = {})
      : process(options(program, std::move(more))) {
    const auto line = process.wait_for_line("listening on ");
    if (line) address = *Address::parse(line->substr(line->find("tcp://")));
  }
  static Process::Options options(const std::string& program, std::vector<std::string> more) {
    Process::Options options;
    options.argv = {built_program("examples/" + program), "--port", "0"};
    options.argv.insert(options.argv.end(), more.begin(), more.end());
    return options;
  }
  Process process;
  Address address;
};

// The same on a socket that was passed on, as by reforkd or systemd: an error drains. The test holds the
// socket too.
struct PassedServer {
  explicit PassedServer(const std::string& program, int listener) : process(options(program, listener)) {
    process.wait_for_line("listening on ");
  }
  static Process::Options options(const std::string& program, int listener) {
    Process::Options options;
    options.argv = {built_program("examples/" + program)};
    options.listeners = {listener};
    return options;
  }
  Process process;
};

LoadOptions busy_clients(const Address& address) {
  LoadOptions options;
  options.address = address;
  options.path = "/?delay=2";
  options.clients = 32;
  return options;
}

// The bystanders got what they asked for.
void expect_nothing_lost(const LoadResult& result) {
  EXPECT_EQ(result.bystanders.lost, 0U) << result.summary();
  EXPECT_EQ(result.bystanders.hung, 0U) << result.summary();
  EXPECT_EQ(result.bystanders.not_ok(), 0U) << result.summary();
  EXPECT_GT(result.bystanders.ok(), 0U);
}

class Adapter : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Examples, Adapter,
                         testing::Values("http_asio", "http_libevent", "http_uv", "http_threads"),
                         [](const auto& tested) { return tested.param; });

TEST_P(Adapter, AnswersRequestsOnOneConnectionOneAfterTheOther) {
  Server server(GetParam());
  HttpConnection client(server.address);
  EXPECT_EQ(client.get("/").body, "ok");
  EXPECT_EQ(client.get("/pid").body, std::to_string(server.process.pid()));
  EXPECT_EQ(client.get("/?delay=5").body, "ok");
  EXPECT_EQ(client.get("/nowhere").status, 404);
  const Answer last = client.get("/");
  EXPECT_EQ(last.status, 200);
  EXPECT_FALSE(last.close);
}

TEST_P(Adapter, AnswersPipelinedRequestsInOrder) {
  Server server(GetParam());
  HttpConnection client(server.address);
  ASSERT_TRUE(client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\nGET /pid HTTP/1.1\r\nHost: t\r\n\r\n"));
  EXPECT_EQ(client.read_answer().body, "ok");
  EXPECT_EQ(client.read_answer().body, std::to_string(server.process.pid()));
}

TEST_P(Adapter, HonoursConnectionCloseOfTheClient) {
  Server server(GetParam());
  HttpConnection client(server.address);
  ASSERT_TRUE(client.send_get("/", "Connection: close\r\n"));
  EXPECT_TRUE(client.read_answer().close);
  EXPECT_TRUE(client.wait_closed());
}

TEST_P(Adapter, AnswersAnErrorWith500AndClosesThatConnectionOnly) {
  Server server(GetParam());
  for (const char* path : {"/error", "/error-code"}) {
    HttpConnection bystander(server.address);
    ASSERT_EQ(bystander.get("/").status, 200);
    HttpConnection culprit(server.address);
    const Answer answer = culprit.get(path);
    EXPECT_EQ(answer.status, 500) << path << " " << answer.error;
    EXPECT_TRUE(answer.close) << path;
    EXPECT_NE(answer.body, "");
    EXPECT_TRUE(culprit.wait_closed());
    EXPECT_EQ(bystander.get("/").status, 200);
  }
  EXPECT_TRUE(server.process.running());
}

TEST_P(Adapter, LabelsTheFailedRequestWithoutItsQueryUnlessAskedTo) {
  Server discreet(GetParam());
  http_get(discreet.address, "/error?page=1");
  const auto short_label = discreet.process.wait_for_error_line("GET /error");
  ASSERT_TRUE(short_label);
  EXPECT_EQ(short_label->find("page"), std::string::npos) << *short_label;

  Server open(GetParam(), {"--show-query"});
  http_get(open.address, "/error?page=1");
  EXPECT_TRUE(open.process.wait_for_error_line("GET /error?page=1"));
}

TEST_P(Adapter, DropsTheConnectionOfAnErrorAfterTheAnswerHasBegun) {
  Server server(GetParam());
  HttpConnection culprit(server.address);
  const Answer answer = culprit.get("/error-late");
  EXPECT_EQ(answer.status, 0);
  EXPECT_TRUE(answer.error == "closed" || answer.error == "reset") << answer.error;
  EXPECT_TRUE(server.process.wait_for_error_line("GET /error-late"));
  EXPECT_EQ(http_get(server.address, "/").status, 200);
}

TEST_P(Adapter, DropsTheConnectionWhereTheErrorHandlerFailsAndRecordsBothErrors) {
  Server server(GetParam());
  EXPECT_EQ(http_get(server.address, "/error-handler").status, 0);
  const auto record = server.process.wait_for_error_line("\"handler\"");
  ASSERT_TRUE(record);
  EXPECT_NE(record->find("this request was asked to fail"), std::string::npos) << *record;
  EXPECT_NE(record->find("the error handler was asked to fail"), std::string::npos) << *record;
  EXPECT_EQ(http_get(server.address, "/").status, 200);
}

TEST_P(Adapter, LosesNobodyWhenStoppedUnderLoad) {
  Server server(GetParam());
  LoadOptions options = busy_clients(server.address);
  options.reconnect =
      false;  // nobody else holds the socket: who comes while it is closed is refused or reset
  Load load(options);
  ASSERT_TRUE(wait_until([&] { return load.ok() > 200; }));
  server.process.signal(SIGTERM);
  const auto ended = server.process.wait();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 0);
  expect_nothing_lost(load.stop());
}

TEST_P(Adapter, LosesNoClientThatPausesForLessThanTheLameDuck) {
  auto [listener, port] = listen_tcp();
  PassedServer first(GetParam(), listener.get());
  LoadOptions options = busy_clients(Address::tcp(port));
  options.pause = milliseconds(10);
  Load load(options);
  ASSERT_TRUE(wait_until([&] { return load.ok() > 200; }));
  PassedServer second(GetParam(), listener.get());
  first.process.signal(SIGTERM);
  ASSERT_TRUE(first.process.wait());
  const std::uint64_t before = load.ok();
  ASSERT_TRUE(wait_until([&] { return load.ok() > before + 200; }));
  const LoadResult result = load.stop();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
}

TEST_P(Adapter, LosesNobodyWithANewConnectionForEachRequest) {
  auto [listener, port] = listen_tcp();
  PassedServer first(GetParam(), listener.get());
  LoadOptions options = busy_clients(Address::tcp(port));
  options.keep_alive = false;
  Load load(options);
  ASSERT_TRUE(wait_until([&] { return load.ok() > 200; }));
  PassedServer second(GetParam(), listener.get());
  first.process.signal(SIGTERM);
  ASSERT_TRUE(first.process.wait());
  const std::uint64_t before = load.ok();
  ASSERT_TRUE(wait_until([&] { return load.ok() > before + 200; }));
  const LoadResult result = load.stop();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
}

TEST_P(Adapter, ServesARequestThatComesOnAnIdleConnectionDuringTheDrain) {
  Server server(GetParam());
  HttpConnection used(server.address);
  ASSERT_EQ(used.get("/").status, 200);
  HttpConnection fresh(server.address);
  HttpConnection busy(server.address);
  ASSERT_TRUE(busy.send_get("/?delay=100"));
  server.process.signal(SIGTERM);
  const Answer slow = busy.read_answer();  // carries the news that the drain has begun
  EXPECT_EQ(slow.status, 200);
  EXPECT_TRUE(slow.close);
  for (HttpConnection* idle : {&used, &fresh}) {
    const Answer answer = idle->get("/");
    EXPECT_EQ(answer.status, 200) << answer.error;
    EXPECT_TRUE(answer.close);
  }
  const auto ended = server.process.wait();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 0);
}

TEST_P(Adapter, FinishesARequestOfWhichOnlyAPartHadComeBeforeTheDrain) {
  Server server(GetParam());
  HttpConnection client(server.address);
  ASSERT_EQ(client.get("/").status, 200);
  HttpConnection busy(server.address);
  ASSERT_TRUE(busy.send_get("/?delay=100"));
  ASSERT_TRUE(client.send("GET / HTTP/1.1\r\nHo"));
  server.process.signal(SIGTERM);
  EXPECT_TRUE(busy.read_answer().close);
  ASSERT_TRUE(client.send("st: test\r\n\r\n"));
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 200) << answer.error;
  EXPECT_TRUE(answer.close);
  EXPECT_EQ(server.process.wait()->code, 0);
}

TEST_P(Adapter, ClosesIdleConnectionsAfterTheLameDuckAndEnds) {
  Server server(GetParam());
  std::vector<HttpConnection> idle;
  for (int i = 0; i < 8; ++i) idle.emplace_back(server.address);
  for (HttpConnection& client : idle) ASSERT_EQ(client.get("/").status, 200);
  HttpConnection fresh(server.address);
  server.process.signal(SIGTERM);
  for (HttpConnection& client : idle) EXPECT_TRUE(client.wait_closed());
  EXPECT_TRUE(fresh.wait_closed());
  const auto ended = server.process.wait();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 0);
}

TEST_P(Adapter, AnErrorDrainsWhereTheSocketWasPassedOnAndLosesNobody) {
  auto [listener, port] = listen_tcp();
  PassedServer first(GetParam(), listener.get());
  Load load(busy_clients(Address::tcp(port)));
  ASSERT_TRUE(wait_until([&] { return load.ok() > 200; }));
  PassedServer second(GetParam(), listener.get());
  const pid_t pids[] = {first.process.pid(), second.process.pid()};
  HttpConnection culprit(Address::tcp(port));
  const Answer answer = culprit.get("/error");
  EXPECT_EQ(answer.status, 500) << answer.error;
  EXPECT_TRUE(answer.close);
  ASSERT_TRUE(wait_until([&] { return !first.process.running() || !second.process.running(); }));
  Process& drained = first.process.running() ? second.process : first.process;
  EXPECT_EQ(drained.wait()->code, 1) << pids[0] << " " << pids[1];
  const std::uint64_t before = load.ok();
  ASSERT_TRUE(wait_until([&] { return load.ok() > before + 200; }));
  const LoadResult result = load.stop();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
}

TEST_P(Adapter, LeavesTheSharedListenerUsableForOthers) {
  auto [listener, port] = listen_tcp();
  {
    PassedServer first(GetParam(), listener.get());
    ASSERT_EQ(http_get(Address::tcp(port), "/").status, 200);
    first.process.signal(SIGTERM);
    ASSERT_TRUE(first.process.wait());
  }
  HttpConnection queued(Address::tcp(port));
  ASSERT_TRUE(queued.connected());
  ASSERT_TRUE(queued.send_get("/"));
  PassedServer second(GetParam(), listener.get());
  EXPECT_EQ(queued.read_answer().status, 200);
}

TEST_P(Adapter, CrashAbortAndHangEndAsTheirNamesSay) {
  const std::vector<std::pair<std::string, int>> ends = {{"/crash", SIGSEGV}, {"/abort", SIGABRT}};
  for (const auto& [path, signal] : ends) {
    Server server(GetParam());
    EXPECT_EQ(http_get(server.address, path).status, 0);
    const auto ended = server.process.wait();
    ASSERT_TRUE(ended);
    EXPECT_TRUE(ended->signal == signal || ended->code > 0)
        << path;  // a sanitizer turns the signal into a code
  }
  Server server(GetParam());
  HttpConnection client(server.address, milliseconds(100));
  EXPECT_EQ(client.get("/hang").error, "timeout");
  EXPECT_TRUE(server.process.running());
}

// One culprit among bystanders who share its process and even its thread pool.
TEST(AdapterThreads, ServesManyMoreKeepAliveConnectionsThanThreads) {
  Server server("http_threads", {"--threads", "4"});
  LoadOptions options = busy_clients(server.address);
  options.duration = milliseconds(500);
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.connections, 32U);
}

}  // namespace
