#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "os/leaf_cgroups.h"
#include "supervisor/handover.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// A cgroup for each worker, where they are to be had: what a worker leaves behind ends with it, wherever that
// has put itself. They outlive reforkd, and the next one finds them by their names. Elsewhere it does
// nothing.
class WorkerCgroups {
 public:
  // `instance`: tells this reforkd, in all its lives, from others in the same cgroup; without it none are
  // made.
  WorkerCgroups(Loop& loop, std::optional<os::LeafCgroups> leaves, const std::string& instance);

  void put(const WorkerKey& worker, pid_t pid);  // which has not executed anything yet
  void end(const WorkerKey& worker);             // as soon as it has ended
  // What is left of workers that nobody knows any more.
  void end_others(const std::function<bool(const WorkerKey&)>& known);
  void close();  // waits a little for what still ends

 private:
  std::string name_of(const WorkerKey& worker) const;
  std::optional<WorkerKey> key_of(const std::string& leaf) const;
  void arm();
  void try_again();

  const std::optional<os::LeafCgroups> leaves_;
  const std::string prefix_;
  bool complained_ = false;
  std::set<std::string> ending_;
  core::Millis interval_{0};  // to the next attempt
  Loop::Source timer_;
};

}  // namespace refork::supervisor
