#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "os/spawn.h"
#include "supervisor/loop.h"
#include "supervisor/symbols.h"

namespace refork::supervisor {

// refork-symbolizer beside reforkd's own executable, otherwise where an installation has it from there, and
// at last where it was to be installed.
std::vector<std::string> symbolizer_places();

// Asks refork-symbolizer, one process for each user that workers run as, started when it is needed. Its
// files may be anybody's, so it may die of them, hang or lie: that costs names, never a record, and never
// time of the loop.
class Symbolizer : public Symbols {
 public:
  static constexpr std::size_t max_waiting = 256;                     // questions; more get no answer
  static constexpr std::chrono::milliseconds restart_interval{1000};  // between two starts for one user

  struct Setup {
    std::vector<std::string> programs;   // the first that can be executed is it
    std::vector<std::string> arguments;  // of it
    // The user a service's workers run as; empty: reforkd's own.
    std::function<std::string(const std::string& service)> user_of;
    // A helper that was asked and says nothing for so long is ended: stopped, or wrong, it would not end
    // itself. Longer than it takes for one question at most.
    std::chrono::milliseconds silence{25000};
  };
  Symbolizer(Loop& loop, Setup setup);
  ~Symbolizer() override;

  void ask(const Subject& subject, const proto::FailureRecord& record, Reply reply) override;
  void list_pids(std::vector<pid_t>& pids) const;  // of the helpers: they are reaped here

 private:
  struct Question {
    std::uint64_t id = 0;
    std::string packet;
    base::UniqueFd executable;  // of the process that it is about, a path only
    core::Time deadline;
    Reply reply;  // none: it was answered, or is too late
  };
  struct Helper {
    std::string user;
    os::Spawned spawned;
    base::UniqueFd socket;  // none: it does not run
    Loop::Source answer_source, exit_source;
    std::optional<core::Time> started;
    core::Time heard;                   // when it answered last, or was asked after a pause
    std::deque<Question> sent, unsent;  // in order
  };
  std::string user_for(const std::string& service) const;
  Helper& helper_of(const std::string& service);
  void work(Helper& helper);
  base::Result<void> start(Helper& helper);
  base::Result<os::SpawnPlan> plan(const Helper& helper) const;
  void send(Helper& helper);
  void receive(Helper& helper);
  void on_exit(Helper& helper);
  void stop(Helper& helper);
  void give_up(std::deque<Question>& questions);
  void on_time();
  void rearm();
  void complain(const std::string& why);

  Loop& loop_;
  Setup setup_;
  std::map<std::string, std::string> users_;                // by service
  std::map<std::string, std::unique_ptr<Helper>> helpers_;  // by user
  std::uint64_t last_id_ = 0;
  bool complained_ = false;  // since the last answer
  Loop::Source timer_;
};

}  // namespace refork::supervisor
