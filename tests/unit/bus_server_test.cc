// The Bus with the operator's client, over the real socket.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "bus/socket.h"
#include "bus_fixture.h"

namespace refork::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(BusTest, TheStatusArrivesWhole) {
  const auto status = ask([](ctl::Client& client) { return client.status(); });
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ(status->daemon.version, "0.1.0");
  EXPECT_EQ(status->daemon.pid, 4711);
  EXPECT_EQ(status->daemon.store.path, "/var/lib/refork/refork.db");
  ASSERT_EQ(status->services.size(), 2u);
  EXPECT_EQ(status->services[0].name, "api");
  const auto& web = status->services[1];
  EXPECT_EQ(web.name, "web-front.1");
  EXPECT_EQ(web.state, "running");
  EXPECT_EQ(web.generation, 3u);
  EXPECT_THAT(web.listen, ElementsAre("tcp://0.0.0.0:8080", "unix:/run/web.sock"));
  ASSERT_EQ(web.workers.size(), 3u);
  EXPECT_EQ(web.workers[0].id, 12u);
  EXPECT_TRUE(web.workers[0].tainted);
  EXPECT_EQ(web.workers[0].deadline_ms, 1'027'000u);
  EXPECT_EQ(web.workers[1].id, 17u);
  EXPECT_EQ(web.workers[1].served, 1200u);
  EXPECT_EQ(web.workers[2].state, "backoff");
  EXPECT_EQ(web.workers[2].next_start_ms, 1'004'000u);
  EXPECT_EQ(web.workers[2].why, "exited with 1 before it was ready");
}

TEST_F(BusTest, OneQuestionReadsTheStatusOnce) {
  ASSERT_TRUE(ask([&](ctl::Client& client) {
    auto first = client.status();
    const int before = operations_.status_reads;
    auto second = client.status();  // two questions: GetAll and GetManagedObjects
    EXPECT_EQ(operations_.status_reads - before, 2);
    return second;
  }));
}

TEST_F(BusTest, EveryOperationReachesTheSupervisor) {
  for (const char* verb : {"Start", "Stop", "Restart", "Reload", "Drain", "Kill"})
    EXPECT_TRUE(operate({verb, "web/0", 0, "", true})) << verb;
  EXPECT_TRUE(operate({"Scale", "web", 7, "", true}));
  EXPECT_TRUE(operate({"Send", "web", 0, "{\"a\":1}", true}));
  EXPECT_THAT(operations_.calls,
              ElementsAre("start web/0", "stop web/0", "restart web/0", "reload web/0", "drain web/0",
                          "kill web/0", "scale 7 web", "send {\"a\":1} web"));
}

TEST_F(BusTest, WhoOrdersIsToldBeforeTheOrder) {
  const std::string me = ::geteuid() == 0 ? "root" : "uid " + std::to_string(::geteuid());
  EXPECT_TRUE(operate({"Drain", "web/0", 0, "", true}));
  EXPECT_TRUE(operate({"Scale", "web", 7, "", true}));
  EXPECT_THAT(operations_.orders, ElementsAre("drain " + me, "scale 7 " + me));
}

