#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace refork::os {

// Cgroups without others below them, in the own one, where that is delegated to us: each holds one process
// and whatever comes of it, wherever that has put itself. They serve to end all of it; no controller is
// enabled.
class LeafCgroups {
 public:
  // Nothing where `directory` is no cgroup of version 2, or not ours to divide.
  static std::optional<LeafCgroups> in(const std::string& directory);
  // Of one that is known to be ours to divide: the managers of users do not mark them.
  static std::optional<LeafCgroups> in_delegated(const std::string& directory);

  base::Result<void> put(const std::string& leaf, pid_t pid) const;
  std::vector<std::string> list() const;
  bool has_processes(const std::string& leaf) const;
  void signal(const std::string& leaf, int signal) const;  // to all that is in it
  std::vector<pid_t> processes() const;                    // in the own one itself
  // Kills all that is in it, by SIGKILL, and removes it. False: not all of it is gone yet, to be tried again.
  bool end(const std::string& leaf) const;

 private:
  explicit LeafCgroups(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace refork::os
