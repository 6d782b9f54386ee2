#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/operations.h"
#include "core/service_config.h"
#include "core/status_line.h"
#include "os/fd_store.h"
#include "state/state.h"
#include "store/store.h"
#include "supervisor/event_log.h"
#include "supervisor/failures.h"
#include "supervisor/handover.h"
#include "supervisor/keeper_watch.h"
#include "supervisor/loop.h"
#include "supervisor/manager.h"
#include "supervisor/output_tail.h"
#include "supervisor/saved_state.h"
#include "supervisor/service_runner.h"
#include "supervisor/services.h"
#include "supervisor/symbolizer.h"

namespace refork::supervisor {

// All services of a reforkd, and what operators ask of them.
class Supervisor : public core::Operations {
 public:
  struct Setup {
    core::DaemonConfig config;
    std::string config_name;  // file, or "command line"
    std::string control;      // the socket of reforkctl; those of services are beside it
    os::FdStore& fds;
    std::vector<os::InheritedFd> inherited;
    KeeperWatch::Setup keeper;
    // Executes reforkd anew, once the loop has ended; an error if that cannot be.
    std::function<base::Result<void>()> reexec;
    std::string instance;  // tells this reforkd, in all its lives, from others on the machine
    std::optional<core::Millis> watchdog = {};  // of the manager
    bool check_commands = false;  // one that cannot be found is an error, not a start that fails
    bool executed = false;        // by the reforkd before, as the same process
  };
  Supervisor(Loop& loop, store::Store& store, Setup setup);

  // Takes what an earlier reforkd left, opens all listeners and checks all commands; nothing is started, and
  // nothing of an earlier reforkd is touched, if one of them fails.
  base::Result<void> prepare();
  void publish_to(core::Publisher* publisher) { events_.publish_to(publisher); }
  // Starts everything, and tells the manager once each service is up or has failed to be.
  void run();
  void shut_down(std::function<void()> done);  // drains everything; called again: kills
  // `ended`: called once no service is left of which a worker would be started again.
  void on_give_up(std::function<void()> ended) { given_up_ = std::move(ended); }
  void reap_strangers();  // on SIGCHLD: what workers left behind
  // Removes what was created; but for the listeners, where the next reforkd is to have them.
  void close(bool keep_listeners);
  // At what this configuration has beside what is listened on already.
  base::Result<void> can_listen(const core::DaemonConfig& config) const;
  void leave();  // instead of close(): everything stays for the next reforkd
  Handover& handover() noexcept { return handover_; }
  const KeeperWatch& keeper() const noexcept { return keeper_; }
  Manager& manager() noexcept { return manager_; }

  core::DaemonStatus status() override;
  base::Result<core::Why> why(std::string_view target) override;
  void asked(std::string_view verb, std::string_view by) override;
  void start(std::string_view service, Done done) override;
  void stop(std::string_view service, Done done) override;
  void restart(std::string_view service, Done done) override;
  void reload(std::string_view service, Done done) override;
  void scale(std::string_view service, std::uint32_t workers, Done done) override;
  void drain(std::string_view target, Done done) override;
  void kill(std::string_view target, Done done) override;
  void send(std::string_view target, std::string_view json, Done done) override;
  void failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) override;
  void top_failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) override;
  void failure(std::string_view id, Reply<std::string> reply) override;
  void clear_failures(std::string_view service, Reply<std::uint64_t> reply) override;
  void reexec(Done done) override;

 private:
  Shared share();
  void order(std::string_view service, const ServiceRunner::Order& order, Done done);
  using WorkerOrder =
      std::function<base::Result<core::JobId>(core::Service&, core::WorkerId, core::Time, core::Effects&)>;
  void order_worker(std::string_view target, const WorkerOrder& order, Done done);
  void tell(const std::string& asked, const ServiceRunner& runner, core::WorkerId worker);
  void look_for_give_up();
  void end_unknown_workers();
  void take_exits();
  std::vector<state::Listener> unwanted_listeners() const;
  bool make_way(const std::string& address);
  void refuse_given();
  base::Result<void> open_services();
  base::Result<void> open_service(core::ServiceConfig config, std::optional<state::Service> before,
                                  Services::Runners& to);
  void adopt_former_services();
  void drop_former_services();
  void on_keeper_replaced(pid_t pid);
  void on_store_status();
  core::WorkerId next_worker();
  void end_unknown_cgroups();
  std::string user_of(const std::string& service) const;
  std::string status_line();
  core::Time latest_up() const;
  core::Time latest_stop() const;
  void resume_services(const std::function<void()>& one_less);

  Loop& loop_;
  store::Store& store_;
  Setup setup_;
  std::uint64_t started_ms_;
  const core::Time started_;
  core::RecentFailures recent_failures_;
  Symbolizer symbolizer_;
  EventLog events_;
  Failures failures_;
  OutputTail output_tail_;
  Loop::Source store_source_, oom_source_;
  SavedState state_;
  WorkerCgroups cgroups_;
  Shared shared_;
  Handover handover_;
  KeeperWatch keeper_;
  Manager manager_;
  Loop::Source failures_forgotten_;
  state::Daemon before_;                   // of which services have yet to take their part
  std::vector<state::Listener> unwanted_;  // of before, that any service may take
  std::vector<base::UniqueFd> unknown_;    // pidfds of workers that are to end
  Loop::Source unknown_deadline_;
  Services services_;
  core::WorkerId reserved_worker_ = 0;
  std::mt19937_64 random_;
  std::string asked_;  // the order that comes next, and who gives it
  bool shutting_down_ = false;
  std::function<void()> given_up_;
};

}  // namespace refork::supervisor