TEST_F(BusTest, TheReasonsArriveWhole) {
  core::Why reasons;
  reasons.service = "web-front.1";
  reasons.conditions = {{{}, 0, "storm", "no token", 1'000'500}, {1, 17, "waiting", "the floor", 0}};
  core::HistoryEntry entry;
  entry.time_ms = 1'000'000;
  entry.slot = 1;
  entry.worker = 17;
  entry.pid = 4720;
  entry.what = "worker-started";
  entry.text = "started";
  entry.detail = "for those who may";
  entry.failure = "01f3";
  entry.instead_of = 12;
  entry.by = "root";
  entry.waited_ms = 7;
  entry.waited_for = "its backoff";
  entry.duration_ms = 31;
  entry.completed = 3;
  entry.cut = 0;
  entry.count = 2;
  core::HistoryEntry least;
  least.what = "operator";
  reasons.history = {entry, least};
  operations_.reasons = reasons;
  const auto why = ask([](ctl::Client& client) { return client.why("web-front.1/1"); });
  ASSERT_TRUE(why) << why.error().what;
  EXPECT_EQ(why->service.state, "running");
  EXPECT_EQ(why->slot, 1);
  ASSERT_EQ(why->conditions.size(), 2u);
  EXPECT_EQ(why->conditions[0].slot, -1);
  EXPECT_EQ(why->conditions[0].until_ms, 1'000'500u);
  EXPECT_EQ(why->conditions[1].worker, 17u);
  ASSERT_EQ(why->history.size(), 2u);
  const auto& first = why->history[0];
  EXPECT_EQ(first.detail, "for those who may");
  EXPECT_EQ(first.instead_of, 12u);
  EXPECT_EQ(first.waited_for, "its backoff");
  EXPECT_EQ(first.duration_ms, 31);
  EXPECT_EQ(first.completed, 3);
  EXPECT_EQ(first.cut, 0);
  EXPECT_EQ(first.count, 2u);
  EXPECT_EQ(why->history[1].slot, -1);
  EXPECT_EQ(why->history[1].duration_ms, -1);
  operations_.reasons.reset();
  EXPECT_EQ(ask([](ctl::Client& client) { return client.why("nosuch"); }).error().code, ENOENT);
}

TEST_F(BusTest, AnErrorArrivesWithItsCodeAndItsSentence) {
  for (const int code : {ENOENT, EINVAL, EBUSY, ECANCELED, ETIMEDOUT, EIO}) {
    operations_.outcome = base::Error{code, "a sentence for the operator"};
    for (const bool wait : {true, false}) {
      const auto result = operate({"Stop", "web", 0, "", wait});
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, code);
      EXPECT_EQ(result.error().what, "a sentence for the operator");
    }
  }
}

TEST_F(BusTest, AnExceptionIsAnsweredWhateverItsWords) {
  operations_.thrown = "no \xff\xfe text";
  const auto answer = ask([](ctl::Client& client) { return client.why("web"); });
  ASSERT_FALSE(answer.ok());
  EXPECT_THAT(answer.error().what, testing::HasSubstr("text"));
}

TEST_F(BusTest, AWaitingRequestIsAnsweredWhenItIsDone) {
  operations_.at_once = false;
  auto result = std::async(std::launch::async, [&] {
    return ctl::Client::connect(path_)->operate({"Reload", "web", 0, "", true});
  });
  ASSERT_TRUE(turn_until([&] { return operations_.pending.size() == 1; }));
  EXPECT_EQ(result.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  operations_.pending[0](base::Error{ECANCELED, "overtaken by stop"});
  ASSERT_TRUE(
      turn_until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  const auto outcome = result.get();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ECANCELED);
}

TEST_F(BusTest, WithoutWaitingTheAnswerComesAtOnceAndTheEndIsIgnored) {
  operations_.at_once = false;
  EXPECT_TRUE(operate({"Reload", "web", 0, "", false}));
  ASSERT_EQ(operations_.pending.size(), 1u);
  operations_.pending[0](base::Error{EIO, "too late"});
}

TEST_F(BusTest, APeerMayLeaveBeforeItsAnswer) {
  operations_.at_once = false;
  {
    RawPeer peer(path_);
    peer.call("Reload", "web");
    ASSERT_TRUE(turn_until([&] { return peer.process(), operations_.pending.size() == 1; }));
  }
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); })) << "its end was noticed meanwhile";
  operations_.pending[0]({});
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); }));
}

