// Every way to die, in every state of a worker's life, linked and unlinked: one end each, the failure that it
// is and no other, one replacement, and its request named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "e2e/mortal_ways.h"
#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;

enum class State {
  booting,
  idle,
  serving,
  draining
};

// What is to be told of a death: the failures, newest first (none: it is none), and the cause of the end.
using Kinds = std::vector<std::string>;
struct Told {
  Way way;
  Kinds kinds;
  std::string cause;
};

constexpr std::size_t kCount = kWays.size();

std::string name(Way way) { return std::string(kWays[static_cast<std::size_t>(way)]); }

// ---- the table

using enum Way;

// No way to die before being ready is anything but a failed start; what has a record of its own is that.
std::vector<Told> booting(bool linked) {
  std::vector<Told> all;
  for (std::size_t i = 0; i < kCount; ++i) {
    const Way way = static_cast<Way>(i);
    std::string kind = "boot";
    if (way == protocol) kind = "protocol";
    if (linked && (way == terminate || way == allocation_fails)) kind = "terminate";
    if (linked && (way == sigsegv || way == sigabrt || way == stack_overflow)) kind = "signal";
    if (linked || (way != protocol && way != channel_closed)) all.push_back({way, {kind}, "boot"});
  }
  return all;
}

// With a request under way it does not leave before its deadline, unless it dies.
std::vector<Told> linked(State state) {
  const bool idle = state == State::idle;
  if (state == State::draining)
    return {{exit_0, {"exit"}, "exit"},
            {exit_3, {"exit"}, "exit"},
            {quick_exit, {"exit"}, "exit"},
            {quick_exit_0, {"exit"}, "exit"},
            {return_from_main, {"exit"}, "exit"},
            {sigkill, {"signal"}, "signal"},
            {sigterm, {"deadline"}, "deadline"},  // it drains already
            {sigsegv, {"signal"}, "signal"},
            {sigabrt, {"signal"}, "signal"},
            {terminate, {"terminate"}, "signal"},
            {stack_overflow, {"signal"}, "signal"},
            {allocation_fails, {"terminate"}, "signal"},
            {hang, {"deadline"}, "deadline"},
            {channel_closed, {"exit"}, "exit"},  // at its deadline, of which it cannot tell
            {protocol, {"deadline", "protocol"}, "deadline"}};
  return {{exit_0, {"exit"}, "exit"},
          {exit_3, {"exit"}, "exit"},
          {quick_exit, {"exit"}, "exit"},
          {quick_exit_0, {"exit"}, "exit"},
          // Its last word is that it leaves, which it may.
          {return_from_main, idle ? Kinds{} : Kinds{"exit"}, idle ? "drained" : "exit"},
          {sigkill, {"signal"}, "signal"},
          {sigterm, idle ? Kinds{} : Kinds{"deadline"}, idle ? "drained" : "deadline"},
          {sigsegv, {"signal"}, "signal"},
          {sigabrt, {"signal"}, "signal"},
          {terminate, {"terminate"}, "signal"},
          {stack_overflow, {"signal"}, "signal"},
          {allocation_fails, {"terminate"}, "signal"},
          // Its library takes reforkd for gone, and drains.
          {hang, {"hang"}, idle ? "drained" : "deadline"},
          {channel_closed, {idle ? "exit" : "protocol"}, "exit"},
          {protocol, {"protocol"}, idle ? "drained" : "deadline"}};
}

