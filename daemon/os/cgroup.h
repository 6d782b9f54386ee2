#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "core/pace.h"

namespace refork::os {

// Where the own cgroup (version 2) is, from the texts of /proc/self/mountinfo and /proc/self/cgroup. Empty:
// there is none. Pure.
std::string cgroup_directory(std::string_view mountinfo, std::string_view cgroup);
std::string own_cgroup();

// How many processes of a cgroup, and of those below, the kernel has killed for want of memory. Nothing: it
// does not say, as where no memory controller is.
std::optional<std::uint64_t> oom_kills(const std::string& directory);

// Tells deaths for want of memory from others that look the same: by a kill that the kernel has counted a
// moment before. An earlier one, of whatever process, explains nothing.
class OomWatch {
 public:
  // From a kill to the end of the process that was killed, which has its memory to give back.
  static constexpr core::Millis window{2000};

  OomWatch() : OomWatch(own_cgroup(), core::Clock::now()) {}
  OomWatch(std::string directory, core::Time now);
  // Readable when look() is due; -1: nobody tells.
  int fd() const noexcept { return notifier_.get(); }
  void look(core::Time now);
  // One process has ended by a SIGKILL that nobody here sent, and so many `others` with it: whether the
  // kernel has just killed at least as many. Otherwise nobody knows which of them it was.
  bool explains_kill(std::size_t others, core::Time now);

 private:
  std::string directory_;
  base::UniqueFd notifier_;
  std::uint64_t seen_ = 0;
  core::Time last_look_;
  std::deque<core::Time> unexplained_;  // when kills were counted that are nobody's yet
};

}  // namespace refork::os
