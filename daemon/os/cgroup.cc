// What the unit's cgroup tells. Nothing is written there: no controller is ever enabled.
#include "os/cgroup.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

namespace refork::os {
namespace {

constexpr const char* events_name = "/memory.events";
constexpr std::size_t max_unexplained = 1024;  // kills at once; of more, nobody says whose they were

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
  std::ifstream events(directory + events_name);
  std::string key;
  for (std::uint64_t count = 0; events >> key >> count;)
    if (key == "oom_kill") return count;
  return std::nullopt;
}

namespace {

// Of changes of the file; nothing where there is none, or no watch to be had.
base::UniqueFd notifier_of(const std::string& directory) {
  base::UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (directory.empty() || !fd) return {};
  if (::inotify_add_watch(fd.get(), (directory + events_name).c_str(), IN_MODIFY) < 0) return {};
  return fd;
}

}  // namespace

OomWatch::OomWatch(std::string directory, core::Time now)
    : directory_(std::move(directory)),
      notifier_(notifier_of(directory_)),
      seen_(oom_kills(directory_).value_or(0)),
      last_look_(now) {}

void OomWatch::look(core::Time now) {
  alignas(inotify_event) char ignored[1024];
  while (notifier_ && ::read(notifier_.get(), ignored, sizeof ignored) > 0) {
  }
  // Where nobody tells of changes, one since a look long ago may be as old as that.
  const bool dated = notifier_ || now - last_look_ <= window;
  last_look_ = now;
  while (!unexplained_.empty() && now - unexplained_.front() > window) unexplained_.pop_front();
  const auto kills = oom_kills(directory_);
  if (!kills) return;
  for (; seen_ < *kills && dated && unexplained_.size() < max_unexplained; ++seen_)
    unexplained_.push_back(now);
  seen_ = *kills;
}

bool OomWatch::explains_kill(std::size_t others, core::Time now) {
  look(now);
  if (unexplained_.size() < 1 + others) {
    unexplained_.clear();  // of one of these, and nobody will know of which
    return false;
  }
  unexplained_.pop_front();
  return true;
}

}  // namespace refork::os