TEST_F(BusTest, ARequestThatIsForgottenIsAnsweredAsCanceled) {
  operations_.at_once = false;
  auto result = std::async(std::launch::async, [&] {
    return ctl::Client::connect(path_)->operate({"Reload", "web", 0, "", true});
  });
  ASSERT_TRUE(turn_until([&] { return operations_.pending.size() == 1; }));
  operations_.pending.clear();
  ASSERT_TRUE(
      turn_until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  EXPECT_EQ(result.get().error().code, ECANCELED);
}

TEST_F(BusTest, AnswersMayOutliveTheBus) {
  operations_.at_once = false;
  auto result = std::async(std::launch::async, [&] {
    return ctl::Client::connect(path_)->operate({"Stop", "web", 0, "", true});
  });
  ASSERT_TRUE(turn_until([&] { return operations_.pending.size() == 1; }));
  bus_->close();
  operations_.pending[0]({});
  EXPECT_EQ(result.get().error().code, ECONNRESET);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(BusTest, TooManyWaitingRequestsOfOnePeerAreRefused) {
  Options options;
  options.limits.waiting = 2;
  listen(options);
  operations_.at_once = false;
  RawPeer peer(path_);
  for (int i = 0; i < 3; ++i) peer.call("Reload", "web");
  ASSERT_TRUE(turn_until([&] { return peer.process(), !peer.errors.empty(); }));
  EXPECT_THAT(peer.errors, ElementsAre(SD_BUS_ERROR_LIMITS_EXCEEDED));
  EXPECT_EQ(operations_.pending.size(), 2u);
  operations_.pending.clear();
  ASSERT_TRUE(turn_until([&] { return peer.process(), peer.errors.size() == 3; }));
  peer.call("Reload", "web");
  EXPECT_TRUE(turn_until([&] { return peer.process(), operations_.pending.size() == 1; }))
      << "there is room again";
}

TEST_F(BusTest, FailuresAreListedShownAndCleared) {
  operations_.records = {"{\"id\":\"b2\"}", "{\"id\":\"a1\"}"};
  const auto list = ask([](ctl::Client& client) { return client.failures({"web", "exception", 1234, 10}); });
  ASSERT_TRUE(list);
  EXPECT_THAT(*list, ElementsAre("{\"id\":\"b2\"}", "{\"id\":\"a1\"}"));
  EXPECT_EQ(operations_.filter.service, "web");
  EXPECT_EQ(operations_.filter.kind, "exception");
  EXPECT_EQ(operations_.filter.since_ms, 1234u);
  EXPECT_EQ(operations_.filter.limit, 10u);
  EXPECT_EQ(*ask([](ctl::Client& client) { return client.failure("a1"); }), "{\"id\":\"a1\"}");
  EXPECT_EQ(ask([](ctl::Client& client) { return client.failure("zz"); }).error().code, ENOENT);
  EXPECT_EQ(*ask([](ctl::Client& client) { return client.clear_failures("web"); }), 2u);
}

TEST_F(BusTest, TheNumberOfListedFailuresIsBounded) {
  const auto with_limit = [&](std::uint32_t limit) {
    return ask([&](ctl::Client& client) { return client.failures({"", "", std::nullopt, limit}); });
  };
  EXPECT_TRUE(with_limit(1));
  EXPECT_TRUE(with_limit(max_listed_failures));
  EXPECT_EQ(with_limit(max_listed_failures + 1).error().code, EINVAL);
  EXPECT_EQ(with_limit(0).error().code, EINVAL);
}

TEST_F(BusTest, TextThatIsNoUtf8IsStillDelivered) {
  operations_.records = {"{\"id\":\"\xff\"}"};
  const auto list = ask([](ctl::Client& client) { return client.failures({}); });
  ASSERT_TRUE(list) << list.error().what;
  EXPECT_THAT(*list, ElementsAre("{\"id\":\"\uFFFD\"}"));
}

// What a client that follows hears, until it has heard `count` things.
class FollowTest : public BusTest {
 protected:
  std::future<std::vector<std::string>> follow(std::size_t count) {
    return std::async(std::launch::async, [this, count] {
      std::vector<std::string> heard;
      auto client = ctl::Client::connect(path_);
      const auto enough = [&] { return heard.size() < count; };
      (void)client->follow(
          [&](const ctl::Event& event) {
            if (event.type == "reforkd-started") {
              ready_ = true;
              return true;
            }
            heard.push_back(event.type + " " + event.service + " " + std::to_string(event.slot) + " " +
                            event.text);
            return enough();
          },
          [&](std::uint64_t worker, std::string_view json) {
            heard.push_back("message " + std::to_string(worker) + " " + std::string(json));
            return enough();
          });
      return heard;
    });
  }
  // Greets until the follower has heard it.
  bool greet() {
    const core::Event hello{.type = "reforkd-started"};
    return turn_until([&] { return bus_->event(hello), ready_.load(); });
  }
  std::atomic<bool> ready_ = false;
};

TEST_F(FollowTest, EventsAndMessagesReachWhoListens) {
  auto heard = follow(4);
  ASSERT_TRUE(greet());
  core::Event event{1, 1000, "worker-ready", "web", 3, 17, 4711, "after 12 ms"};
  bus_->event(event);
  event.slot.reset();
  event.text = "broken \xff text";
  bus_->event(event);
  event.text = "exception 01ab";
  event.detail = "int: 7";
  bus_->event(event);
  bus_->message(17, "{\"n\":1}");
  ASSERT_TRUE(
      turn_until([&] { return heard.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  EXPECT_THAT(heard.get(),
              ElementsAre("worker-ready web 3 after 12 ms", "worker-ready web -1 broken \uFFFD text",
                          "worker-ready web -1 exception 01ab: int: 7", "message 17 {\"n\":1}"));
}

TEST_F(BusTest, ASecondReforkdOnTheSameSocketIsToldSo) {
  FakeOperations other;
  const auto second = Bus::listen(loop_, path_, other);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_THAT(second.error().what, HasSubstr(path_));
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); })) << "the first one still serves";
}

TEST_F(BusTest, AStaleSocketIsTakenOver) {
  bus_.reset();
  {
    base::UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  listen({});
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); }));
}

