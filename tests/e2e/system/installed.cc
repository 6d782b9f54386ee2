#include "e2e/system/installed.h"

#include <cstdlib>

namespace refork::test {

using namespace std::chrono_literals;
using nlohmann::json;

void Installed::SetUp() {
  const auto installed = machine_.sh("apt-get install -y /packages/reforkd_*.deb /packages/librefork0_*.deb");
  ASSERT_EQ(installed.code, 0) << installed.out << installed.err;
}

void Installed::TearDown() {
  if (!HasFailure()) return;
  const auto journal =
      machine_.run({"journalctl", "--no-pager", "-o", "short-monotonic", "-u", "reforkd", "-n", "60"});
  const auto status = machine_.run({"systemctl", "status", "reforkd", "--no-pager", "-n", "0"});
  ADD_FAILURE() << status.out << journal.out;
}

json Installed::web(const std::string& server_name, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), server(server_name));
  return {{"command", arguments},
          {"workers", 2},
          {"listen", {kWeb.text()}},
          {"user", "www-data"},
          {"reload", {{"probation", "100ms"}}}};
}

void Installed::serve(const json& services) {
  machine_.write("/etc/refork/refork.json", json{{"services", services}}.dump(2));
  machine_.output({"systemctl", "restart", "reforkd"});
  for (const auto& [name, service] : services.items()) ASSERT_TRUE(wait_until_settled(name)) << name;
}

json Installed::ctl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"reforkctl", "--json"});
  const auto ran = machine_.run(std::move(arguments));
  const auto parsed = json::parse(ran.out, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << "exit " << ran.code << ", " << ran.out << ran.err;
  return parsed;
}

json Installed::service(const std::string& name) const {
  const json all = ctl({"status"});
  if (all.is_object())
    for (const auto& service : all["services"])
      if (service["name"] == name) return service;
  return nullptr;
}

bool Installed::wait_until_settled(const std::string& name) const {
  return wait_until([&] {
    const json found = service(name);
    if (!found.is_object() || found["state"] != "running") return false;
    for (const auto& worker : found["workers"])
      if (worker["state"] != "serving") return false;
    return true;
  });
}

bool Installed::wait_for_failures(std::size_t count) const {
  return wait_until([&] { return failures().size() >= count; });
}

bool Installed::wait_for_in_flight(std::uint64_t count) const {
  return wait_until([&] {
    std::uint64_t in_flight = 0;
    const json found = service();
    for (const auto& worker : found["workers"]) in_flight += worker["in_flight"].get<std::uint64_t>();
    return in_flight == count;
  });
}

std::vector<pid_t> Installed::pids(const std::string& name) const {
  std::vector<pid_t> all;
  const json found = service(name);
  for (const auto& worker : found["workers"]) all.push_back(worker["pid"].get<pid_t>());
  return all;
}

std::string Installed::property(const std::string& name, const std::string& unit) const {
  return machine_.output({"systemctl", "show", "--value", "-p", name, unit});
}

pid_t Installed::main_pid() const { return std::atoi(property("MainPID").c_str()); }

LoadOptions Installed::load() {
  LoadOptions options;
  options.address = kWeb;
  options.path = "/?delay=5";
  options.clients = 16;
  options.patience = 20s;
  return options;
}

void Installed::expect_unnoticed(const LoadResult& result) const {
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GT(result.bystanders.ok(), 100U) << result.summary();
}

}  // namespace refork::test
