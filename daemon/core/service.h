#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/effects.h"
#include "core/pace.h"
#include "core/service_config.h"
#include "core/status.h"
#include "core/worker_life.h"

namespace refork::core {

// SIGKILL follows a linked worker's deadline after this long, should it not have left by itself.
inline constexpr Millis kill_grace{500};
// SIGKILL is sent again this often, for a process that cannot be interrupted now.
inline constexpr Millis kill_again{1000};
// A worker whose channel is closed but which lives on is expelled after this long.
inline constexpr Millis channel_grace{1000};
// `ready: exec` takes a program for ready as soon as it runs; one that lives shorter than this did not boot.
inline constexpr Millis exec_settled{1000};
inline constexpr std::uint32_t drains_a_worker =
    10;                                             // the default restart budget: this many times the workers
inline constexpr std::uint32_t max_workers = 1024;  // of one service
// A worker that said that it crashed has this long to end or to begin a core dump; during one, it is looked
// at again this often, and has this long in all.
inline constexpr Millis crash_grace{2000};
inline constexpr Millis dump_look_again{1000};
inline constexpr Millis dump_bound{600000};
inline constexpr Millis dumps_window{3600000};  // of `core_dumps`
// A worker's own limits for being recycled are within this share of the service's.
inline constexpr double recycle_jitter = 0.1;
// Boot failures are forgotten after this long without one.
inline constexpr Millis healthy_after{60000};

// How a process ended.
struct Exit {
  std::optional<int> code, signal;
  bool core = false;
  std::string boot_error;  // it never ran: "exec /usr/bin/web: No such file or directory"
  bool oom = false;        // the kernel says that it killed it for want of memory
  std::string core_file = {};
  std::size_t cut = 0;  // requests that it left without an answer
};

// What a worker has used up.
struct Usage {
  std::uint64_t served = 0;  // requests
  std::uint64_t memory = 0;  // bytes resident
};

// One worker. `state` is where it is, `wanted_gone` and `requested` what is wanted, `why` the sentence for
// people.
struct Worker {
  WorkerId id = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 1;
  ReadyBy ready = ReadyBy::library;  // how it was started, whatever its service says by now
  WorkerState state = WorkerState::starting;
  Time since;  // it was started
  std::optional<Time> ready_at;
  std::optional<Time> deadline;  // of the state it is in
  std::optional<Time> drain_began;
  std::optional<DrainReason> requested;    // why it drains; the first reason stays
  std::optional<DrainReason> wanted_gone;  // it serves, but is to be drained once that is possible
  bool tainted = false;                    // has had an error
  bool paid = false;                       // its drain has drawn on the budget
  bool expelled = false;                   // no channel any more
  bool announced_end = false;              // sent its last message
  bool hit_deadline = false;
  bool killed_by_order = false;
  bool kill_sent = false;   // SIGKILL, from here
  bool terminated = false;  // it has recorded that std::terminate was called
  bool crash_recorded = false;
  bool contained = false;           // it crashed, and its other threads finish
  std::optional<Time> crashed_at;   // it crashed, and dies
  std::optional<Time> gone_at;      // its process ended, and how is not known yet
  bool hung = false;                // its loop does not run
  double recycle_factor = 1;        // its own limits are the service's times this
  std::optional<Time> recycle_due;  // since when it is to be recycled
  std::string recycle_why;
  bool failed_boot = false;  // its start was given up
  std::optional<Time> channel_lost;
  std::string why;
};

// It has a channel, or had one.
inline bool linked(const Worker& worker) { return worker.ready == ReadyBy::library; }

// One of the places 0 .. N-1.
struct Slot {
  WorkerId current = 0;             // the newest worker in it; 0: none
  std::uint32_t boot_failures = 0;  // in a row
  std::optional<Time> next_start;   // in backoff
  std::string why;                  // the last boot failure
  bool given_up = false;
  bool served = false;  // had a worker before: the next one is a replacement
};

struct ServiceSnapshot;

// One service: its slots, its workers, and all policy. Pure: time comes in, actions go out as values.
class Service {
 public:
  using NextId = std::function<WorkerId()>;
  using Random = std::function<double()>;  // uniform in [0, 1)

