#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace refork::chaos {

// A service as its events tell it.
struct Model {
  struct Worker {
    std::int64_t slot = 0;
    std::int64_t pid = 0;
    std::string state;
    bool operator==(const Worker&) const = default;
  };
  std::string state;
  std::map<std::uint64_t, Worker> workers;
};
using Models = std::map<std::string, Model>;

// What `status --json` says.
Models models_of(const nlohmann::json& status);
// What it becomes by these events, from `reforkctl --json events`; each gap in their numbers is a problem.
Models replay(Models from, const std::vector<nlohmann::json>& events, std::vector<std::string>& problems);
// Where the two differ, in words.
std::vector<std::string> differences(const Models& told, const Models& seen);

}  // namespace refork::chaos
