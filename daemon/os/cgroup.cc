// What the unit's cgroup tells. Nothing is written there: no controller is ever enabled.
#include "os/cgroup.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

namespace refork::os {
namespace {

std::string text_of(const std::string& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

// The path on the line "0::/path".
std::optional<std::string> unified_path(std::string_view cgroup) {
  std::istringstream lines{std::string(cgroup)};
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("0::/")) return line.substr(3);
  return std::nullopt;
}

}  // namespace

// A line is "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE ..."; ROOT is what of the tree is
// mounted.
std::string cgroup_directory(std::string_view mountinfo, std::string_view cgroup) {
  constexpr std::size_t root_field = 3, point_field = 4;
  const auto path = unified_path(cgroup);
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; path && std::getline(lines, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    const auto words = words_of(line);
    if (words.size() <= point_field) continue;
    const std::string root = words[root_field] == "/" ? "" : words[root_field];
    if (!path->starts_with(root)) continue;
    const std::string below = path->substr(root.size());
    return words[point_field] + (below == "/" ? "" : below);
  }
  return "";
}

std::string own_cgroup() {
  return cgroup_directory(text_of("/proc/self/mountinfo"), text_of("/proc/self/cgroup"));
}

std::optional<std::uint64_t> oom_kills(const std::string& directory) {
  if (directory.empty()) return std::nullopt;
  std::ifstream events(directory + "/memory.events");
  std::string key;
  for (std::uint64_t count = 0; events >> key >> count;)
    if (key == "oom_kill") return count;
  return std::nullopt;
}

OomWatch::OomWatch(std::string directory)
    : directory_(std::move(directory)), seen_(oom_kills(directory_).value_or(0)) {}

bool OomWatch::explains_kill(std::size_t others) {
  const auto kills = oom_kills(directory_);
  if (!kills || *kills < seen_ + 1 + others) return false;
  seen_ = *kills - others;  // earlier ones were not workers
  return true;
}

}  // namespace refork::os