  Service(ServiceConfig config, NextId next_id, Random random);

  // Orders. Each returns the job whose end a JobDone tells; an error at once if it makes no sense.
  base::Result<JobId> start(Time now, Effects& out);
  base::Result<JobId> stop(Time now, Effects& out);
  base::Result<JobId> reload(Time now, Effects& out);
  base::Result<JobId> scale(std::uint32_t workers, Time now, Effects& out);
  base::Result<JobId> drain(WorkerId worker, Time now, Effects& out);
  base::Result<JobId> kill(WorkerId worker, Time now, Effects& out);
  // All current workers are replaced, without a job: their listener was broken by one of them.
  void replace_all(const std::string& why, Time now, Effects& out);
  // The configuration is that of its workers: what a reload of another one came to is past.
  void forget_failed_reload() { last_reload_error_.clear(); }

  // What happened. Unknown workers are ignored: their end came first.
  void on_ready(WorkerId worker, Time now, Effects& out);
  void on_failure(WorkerId worker, const std::string& failure, Then then, Time now, Effects& out);
  // Its flight recorder tells of std::terminate: the abort that follows is no failure of its own.
  void on_terminate_recorded(WorkerId worker);
  // A fatal signal. Contained: the other threads finish first.
  void on_crash(WorkerId worker, bool contained, Time now, Effects& out);
  // The crash has a record of its own: the end that follows is no further failure.
  void on_crash_recorded(WorkerId worker);
  void on_dump_seen(WorkerId worker, bool dumping, Time now, Effects& out);
  // Its loop does not run any more; `why` says since when.
  void on_hung(WorkerId worker, const std::string& why, Time now, Effects& out);
  void on_request_timeout(WorkerId worker, const std::string& what, Time now, Effects& out);
  void on_usage(WorkerId worker, const Usage& usage, Time now, Effects& out);
  void on_drain_begun(WorkerId worker, DrainReason reason, Time now, Effects& out);
  void on_disconnect(WorkerId worker, bool deadline, Time now, Effects& out);
  void on_channel_closed(WorkerId worker, Time now, Effects& out);
  void on_violation(WorkerId worker, const std::string& what, Time now, Effects& out);
  // Its process has ended, and on_exit() follows as soon as somebody knows how.
  void on_gone(WorkerId worker, Time now, Effects& out);
  void on_exit(WorkerId worker, const Exit& exit, Time now, Effects& out);
  void tick(Time now, Effects& out);

  std::optional<Time> next() const;  // when tick() is due

  // Views.
  const ServiceConfig& config() const { return config_; }
  ServiceState state() const;
  std::string why() const;
  std::uint32_t generation() const { return generation_; }
  const std::map<WorkerId, Worker>& workers() const { return workers_; }
  const std::vector<Slot>& slots() const { return slots_; }
  std::uint64_t replacements() const { return replacements_; }
  bool wanted() const { return wanted_; }
  bool dumps_allowed() const { return dumps_allowed_; }
  // In a storm: when the budget has its next token.
  std::optional<Time> next_token() const { return stormy_ ? next_token_ : std::nullopt; }
  const std::string& reload_error() const { return last_reload_error_; }

 private:
  friend ServiceSnapshot take_snapshot(const Service& service);  // core/service_state.h
  friend void restore(Service& service, ServiceSnapshot snapshot, Time now, Effects& out);
  friend void relieve(Service& service, WorkerId worker, Time now, Effects& out);
  friend void withdraw(Service& service, WorkerId worker, Time now, Effects& out);
  enum class JobKind {
    start,
    stop,
    reload,
    scale,
    end_of_worker
  };
  struct Job {
    JobId id;
    JobKind kind;
    WorkerId worker = 0;
  };
  // A reload under way: slots below `next_slot` are done, `candidate` is being tried in `next_slot`.
  struct Reload {
    std::uint32_t next_slot = 0;
    std::uint32_t generation = 0;
    WorkerId candidate = 0;
    WorkerId old = 0;                    // the one it is to relieve
    std::optional<Time> probation_ends;  // of the first candidate only
  };

