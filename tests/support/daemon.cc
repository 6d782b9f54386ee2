// reforkd and reforkctl as an operator runs them.
#include "support/daemon.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

namespace refork::test {
namespace {

constexpr std::chrono::milliseconds kStopPatience{200};
constexpr int kStopAttempts = 50;

}  // namespace

Daemon::Daemon(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {}

Daemon::~Daemon() {
  if (!process_) return;
  process_->signal(SIGTERM);
  for (int i = 0; i < kStopAttempts && !process_->wait(kStopPatience); ++i)
    process_->signal(SIGTERM);  // once more: kill what is left
}

Daemon Daemon::run(std::vector<std::string> options_and_command) {
  return with_state("", std::move(options_and_command));
}

Daemon Daemon::with_state(const std::string& state_directory, std::vector<std::string> options_and_command) {
  Daemon daemon({});
  if (!state_directory.empty()) daemon.state_directory_ = state_directory;
  daemon.run_with(std::move(options_and_command));
  return daemon;
}

Daemon Daemon::of_program(const std::string& reforkd, std::vector<std::string> options_and_command) {
  Daemon daemon({});
  daemon.program_ = reforkd;
  daemon.run_with(std::move(options_and_command));
  return daemon;
}

void Daemon::run_with(std::vector<std::string> options_and_command) {
  arguments_ = {"run", "--control", control(), "--state-dir", state_directory()};
  arguments_.insert(arguments_.end(), options_and_command.begin(), options_and_command.end());
  start();
}

Daemon Daemon::with_config(const std::string& json) {
  Daemon daemon({});
  const std::string file = daemon.directory_->file("refork.json");
  std::ofstream(file) << json;
  daemon.arguments_ = {"--config",       file,          "--control",
                       daemon.control(), "--state-dir", daemon.state_directory()};
  daemon.start();
  return daemon;
}

void Daemon::start() {
  Process::Options options;
  options.argv = {program_};
  options.argv.insert(options.argv.end(), arguments_.begin(), arguments_.end());
  process_ = std::make_unique<Process>(std::move(options));
  process_->wait_for_error_line("controls at");
}

std::optional<Exit> Daemon::stop(std::chrono::milliseconds patience) {
  process_->signal(SIGTERM);
  return process_->wait(patience);
}

pid_t Daemon::pid() const {
  const auto all = status();
  return all.is_object() ? all["daemon"]["pid"].get<pid_t>() : 0;
}

void Daemon::kill() {
  const pid_t before = pid();
  ASSERT_GT(before, 1);
  ::kill(before, SIGKILL);
  EXPECT_TRUE(wait_until([&] {
    const pid_t now = pid();
    return now > 1 && now != before;
  })) << log();
}

void Daemon::kill_with_keeper() {
  const pid_t reforkd = pid();
  ASSERT_GT(reforkd, 1);
  // The keeper stands still first, so that it starts no other reforkd. A stopped reforkd would not do: with
  // its parent gone its process group is an orphaned one, which the kernel sets going again.
  ::kill(process_->pid(), SIGSTOP);
  ::kill(reforkd, SIGKILL);
  ::kill(process_->pid(), SIGKILL);
  process_->wait();
}

Daemon::Ran Daemon::ctl(std::vector<std::string> arguments) const {
  Process::Options options;
  options.argv = {built_program("reforkctl"), "--control", control()};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  Process process(std::move(options));
  const auto exit = process.wait();
  return {exit ? exit->code : -1, process.output(), process.errors()};
}

nlohmann::json Daemon::json(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), "--json");
  const Ran ran = ctl(arguments);
  const auto parsed = nlohmann::json::parse(ran.out, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << "exit " << ran.code << ", " << ran.out << ran.err << log();
  return parsed;
}

nlohmann::json Daemon::service(const std::string& name) const {
  const auto all = status();
  if (all.is_object())
    for (const auto& service : all["services"])
      if (service["name"] == name) return service;
  return nullptr;
}

nlohmann::json Daemon::failures(std::uint32_t limit) const {
  return json({"failures", "list", "-n", std::to_string(limit)});
}

bool Daemon::wait_for(const std::function<bool(const nlohmann::json&)>& predicate,
                      const std::string& name) const {
  return wait_until([&] {
    const auto found = service(name);
    return found.is_object() && predicate(found);
  });
}

bool Daemon::wait_for_state(const std::string& state, const std::string& name) const {
  return wait_for([&](const auto& service) { return service["state"] == state; }, name);
}

bool Daemon::wait_for_failures(std::size_t count) const {
  return wait_until([&] { return failures().size() >= count; });
}

Address Daemon::address(std::size_t listener, const std::string& name) const {
  const auto found = service(name);
  return Address::parse(found["listen"].at(listener).get<std::string>()).value();
}

std::vector<pid_t> Daemon::pids(const std::string& name) const {
  std::vector<pid_t> all;
  const auto found = service(name);
  for (const auto& worker : found["workers"])
    if (worker["pid"].is_number()) all.push_back(worker["pid"].get<pid_t>());
  return all;
}

}  // namespace refork::test