std::vector<Told> unlinked(State state) {
  const bool idle = state == State::idle;
  if (state == State::draining)
    return {{exit_0, {}, "drained"},
            {exit_3, {}, "drained"},  // it was told to end, and did in its own way
            {quick_exit, {}, "drained"},
            {quick_exit_0, {}, "drained"},
            {return_from_main, {}, "drained"},
            {sigkill, {"signal"}, "signal"},
            {sigterm, {}, "drained"},
            {sigsegv, {"signal"}, "signal"},
            {sigabrt, {"signal"}, "signal"},
            {terminate, {"signal"}, "signal"},
            {stack_overflow, {"signal"}, "signal"},
            {allocation_fails, {"signal"}, "signal"},
            {hang, {"deadline"}, "deadline"}};
  return {{exit_0, {}, "exit"},  // nobody told it to stay
          {exit_3, {"exit"}, "exit"},
          {quick_exit, {"exit"}, "exit"},
          {quick_exit_0, {}, "exit"},
          {return_from_main, {}, "exit"},
          {sigkill, {"signal"}, "signal"},
          {sigterm, {"signal"}, "signal"},
          {sigsegv, {"signal"}, "signal"},
          {sigabrt, {"signal"}, "signal"},
          {terminate, {"signal"}, "signal"},
          {stack_overflow, {"signal"}, "signal"},
          {allocation_fails, {"signal"}, "signal"},
          {hang, {"hang"}, idle ? "drained" : "deadline"}};
}

std::vector<Told> table(State state, bool with_library) {
  if (state == State::booting) return booting(with_library);
  return with_library ? linked(state) : unlinked(state);
}

// ---- a round: as many workers as the table has rows, each dies of its own

struct Doomed {
  Told told;
  std::uint64_t id = 0;
  pid_t pid = 0;
};

class Round {
 public:
  Round(State state, bool linked) : state_(state), linked_(linked), table_(table(state, linked)) {}

  void play() {
    Daemon daemon = start();
    if (state_ == State::booting) {
      wait_for_boots(daemon);
    } else {
      find_workers(daemon);
      if (state_ != State::idle) occupy(daemon);
      if (state_ == State::draining) drain(daemon);
      for (const auto& one : doomed_) kill(one);
    }
    expect_replaced(daemon);
    for (const auto& client : clients_) EXPECT_TRUE(client->wait_closed());
    expect_failures(daemon);
    expect_ends(daemon);
  }

 private:
  Daemon start() {
    std::vector<std::string> options = {"--workers",         std::to_string(table_.size()),
                                        "--ready",           linked_ ? "library" : "notify",
                                        "--floor",           "0",
                                        "--drain-deadline",  kSanitized ? "4s" : "2s",
                                        "--start-timeout",   kSanitized ? "8s" : "4s",
                                        "--watchdog",        kSanitized ? "3s" : "1500ms",
                                        "--restart-backoff", "100ms,100ms",
                                        "--limits",          "core=0"};
    std::vector<std::string> command = {mortal_worker(), linked_ ? "linked" : "unlinked"};
    if (state_ == State::booting) {
      for (const auto& told : table_) std::ofstream(orders_.file(name(told.way)));
      command.push_back(orders_.path());
    }
    return web(options, command);
  }

  // Each way has been taken by one process, which is named by the file that it left.
  void wait_for_boots(const Daemon& daemon) {
    ASSERT_TRUE(daemon.wait_for_failures(table_.size())) << daemon.failures();
    std::map<pid_t, std::uint64_t> workers;
    for (const auto& failure : daemon.failures()) workers[failure["pid"]] = failure["worker"];
    for (const auto& told : table_)
      for (const auto& file : std::filesystem::directory_iterator(orders_.path()))
        if (file.path().stem() == name(told.way)) {
          const pid_t pid = std::stoi(file.path().extension().string().substr(1));
          doomed_.push_back({told, workers[pid], pid});
        }
    ASSERT_EQ(doomed_.size(), table_.size());
  }

  void find_workers(const Daemon& daemon) {
    ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
    const json service = daemon.service();
    for (std::size_t i = 0; i < table_.size(); ++i)
      doomed_.push_back({table_[i], service["workers"][i]["id"], service["workers"][i]["pid"]});
  }

  static void order(pid_t pid, int number) {
    sigval value{};
    value.sival_int = number;
    ASSERT_EQ(::sigqueue(pid, SIGRTMIN, value), 0);
  }

  // One request each. They share the listener: nobody but the one that is told accepts.
  void occupy(const Daemon& daemon) {
    for (const auto& one : doomed_) {
      clients_.push_back(std::make_unique<HttpConnection>(daemon.address()));
      ASSERT_TRUE(clients_.back()->send_get("/" + name(one.told.way)));
      order(one.pid, kAccept);
      char first = 0;
      ASSERT_TRUE(wait_until([&] { return ::recv(clients_.back()->fd(), &first, 1, MSG_DONTWAIT) == 1; }));
    }
  }

