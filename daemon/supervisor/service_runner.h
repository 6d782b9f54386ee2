#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/operations.h"
#include "core/service.h"
#include "os/cgroup.h"
#include "os/notify.h"
#include "supervisor/failures.h"
#include "supervisor/listeners.h"
#include "supervisor/loop.h"
#include "supervisor/watch.h"
#include "supervisor/worker_process.h"

namespace refork::supervisor {

// What all services share.
struct Shared {
  Loop& loop;
  Failures& failures;
  core::Service::NextId next_worker;
  core::Service::Random random;
  std::function<void(core::Event)> announce;  // fills in sequence and time
  std::function<void(core::WorkerId, std::string_view)> message;
  std::function<void()> changed;
  std::string recorder_directory;  // empty: recorders in memory only
  std::string notify_socket;       // for `ready: notify`
  std::function<void(const Subject&, const Finished&)> finished = {};
  os::OomWatch oom = {};
  std::function<std::size_t()> killed = {};  // workers that ended by somebody's SIGKILL, not yet reaped
};

// One service at work: feeds what happens to core::Service, and performs what that wants done. All policy is
// there.
class ServiceRunner : private Watch::Ward {
 public:
  using Done = core::Operations::Done;
  using Order = std::function<base::Result<core::JobId>(core::Service&, core::Time, core::Effects&)>;

  ServiceRunner(Shared& shared, core::ServiceConfig config);

  base::Result<void> open_listeners();
  base::Result<void> check_command() const;  // that it can be found, before anything is started
  void order(const Order& order, Done done);
  void kill_all();
  base::Result<void> send(core::WorkerId worker, std::string_view json);  // 0: to all
  bool notified(const os::Notification& notification);                    // false: none of its workers

  const core::Service& service() const override { return service_; }
  core::WorkerId in_slot(std::uint32_t slot) const;  // its current worker, 0 for none
  core::ServiceStatus status() const;
  void list_pids(std::vector<pid_t>& pids) const;
  std::size_t killed() const;
  void close() { listeners_.close(); }

 private:
  using Input = std::function<void(core::Service&, core::Time, core::Effects&)>;
  void feed(const Input& input) override;
  void perform(const core::Effect& effect);
  void rearm();

  void spawn(const core::Spawn& what);
  base::Result<std::shared_ptr<RecorderFile>> recorder_for(const recorder::Identity& identity);
  base::Result<void> start_process(WorkerProcess& process, const core::Spawn& what);
  void watch(WorkerProcess& process);
  void on_link(core::WorkerId worker);
  void collect(WorkerProcess& process, bool dead = false);
  void receive(WorkerProcess& process, std::size_t at_most);
  void on_message(WorkerProcess& process, const proto::Message& message);
  void on_spawn_result(core::WorkerId worker);
  void on_exit(core::WorkerId worker);
  void ended(const core::Ended& ended);
  void on_listener_reopened(const std::string& address);
  void announce(core::WorkerId worker, std::uint32_t slot, std::string type, std::string text);
  // for watch_
  std::optional<Watch::Patient> patient(core::WorkerId worker) const override;
  void report(const Subject& subject, proto::FailureRecord record, bool shows_query) override;
  void announce(const core::Worker& worker, std::string type, std::string text) override;
  void look_for_dump(core::WorkerId worker);
  void allow_core(const WorkerProcess& process, bool allowed) const;
  void drain_begins(core::WorkerId worker);
  void send_to(core::WorkerId worker, const proto::Message& message);
  WorkerProcess* find(core::WorkerId worker);
  core::WorkerStatus status_of(const core::Worker& worker) const;

  Shared& shared_;
  core::Service service_;
  Listeners listeners_;
  std::map<core::WorkerId, std::unique_ptr<WorkerProcess>> processes_;
  std::vector<std::unique_ptr<WorkerProcess>> ended_;  // until the next turn: their sources may be running
  std::map<core::JobId, Done> jobs_;
  std::shared_ptr<RecorderFile> spare_recorder_;
  std::deque<core::Effect> effects_;
  bool performing_ = false;
  std::uint64_t failures_ = 0;
  core::ServiceState shown_ = core::ServiceState::stopped;
  Loop::Source timer_;
  Watch watch_;
};

}  // namespace refork::supervisor
