#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "e2e/system/machine.h"

namespace refork::test {

inline const Address kWeb = Address::tcp(8080);

// A machine on which an operator has installed the packages.
class Installed : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;  // shows the journal of a test that failed

  // /etc/refork/refork.json with these services, and reforkd started anew: until all of them run.
  void serve(const nlohmann::json& services);
  // The linked server that most tests are about: "web", two workers, at kWeb.
  static nlohmann::json web(const std::string& server = "http_asio", std::vector<std::string> arguments = {});

  nlohmann::json ctl(std::vector<std::string> arguments) const;  // with --json
  nlohmann::json service(const std::string& name = "web") const;
  nlohmann::json failures() const { return ctl({"failures", "list", "-n", "1000"}); }
  // Until the service runs with all its workers, and none on its way out.
  bool wait_until_settled(const std::string& name = "web") const;
  bool wait_for_failures(std::size_t count) const;
  // Until so many requests are under way.
  bool wait_for_in_flight(std::uint64_t count) const;
  std::vector<pid_t> pids(const std::string& name = "web") const;  // as in the machine
  std::string property(const std::string& name, const std::string& unit = "reforkd.service") const;
  pid_t main_pid() const;

  // Sixteen clients without a pause, from now on.
  static LoadOptions load();
  void expect_unnoticed(const LoadResult& result) const;

  Machine machine_;
};

}  // namespace refork::test