TEST_F(BusTest, AFileInTheWayIsNotRemoved) {
  const std::string file = directory_ + "/file";
  std::fclose(std::fopen(file.c_str(), "we"));
  EXPECT_EQ(Bus::listen(loop_, file, operations_).error().code, EEXIST);
  EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(BusTest, ASocketPathMayHave107Bytes) {
  const std::string longest = directory_ + "/" + std::string(107 - directory_.size() - 1, 'x');
  EXPECT_TRUE(Bus::listen(loop_, longest, operations_));
  EXPECT_EQ(Bus::listen(loop_, longest + "x", operations_).error().code, ENAMETOOLONG);
}

TEST_F(BusTest, AnotherOnesSocketFileIsLeftInPlace) {
  std::filesystem::rename(path_, directory_ + "/moved");
  std::fclose(std::fopen(path_.c_str(), "we"));
  bus_->close();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(BusTest, TheSocketIsBornWithItsModeWhateverTheUmask) {
  const mode_t before = ::umask(0177);
  const auto socket = ControlSocket::open(directory_ + "/other", 0660, std::nullopt);
  ::umask(before);
  ASSERT_TRUE(socket.ok()) << socket.error().what;
  struct stat info {};
  ASSERT_EQ(::stat((directory_ + "/other").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0660u);
}

TEST_F(BusTest, ASocketThatIsSwappedForALinkChangesNothingElsewhere) {
  const std::string victim = directory_ + "/victim", link = directory_ + "/link",
                    path = directory_ + "/other";
  std::fclose(std::fopen(victim.c_str(), "we"));
  ASSERT_EQ(::chmod(victim.c_str(), 0600), 0);
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop)
      if (::symlink(victim.c_str(), link.c_str()) == 0) ::rename(link.c_str(), path.c_str());
  });
  constexpr int rounds = 1000;
  for (int i = 0; i < rounds; ++i) {
    static_cast<void>(ControlSocket::open(path, 0660, ::getegid()).ok());
    ::unlink(path.c_str());
  }
  stop = true;
  swapper.join();
  struct stat info {};
  ASSERT_EQ(::stat(victim.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);
}

TEST_F(BusTest, TheSocketIsForTheOwnerAndTheGroup) {
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, ::geteuid() == 0 ? 0660u : 0600u);
}

}  // namespace
}  // namespace refork::bus
