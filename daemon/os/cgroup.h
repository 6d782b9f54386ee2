#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace refork::os {

// Where the own cgroup (version 2) is, from the texts of /proc/self/mountinfo and /proc/self/cgroup. Empty:
// there is none. Pure.
std::string cgroup_directory(std::string_view mountinfo, std::string_view cgroup);
std::string own_cgroup();

// How many processes of a cgroup, and of those below, the kernel has killed for want of memory. Nothing: it
// does not say, as where no memory controller is.
std::optional<std::uint64_t> oom_kills(const std::string& directory);

// Tells deaths for want of memory from others that look the same.
class OomWatch {
 public:
  OomWatch() : OomWatch(own_cgroup()) {}
  explicit OomWatch(std::string directory);
  // One process has ended by a SIGKILL that nobody here sent, and so many `others` with it: whether the
  // kernel says that it killed at least as many since it was last asked. Otherwise nobody knows which of them
  // it was.
  bool explains_kill(std::size_t others);

 private:
  std::string directory_;
  std::uint64_t seen_ = 0;
};

}  // namespace refork::os
