#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "bus/bus.h"
#include "bus/sdbus.h"
#include "ctl/client.h"

namespace refork::bus {

// Operations without workers: remembers what it was asked, answers what a test says, or later.
class FakeOperations : public core::Operations {
 public:
  core::DaemonStatus now;
  std::vector<std::string> calls;
  std::vector<Done> pending;  // of operations that do not answer at once
  bool at_once = true;
  base::Result<void> outcome;
  std::vector<std::string> records, groups;
  core::FailureFilter filter;
  std::optional<core::Why> reasons;
  std::optional<std::string> thrown;  // instead of an answer
  std::vector<std::string> orders;
  int status_reads = 0;

  core::DaemonStatus status() override { return ++status_reads, now; }
  base::Result<core::Why> why(std::string_view target) override {
    calls.push_back("why " + std::string(target));
    if (thrown) throw std::runtime_error(*thrown);
    if (!reasons) return base::Error{ENOENT, "no service " + std::string(target)};
    return *reasons;
  }
  void asked(std::string_view verb, std::string_view by) override {
    orders.push_back(std::string(verb) + " " + std::string(by));
  }
  void start(std::string_view service, Done done) override { called("start", service, std::move(done)); }
  void stop(std::string_view service, Done done) override { called("stop", service, std::move(done)); }
  void restart(std::string_view service, Done done) override { called("restart", service, std::move(done)); }
  void reload(std::string_view service, Done done) override { called("reload", service, std::move(done)); }
  void scale(std::string_view service, std::uint32_t workers, Done done) override {
    called("scale " + std::to_string(workers), service, std::move(done));
  }
  void drain(std::string_view target, Done done) override { called("drain", target, std::move(done)); }
  void kill(std::string_view target, Done done) override { called("kill", target, std::move(done)); }
  void send(std::string_view target, std::string_view json, Done done) override {
    called("send " + std::string(json), target, std::move(done));
  }
  void failures(const core::FailureFilter& asked, Reply<std::vector<std::string>> reply) override {
    filter = asked;
    reply(records);
  }
  void top_failures(const core::FailureFilter& asked, Reply<std::vector<std::string>> reply) override {
    filter = asked;
    reply(groups);
  }
  void failure(std::string_view id, Reply<std::string> reply) override {
    for (const auto& record : records)
      if (record.find(id) != std::string::npos) return reply(record);
    reply(base::Error{ENOENT, "no failure " + std::string(id)});
  }
  void clear_failures(std::string_view service, Reply<std::uint64_t> reply) override {
    calls.push_back("clear " + std::string(service));
    reply(std::exchange(records, {}).size());
  }
  void reexec(Done done) override { called("reexec", "", std::move(done)); }