  void drain(const Daemon& daemon) {
    for (const auto& one : doomed_)
      ASSERT_EQ(daemon.ctl({"--no-block", "drain", std::to_string(one.id)}).code, 0);
  }

  static void kill(const Doomed& one) {
    order(one.pid, static_cast<int>(one.told.way) + 1);
    if (one.told.way == Way::sigterm) ::kill(one.pid, SIGTERM);
  }

  // By one worker each: their ids are given one after the other.
  void expect_replaced(const Daemon& daemon) {
    const auto newest = [this](const json& service) {
      return std::ranges::all_of(service["workers"],
                                 [this](const json& worker) { return worker["id"] > table_.size(); });
    };
    ASSERT_TRUE(daemon.wait_for(newest)) << daemon.service() << daemon.log();
    ASSERT_TRUE(wait_until_settled(daemon)) << daemon.service() << daemon.log();
    const json service = daemon.service();
    for (const auto& worker : service["workers"]) EXPECT_LE(worker["id"], 2 * table_.size());
  }

  void expect_failures(const Daemon& daemon) {
    std::size_t wanted = 0;
    for (const auto& told : table_) wanted += told.kinds.size();
    const json failures = complete_failures(daemon, wanted);
    std::map<std::uint64_t, std::vector<std::string>> kinds;
    for (const auto& failure : failures) {
      kinds[failure["worker"]].push_back(failure["kind"]);
      const auto one = std::find_if(doomed_.begin(), doomed_.end(),
                                    [&](const Doomed& d) { return d.id == failure["worker"]; });
      ASSERT_NE(one, doomed_.end()) << failure;
      const bool has_request = linked_ && state_ >= State::serving;
      const std::vector<std::string> cut = {"GET /" + name(one->told.way)};
      EXPECT_EQ(cut_by(failure), has_request ? cut : std::vector<std::string>()) << failure;
    }
    for (const auto& one : doomed_) {
      SCOPED_TRACE(name(one.told.way));
      EXPECT_EQ(kinds[one.id], one.told.kinds);
    }
  }

  void expect_ends(Daemon& daemon) {
    std::map<std::uint64_t, std::vector<std::string>> causes;
    for (const auto& end : ends_after_stop(daemon)) {
      causes[end.worker].push_back(end.cause);
      const bool cuts = linked_ && state_ >= State::serving && end.worker <= table_.size();
      EXPECT_EQ(end.cut, cuts ? 1U : 0U) << "worker " << end.worker;
    }
    EXPECT_EQ(causes.size(), 2 * table_.size());
    for (const auto& one : doomed_) {
      SCOPED_TRACE(name(one.told.way));
      EXPECT_THAT(causes[one.id], testing::ElementsAre(one.told.cause));
    }
  }

  const State state_;
  const bool linked_;
  const std::vector<Told> table_;
  const TempDir orders_;
  std::vector<Doomed> doomed_;
  std::vector<std::unique_ptr<HttpConnection>> clients_;
};

class Matrix : public testing::TestWithParam<std::pair<State, bool>> {};

TEST_P(Matrix, EveryDeathIsOneEndOneFailureAndOneReplacement) {
  Round(GetParam().first, GetParam().second).play();
}

std::string cell_name(const testing::TestParamInfo<std::pair<State, bool>>& cell) {
  static constexpr std::array states = {"booting", "idle", "serving", "draining"};
  const auto [state, linked] = cell.param;
  return std::string(states[static_cast<std::size_t>(state)]) + (linked ? "_linked" : "_unlinked");
}

INSTANTIATE_TEST_SUITE_P(Of, Matrix,
                         testing::Values(std::pair(State::booting, true), std::pair(State::idle, true),
                                         std::pair(State::serving, true), std::pair(State::draining, true),
                                         std::pair(State::booting, false), std::pair(State::idle, false),
                                         std::pair(State::serving, false), std::pair(State::draining, false)),
                         cell_name);

}  // namespace
}  // namespace refork::test
