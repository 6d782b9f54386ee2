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
#include "os/exit_log.h"
#include "os/fd_store.h"
#include "state/state.h"
#include "supervisor/failures.h"
#include "supervisor/handover.h"
#include "supervisor/listeners.h"
#include "supervisor/loop.h"
#include "supervisor/notifications.h"
#include "supervisor/unsafe_ends.h"
#include "supervisor/watch.h"
#include "supervisor/worker_cgroups.h"
#include "supervisor/worker_process.h"
#include "supervisor/worker_start.h"

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
  os::FdStore& fds;  // what outlives this process
  WorkerCgroups& cgroups;
  std::function<std::uint64_t()> next_listener;
  bool executed;  // this reforkd, by the one before
  Listeners::MakeWay make_way;
  std::function<void(const std::string& service, std::string state)> save;
  std::function<void(const Subject&, const Finished&)> finished;
  // Workers beside this one that ended by somebody's SIGKILL, not yet reaped.
  std::function<std::size_t(core::WorkerId)> killed_beside;
  std::function<void()> end_is_safe;      // all that one ended worker left is on disk
  std::string notify_path;                // of the sockets for `ready: notify`, before a service's name
  std::optional<os::ExitLog> exits = {};  // of those that somebody else reaps
  os::OomWatch oom = {};
};

// One service at work: feeds what happens to core::Service, and performs what that wants done. All policy is
// there.
class ServiceRunner : private Watch::Ward {
 public:
  using Done = core::Operations::Done;
  using Order = std::function<base::Result<core::JobId>(core::Service&, core::Time, core::Effects&)>;

  // `configured`: its workers by the configuration, before they were scaled.
  ServiceRunner(Shared& shared, core::ServiceConfig config, std::uint32_t configured);

  base::Result<void> open_listeners(const std::vector<state::Listener>& before, Handover& handover);
  void open_notifications(Handover& handover);
  base::Result<void> check_command() const;  // that it can be found, before anything is started
  // What an earlier reforkd left of this service: adopt() takes it, resume() goes on with it.
  void adopt(state::Service before, Handover& handover);
  void adopt_strangers(Handover& handover);  // instead of it, where there is nothing that could be read
  // `settled`: once it is as it is configured now, or has failed to become so.
  void resume(const std::function<void()>& settled = {});
  bool adopted() const noexcept { return before_.has_value() || resumed_; }
  void save();
  void failures_changed() { dirty_ = true, save(); }                          // what is known of them
  bool idle() const noexcept { return processes_.empty() && ends_.empty(); }  // nothing is left of it
  // `accepted`: called once it is certain that the order makes sense, before anything comes of it.
  void order(const Order& order, Done done, const std::function<void()>& accepted = {});
  void cancel_orders(const base::Error& why);
  void kill_all();
  base::Result<void> send(core::WorkerId worker, std::string_view json);  // 0: to all

  const core::Service& service() const override { return service_; }
  core::WorkerId in_slot(std::uint32_t slot) const;  // its current worker, 0 for none
  core::ServiceStatus status() const;
  bool has_process(core::WorkerId worker) const { return processes_.contains(worker); }
  void list_pids(std::vector<pid_t>& pids) const;
  std::size_t killed_beside(core::WorkerId worker) const;
  // Removes what was created, and leaves nothing to a next reforkd, but perhaps the listeners.
  void close(bool keep_listeners);
  void list_sockets(std::vector<int>& fds) const;

 private:
  using Input = std::function<void(core::Service&, core::Time, core::Effects&)>;
  void feed(const Input& input) override;
  void perform(const core::Effect& effect);
  void rearm();

  void spawn(const core::Spawn& what);
  void watch(WorkerProcess& process);
  void drop_link(WorkerProcess& process);
  void guard_recorder(const Subject& subject, KeptRecorder& recorder);
  void on_spawn_result(core::WorkerId worker);
  void look_for_dump(core::WorkerId worker);
  void allow_core(const WorkerProcess& process, bool allowed) const;
  WorkerProcess* find(core::WorkerId worker);
  void on_listener_reopened(const std::string& address);
  void announce(core::WorkerId worker, std::uint32_t slot, core::EventType type, std::string text);
  // for watch_
  std::optional<Watch::Patient> patient(core::WorkerId worker) const override;
  void report(const Subject& subject, proto::FailureRecord record, bool shows_query) override;
  void announce(const core::Worker& worker, core::EventType type, std::string text) override;

  // service_messages.cc
  void on_notification(const os::Notification& notification);
  void on_link(core::WorkerId worker);
  void receive(WorkerProcess& process, std::size_t at_most);
  void on_message(WorkerProcess& process, const proto::Message& message);
  void greet(WorkerProcess& process, const proto::Hello& hello);
  void send_to(core::WorkerId worker, const proto::Message& message);
  void collect(WorkerProcess& process, bool dead = false);
  void drain_begins(core::WorkerId worker);

  // service_ends.cc
  void on_exit(core::WorkerId worker);
  static core::Exit exit_of(const WorkerProcess& process, const os::ExitStatus& status);
  std::optional<os::ExitStatus> exit_status(const WorkerProcess& process) const;
  void await_status(WorkerProcess& process);
  void ended(const core::Ended& ended);
  void give_up(const state::End& end);
  void bury();

  // service_adoption.cc
  state::Service state() const;
  state::Process state_of(const WorkerProcess& process) const;
  void adopt_process(const state::Process& before, Handover& handover);
  void adopt_unknown(const WorkerKey& key, Handover& handover);
  void adopt_end(state::End end, Handover& handover);
  std::shared_ptr<KeptRecorder> adopt_recorder(const Subject& subject, Handover& handover);
  void resume_process(core::WorkerId worker);
  static bool never_ran(const WorkerProcess& process, const os::ExitStatus& status);
  void withdraw(core::WorkerId worker);
  void relieve_superseded();
  bool follow_configuration(const state::Service& before, const std::function<void()>& settled);
  void tell_again(WorkerProcess& process, const core::Worker& worker);

  Shared& shared_;
  core::Service service_;
  Listeners listeners_;
  Notifications notifications_;
  WorkerProcesses processes_;
  std::vector<std::unique_ptr<WorkerProcess>> ended_;  // until the next turn: their sources may be running
  std::map<core::JobId, Done> jobs_;
  const std::uint32_t configured_;
  const std::string wanted_print_;        // of what workers are to be started with
  std::string print_;                     // of what they were started with
  std::optional<state::Service> before_;  // between adopt() and resume()
  bool before_known_ = true;              // it was read, not made up
  bool resumed_ = false;
  bool dirty_ = false;  // something changed that is not saved
  UnsafeEnds ends_;
  std::deque<core::Effect> effects_;
  bool performing_ = false;
  core::ServiceState shown_ = core::ServiceState::stopped;
  Loop::Source timer_;
  WorkerStart start_;
  Watch watch_;
};

}  // namespace refork::supervisor
