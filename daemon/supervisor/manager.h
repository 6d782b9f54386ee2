#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "core/pace.h"
#include "os/fd_store.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// What reforkd tells of itself to whoever manages it, as sd_notify(3) has it: that it is up, reloads or
// stops, how it is, that its loop runs, and that what takes long goes on. Has a timer only where something is
// due.
class Manager {
 public:
  // A long start or stop is prolonged this often, by so much each time.
  static constexpr core::Millis extend_every{5000}, extend_by{20000};
  // STATUS is told at most so often.
  static constexpr core::Millis status_interval{500};

  struct Setup {
    std::optional<core::Millis> watchdog;  // the manager ends who does not tell so often that it lives
    std::function<std::string()> status;   // the line as it is now
  };
  Manager(Loop& loop, os::FdStore& to, Setup setup);
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Prolonged until up(); at `latest` it is up in any case, so that nobody waits for ever.
  void starting(core::Time latest);
  void up();
  void reloading();  // until the next reforkd's up()
  void stopping(core::Time latest);
  void status_changed();  // cheap; the line is asked for when it is told

 private:
  void extend();
  void tell_status();
  void beat();

  os::FdStore& to_;
  const Setup setup_;
  bool up_ = false, status_due_ = false;
  std::string told_;
  std::optional<core::Time> status_told_;
  core::Time latest_;
  Loop::Source status_timer_, extend_timer_, watchdog_timer_;
};

// $WATCHDOG_USEC, if it is meant for this process or for `keeper`, which passes on what it hears.
std::optional<core::Millis> watchdog_of_manager(pid_t keeper);

}  // namespace refork::supervisor
