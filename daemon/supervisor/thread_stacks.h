#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/pace.h"
#include "proto/record.h"
#include "recorder/reader.h"

namespace refork::supervisor {

// How long threads have to write their stacks; those that are stuck in the kernel answer late or never.
inline constexpr core::Millis stacks_patience{1000};

// Frames as a record has them, and the build-ids of their modules. `executable`: the worker's own program,
// which is the application's wherever it stands.
using BuildIds = std::vector<std::pair<std::string, std::string>>;
std::vector<proto::Frame> frames_of(const std::vector<recorder::Address>& stack,
                                    const std::string& executable, BuildIds& build_ids);
std::string executable_of(pid_t pid);  // empty: not to be seen

// One demand for the stacks of a worker's threads. A worker that does not answer is described as far as the
// kernel tells: where its threads wait.
class StackDemand {
 public:
  // `thread` 0: all of them. `reader` outlives the demand; nullptr: a worker without librefork. The process
  // must not have been reaped.
  StackDemand(const recorder::Reader* reader, pid_t pid, pid_t thread, core::Time now);
  bool over(core::Time now) const;  // all have answered, or it is too late
  // Those with a request first.
  std::vector<proto::ThreadStack> result(BuildIds& build_ids) const;
  // The id of the request that the thread says it handles; 0: it says nothing, or handles none.
  std::uint64_t request_of(std::uint32_t thread) const;

 private:
  const recorder::Reader* reader_ = nullptr;  // of a worker that was asked; nullptr: it was not
  pid_t pid_;
  std::size_t asked_ = 0;
  pid_t thread_;
  core::Time deadline_;
};

}  // namespace refork::supervisor