 private:
  void called(const std::string& verb, std::string_view target, Done done) {
    calls.push_back(verb + " " + std::string(target));
    if (at_once) return done(outcome);
    pending.push_back(std::move(done));
  }
};

inline core::DaemonStatus two_services() {
  core::DaemonStatus status;
  status.version = "0.1.0";
  status.pid = 4711;
  status.started_ms = 1'000'000;
  status.rss_bytes = 6'815'744;
  status.config = "/etc/refork/refork.json";
  status.store.path = "/var/lib/refork/refork.db";
  core::ServiceStatus web;
  web.name = "web-front.1";
  web.state = core::ServiceState::running;
  web.generation = 3;
  web.wanted = 2;
  web.failures = 12;
  web.restarts = 11;
  web.listen = {"tcp://0.0.0.0:8080", "unix:/run/web.sock"};
  core::WorkerStatus serving{17, 0, 4720, "serving", 3, 2, 1200, false, 900'000, 8'493'465, 0, 0, ""};
  core::WorkerStatus draining{12,   0,       4699,      "draining", 2, 1,      800,
                              true, 800'000, 9'000'000, 1'027'000,  0, "error"};
  core::WorkerStatus empty{
      0, 1, 0, "backoff", 3, 0, 0, false, 0, 0, 0, 1'004'000, "exited with 1 before it was ready"};
  web.workers = {draining, serving, empty};
  core::ServiceStatus api;
  api.name = "api";
  api.state = core::ServiceState::stopped;
  status.services = {web, api};
  return status;
}

// The real Bus on a real loop and a real socket. Clients block, so they run in a thread while the loop turns
// here.
class BusTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds patience{20};

  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "refork-bus-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
    path_ = directory_ + "/control";
    ASSERT_GE(sd_event_new(&loop_), 0);
    operations_.now = two_services();
    listen({});
  }
  void TearDown() override {
    bus_.reset();
    sd_event_unref(loop_);
    std::filesystem::remove_all(directory_);
  }

  void listen(const Options& options) {
    bus_.reset();
    auto bus = Bus::listen(loop_, path_, operations_, options);
    ASSERT_TRUE(bus) << bus.error().what;
    bus_ = std::move(*bus);
  }

  template <class Condition>
  bool turn_until(Condition&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      sd_event_run(loop_, 5'000);
    }
    return true;
  }

  // Serves until the work, done in a thread, has its result.
  template <class Work>
  auto meanwhile(Work&& work) {
    auto result = std::async(std::launch::async, std::forward<Work>(work));
    EXPECT_TRUE(
        turn_until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
    return result.get();
  }
  template <class Ask>
  auto ask(Ask&& question) {
    return meanwhile([&] {
      auto client = ctl::Client::connect(path_);
      if (!client) throw std::runtime_error(client.error().what);
      return question(*client);
    });
  }
  base::Result<void> operate(ctl::Operation operation) {
    return ask([&](ctl::Client& client) { return client.operate(operation); });
  }

  // Serves until a child that runs `work` has ended; its exit code.
  int in_child(const std::function<int()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      int code = 99;
      try {
        code = work();
      } catch (...) {
      }
      ::_exit(code);
    }
    int status = 0;
    EXPECT_TRUE(turn_until([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // Serves until the command has ended: its exit code and what it wrote.
  std::pair<int, std::string> command(const std::string& line) {
    return meanwhile([&] {
      std::string output(65536, '\0');
      std::FILE* pipe = ::popen((line + " 2>&1").c_str(), "re");
      output.resize(std::fread(output.data(), 1, output.size(), pipe));
      const int status = ::pclose(pipe);
      return std::pair(WIFEXITED(status) ? WEXITSTATUS(status) : -1, output);
    });
  }

  std::string directory_, path_;
  sd_event* loop_ = nullptr;
  FakeOperations operations_;
  std::unique_ptr<Bus> bus_;
};

// A peer that does only what a test makes it do: it shares the test's thread, and reads when process() is
// called.
class RawPeer {
 public:
  explicit RawPeer(const std::string& path) {
    sd_bus* made = nullptr;
    EXPECT_GE(sd_bus_new(&made), 0);
    bus_.reset(made);
    EXPECT_GE(sd_bus_set_address(made, ("unix:path=" + path).c_str()), 0);
    EXPECT_GE(sd_bus_start(made), 0);
  }
  void call(const char* method, const char* target) {
    EXPECT_GE(sd_bus_call_method_async(bus_.get(), nullptr, nullptr, "/org/refork1", "org.refork1.Manager",
                                       method, on_answer, this, "sb", target, 1),
              0);
  }
  // Counts a signal's arrivals.
  void count(const char* interface, const char* member) {
    EXPECT_GE(sd_bus_match_signal(bus_.get(), nullptr, nullptr, nullptr, interface, member, on_signal, this),
              0);
  }
  bool ready() { return process(), sd_bus_is_ready(bus_.get()) > 0; }
  void process() {
    while (sd_bus_process(bus_.get(), nullptr) > 0) {
    }
  }
  sd_bus* bus() { return bus_.get(); }
  bool hung_up() const {
    pollfd poll{sd_bus_get_fd(bus_.get()), POLLIN, 0};
    return ::poll(&poll, 1, 0) > 0 && (poll.revents & POLLHUP) != 0;
  }

  std::vector<std::string> errors;
  std::vector<std::string> signals;  // "PATH MEMBER"

 private:
  static int on_answer(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
    if (const auto* error = sd_bus_message_get_error(message))
      static_cast<RawPeer*>(userdata)->errors.emplace_back(error->name);
    return 0;
  }
  static int on_signal(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
    static_cast<RawPeer*>(userdata)->signals.push_back(std::string(sd_bus_message_get_path(message)) + " " +
                                                       sd_bus_message_get_member(message));
    return 0;
  }
  BusPtr bus_;
};

inline bool hung_up(const base::UniqueFd& fd) {
  pollfd poll{fd.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0 && (poll.revents & POLLHUP) != 0;
}

inline base::UniqueFd connect_raw(const std::string& path) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return base::UniqueFd();
  return fd;
}

}  // namespace refork::bus