  // service.cc: the acts of the table
  // What an event brings along, as far as its act needs it.
  struct Detail {
    std::string text{};  // failure id, or why
    std::optional<DrainReason> reason{};
    const Exit* exit = nullptr;
  };
  Worker* find(WorkerId worker);
  void happen(WorkerId worker, WorkerEvent event, const Detail& detail, Time now, Effects& out);
  void perform(Act act, Worker& worker, const Detail& detail, Time now, Effects& out);
  void become_ready(Worker& worker, Time now, Effects& out);
  void judge(Worker& worker, const std::string& failure, Time now, Effects& out);
  void enter_draining(Worker& worker, std::optional<DrainReason> reason, Time now, Effects& out);
  void leave_unready(Worker& worker, Time now, Effects& out);
  void tell_to_drain(Worker& worker, Time now, Effects& out);
  void expel(Worker& worker, const std::string& why, Time now, Effects& out);
  void kill_now(Worker& worker, Time now, Effects& out);
  void end(Worker& worker, const Exit& exit, Time now, Effects& out);
  std::optional<Time> due(const Worker& worker) const;
  Millis drain_time(const Worker& worker) const;
  void settle(Time now, Effects& out);  // after every input: slots, waiting drains, reload, jobs
  std::string unready_hint() const;

  // service_slots.cc: which slot gets a worker when, and which drain may begin
  WorkerId spawn(std::uint32_t slot, std::uint32_t generation, Time now, Effects& out);
  void fill_slots(Time now, Effects& out);
  void note_boot_failure(const Worker& worker, const std::string& why, Time now, Effects& out);
  void want_gone(Worker& worker, DrainReason reason, Time now, Effects& out);
  bool may_drain(Worker& worker, Time now, Effects& out);
  void rotate_waiting(Time now, Effects& out);
  void leave_slot(Worker& worker, Time now);
  void note_health(const Worker& worker, Time now);
  std::size_t accepting() const;
  std::size_t draining_after_errors() const;

  // service_crash.cc: fatal signals, hangs and core dumps
  void lose(Worker& worker, Time now, Effects& out);
  void vacate(Worker& worker, Time now, Effects& out);
  void follow_fault(Worker& worker, Time now, Effects& out);
  void note_dump(Time now, Effects& out);
  void settle_dumps(Time now, Effects& out);

  // service_recycle.cc: workers replaced without a failure
  void settle_recycling(Time now, Effects& out);
  void mark_old(Time now);
  bool recycling_waits() const;
  std::optional<Time> recycle_age_reached(const Worker& worker) const;

  // service_jobs.cc
  JobId add_job(JobKind kind, WorkerId worker = 0);
  void cancel_jobs(const std::string& why, Effects& out);
  bool probed() const;  // the candidate of the reload serves
  void settle_reload(Time now, Effects& out);
  void reload_candidate_failed(const std::string& why, Effects& out);
  void end_reload(base::Result<void> result, Effects& out);
  void settle_jobs(Effects& out);
  std::optional<base::Result<void>> outcome(const Job& job) const;

  void announce(const Worker& worker, EventType type, std::string text, Effects& out) const;

  ServiceConfig config_;
  NextId next_id_;
  Random random_;
  TokenBucket budget_;
  bool wanted_ = false;        // it is to run
  bool started_once_ = false;  // all slots have been ready since start()
  std::uint32_t generation_ = 1;
  std::uint64_t replacements_ = 0;
  std::vector<Slot> slots_;
  std::map<WorkerId, Worker> workers_;
  std::optional<Reload> reload_;
  std::string last_reload_error_;
  bool stormy_ = false;             // the budget was empty when a drain asked for it ...
  std::optional<Time> next_token_;  // ... until then
  std::vector<Time> dumps_;         // of the last hour, the oldest first
  bool dumps_allowed_;
  std::vector<Job> jobs_;
  JobId last_job_ = 0;
};

}  // namespace refork::core
