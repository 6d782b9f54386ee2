#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/service.h"
#include "supervisor/failures.h"
#include "supervisor/loop.h"
#include "supervisor/recorder_file.h"

namespace refork::supervisor {

// Workers of an earlier reforkd that is gone. What their recorders hold is stored; those that still live are
// told to drain, and are gone by their deadline. They are never taken back: their channel ended with their
// reforkd.
class Orphans {
 public:
  Orphans(Loop& loop, Failures& failures, std::string recorder_directory);
  // Before the services start. Returns the highest worker id seen.
  core::WorkerId find(const core::DaemonConfig& config);
  bool any() const noexcept { return !living_.empty(); }
  void kill_all();
  void when_gone(std::function<void()> callback);  // once none is left; at once if there is none

 private:
  struct Orphan {
    Subject subject;
    std::shared_ptr<RecorderFile> recorder;
    base::UniqueFd pidfd;
    Loop::Source exit_source, deadline;
  };
  void settle(const Subject& subject, const std::shared_ptr<RecorderFile>& recorder, bool late);
  void follow(Orphan orphan, core::Millis deadline);
  void on_exit(Orphan& orphan);
  static void kill(Orphan& orphan);

  Loop& loop_;
  Failures& failures_;
  std::string directory_;
  std::vector<std::unique_ptr<Orphan>> living_;
  std::function<void()> when_gone_;
};

}  // namespace refork::supervisor
