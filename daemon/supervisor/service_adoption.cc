// A service between two lives of reforkd: what is written down for the next one, and how that one goes on.
// Whatever was under way is done again where it may not have been done: the answer to a message that is still
// in its channel, an end that is not known to be on disk, an order to drain. All of that is harmless twice.
#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <iterator>

#include "core/service_state.h"
#include "log/log.h"
#include "supervisor/service_runner.h"
#include "supervisor/spawn_plan.h"

namespace refork::supervisor {

// ---- out

state::Process ServiceRunner::state_of(const WorkerProcess& process) const {
  state::Process kept;
  kept.worker = process.subject.worker;
  kept.slot = process.subject.slot;
  kept.generation = process.subject.generation;
  kept.pid = process.subject.pid;
  kept.start_time = process.start_time;
  kept.started_ms = process.subject.started_ms;
  kept.served_before_drain = process.served_before_drain;
  kept.greeted = process.link && process.link->greeted();
  kept.told_to_go = process.told_to_go;
  kept.boot_error = process.boot_error;
  kept.status = process.status;
  kept.output = process.subject.output;
  kept.output_from = process.subject.output_from;
  kept.output_to = process.subject.output_to;
  kept.unsafe_reports = shared_.failures.unsafe_reports(process.subject.worker);
  kept.reports = shared_.failures.reports(process.subject.worker);
  return kept;
}

state::Service ServiceRunner::state() const {
  const auto& config = service_.config();
  state::Service kept;
  kept.name = config.name;
  kept.print = print_;
  kept.wanted_print = wanted_print_;
  kept.configured = configured_;
  kept.ready = config.ready;
  kept.drain_deadline = config.drain_deadline;
  kept.failures = shared_.failures.tally().failures(config.name);
  kept.shown = shown_;
  kept.core = core::take_snapshot(service_);
  kept.listeners = listeners_.state();
  for (const auto& [id, process] : processes_) kept.processes.push_back(state_of(*process));
  for (const auto& [id, end] : ends_) kept.ends.push_back(end);
  const auto met = [&](core::WorkerId worker) {
    auto all = shared_.failures.tally().met(worker);
    std::ranges::move(all, std::back_inserter(kept.met));
  };
  for (const auto& [id, process] : processes_) met(id);
  for (const auto& [id, end] : ends_) met(id);
  return kept;
}

void ServiceRunner::save() {
  if (before_ || performing_) return;  // half of it would be lost; what performs saves at its end
  if (!std::exchange(dirty_, false)) return;
  shared_.save(service_.config().name, state::encode(state()));
}

// ---- in: the descriptors

void ServiceRunner::adopt(state::Service before, Handover& handover) {
  before_ = std::move(before);  // first: nothing is saved before all of it was taken
  shared_.failures.tally().assume(before_->name, before_->failures, before_->met);
  for (const auto& process : before_->processes) adopt_process(process, handover);
  for (auto& end : std::exchange(before_->ends, {})) adopt_end(std::move(end), handover);
  for (const auto& key : handover.workers(service_.config().name, recorder_word))
    if (handover.has(worker_fd(key.service, key.slot, key.worker, pidfd_word))) adopt_unknown(key, handover);
}

// What an earlier reforkd knew cannot be read: its workers finish what they have, under their names, and
// others take their places.
void ServiceRunner::adopt_strangers(Handover& handover) {
  const auto& config = service_.config();
  const auto keys = handover.workers(config.name, recorder_word);
  if (keys.empty()) return;
  log::warning("service " + config.name + ": " + std::to_string(keys.size()) +
               " workers of an earlier reforkd of which nothing is known; they drain");
  state::Service before;
  before.name = config.name;
  before.print = print_;
  before.configured = configured_;
  before.ready = config.ready;
  before.drain_deadline = config.drain_deadline;
  before.core = core::take_snapshot(service_);
  before.core.wanted = true;
  before_known_ = false;
  adopt(std::move(before), handover);
}

// One whose memory this reforkd cannot read leaves nothing but its end.
std::shared_ptr<KeptRecorder> ServiceRunner::adopt_recorder(const Subject& subject, Handover& handover) {
  const auto name = worker_fd(subject.service, subject.slot, subject.worker, recorder_word);
  if (auto memory = handover.take(name, shared_.fds)) {
    auto recorder = KeptRecorder::adopt(std::move(memory));
    if (recorder) {
      guard_recorder(subject, **recorder);
      return *recorder;
    }
    shared_.fds.forget(name);
    log::warning("the flight recorder " + name + " cannot be used: " + recorder.error().what);
  }
  auto empty = KeptRecorder::create({});
  if (!empty) return nullptr;
  guard_recorder(subject, **empty);
  return *empty;
}

void ServiceRunner::adopt_process(const state::Process& before, Handover& handover) {
  const auto& name = service_.config().name;
  auto process = std::make_unique<WorkerProcess>();
  process->subject = {name,          before.slot,        before.worker,
                      before.pid,    before.generation,  before.started_ms,
                      before.output, before.output_from, before.output_to};
  process->start_time = before.start_time;
  process->served_before_drain = before.served_before_drain;
  process->told_to_go = before.told_to_go;
  process->boot_error = before.boot_error;
  process->status = before.status;
  process->spawned.pid = before.pid;
  const auto fd = [&](std::string_view what) {
    return handover.take(worker_fd(name, before.slot, before.worker, what), shared_.fds);
  };
  process->spawned.pidfd = fd(pidfd_word);
  if (!process->spawned.pidfd && before.pid > 0) {
    // Not by its pid alone: that may be somebody else's by now.
    auto pidfd = os::open_pidfd(before.pid);
    if (pidfd && os::start_time(before.pid) == before.start_time) {
      process->spawned.pidfd = *std::move(pidfd);
      shared_.fds.keep(fd_name(*process, pidfd_word), process->spawned.pidfd.get());
    }
  }
  process->recorder = adopt_recorder(process->subject, handover);
  const auto known = std::ranges::find(before_->core.workers, before.worker, &core::Worker::id);
  const bool linked =
      (known == before_->core.workers.end() ? before_->ready : known->ready) == core::ReadyBy::library;
  if (auto channel = fd(channel_word); channel && linked)
    process->link = link::WorkerLink::adopt(proto::Channel(std::move(channel)), before.greeted);
  shared_.failures.assume_reports(before.worker, before.reports);
  processes_.emplace(before.worker, std::move(process));
}

// Started when the last of the state had been written: it stands in its slot, and has still to say that it is
// ready.
void ServiceRunner::adopt_unknown(const WorkerKey& key, Handover& handover) {
  auto& core = before_->core;
  state::Process process;
  process.worker = key.worker;
  process.slot = key.slot;
  process.generation = core.generation;
  process.started_ms = unix_ms();
  process.greeted = !before_known_;  // it has said so to somebody
  adopt_process(process, handover);
  WorkerProcess& adopted = *processes_.at(key.worker);
  // By its recorder, in which it may have written what it likes.
  const auto identity =
      adopted.recorder ? adopted.recorder->reader().identity() : base::Error{ENODATA, "no recorder"};
  if (identity && identity->worker == key.worker) {
    if (identity->generation == core.generation + 1) adopted.subject.generation = identity->generation;
    adopted.subject.started_ms = identity->started_ms;
  }
  adopted.subject.pid = adopted.spawned.pid = os::pid_of(adopted.spawned.pidfd.get());
  adopted.start_time = os::start_time(adopted.subject.pid);
  adopted.perhaps_never_ran = !os::has_executed(adopted.subject.pid);
  const auto add = before_known_ ? core::add_started : core::add_stranger;
  add(core, service_.config(), key.worker, key.slot, adopted.subject.generation, core::Clock::now());
  core.workers.back().ready = before_->ready;
  before_->processes.push_back(state_of(adopted));
}

void ServiceRunner::adopt_end(state::End end, Handover& handover) {
  const auto& process = end.process;
  const Subject subject{service_.config().name, process.slot,       process.worker, process.pid,
                        process.generation,     process.started_ms, process.output, process.output_from,
                        process.output_to};
  // Ended, but not buried.
  for (const auto word : {pidfd_word, channel_word}) {
    const auto name = worker_fd(subject.service, process.slot, process.worker, word);
    if (handover.take(name, shared_.fds)) shared_.fds.forget(name);
  }
  auto recorder = adopt_recorder(subject, handover);
  if (!recorder) return;
  const auto id = process.worker;
  end.encoded = state::encode(end);
  const auto& kept = ends_.add(std::move(end));
  shared_.failures.assume_reports(id, kept.process.reports);
  for (const auto& report : kept.process.unsafe_reports) shared_.failures.report_again(subject, report);
  shared_.failures.collect(subject, recorder, true);
  shared_.failures.end(subject, kept.ended, recorder, kept.process.served_before_drain.value_or(0));
}

// ---- in: what happens next

void ServiceRunner::resume(const std::function<void()>& settled) {
  if (!before_) return;
  const auto before = *std::exchange(before_, std::nullopt);
  resumed_ = true;
  shown_ = before.shown;
  const auto count = before.processes.size();
  announce(0, 0, "reforkd-started",
           std::string(shared_.executed ? "reforkd executed itself anew" : "reforkd was started again") +
               ", and goes on with " + std::to_string(count) + (count == 1 ? " worker" : " workers"));
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    core::restore(service, before.core, now, out);
  });
  for (const auto& process : before.processes) {
    try {
      if (const auto* adopted = find(process.worker))
        for (const auto& report : process.unsafe_reports)
          shared_.failures.report_again(adopted->subject, report);
      resume_process(process.worker);
    } catch (const std::exception& error) {
      log::error(before.name + " worker " + std::to_string(process.worker) + ": " + error.what());
    }
  }
  relieve_superseded();
  const bool reloads = service_.wanted() && follow_configuration(before, settled);
  if (!reloads && settled) settled();
}

// Their replacements were started, and reforkd died before it had written down why. What they say themselves
// counts first: a failure that nobody has answered.
void ServiceRunner::relieve_superseded() {
  std::vector<core::WorkerId> all;
  for (const auto& [id, process] : processes_)
    if (core::superseded(service_, id) && !os::has_ended(process->spawned.pidfd.get())) all.push_back(id);
  for (const auto id : all) {
    if (auto* process = find(id)) receive(*process, link::message_burst);
    feed([id](core::Service& s, core::Time now, core::Effects& out) { core::relieve(s, id, now, out); });
  }
}

// The workers are those of another configuration: they are, as long as a reload has not replaced them all.
// True: that has begun.
bool ServiceRunner::follow_configuration(const state::Service& before, const std::function<void()>& settled) {
  if (before.print == print_) {
    // Whoever took another configuration back has settled what its reload came to.
    if (before.wanted_print != print_) service_.forget_failed_reload();
    return false;
  }
  const auto now_wanted = std::exchange(print_, before.print);
  log::notice("service " + service_.config().name + " is configured otherwise now: it is reloaded");
  order([](core::Service& s, core::Time now, core::Effects& out) { return s.reload(now, out); },
        [this, now_wanted, settled](const base::Result<void>& reloaded) {
          if (reloaded) print_ = now_wanted;
          if (settled) settled();
        });
  return true;
}

void ServiceRunner::resume_process(core::WorkerId id) {
  WorkerProcess* process = find(id);
  const auto known = service_.workers().find(id);
  if (!process) return;
  if (known == service_.workers().end() || !process->spawned.pidfd) {
    collect(*process, true);
    const auto logged =
        shared_.exits ? shared_.exits->find(process->spawned.pid, process->start_time) : std::nullopt;
    const auto exit = exit_of(*process, logged.value_or(os::ExitStatus{}));
    return feed([&](core::Service& service, core::Time now, core::Effects& out) {
      service.on_exit(id, exit, now, out);
    });
  }
  announce(id, process->subject.slot, "worker-adopted", "serves on under a new reforkd");
  collect(*process);
  watch(*process);
  if (process->recorder && process->recorder->reader().has_timeouts()) watch_.look_after_requests();
  const core::Worker& worker = known->second;
  if (core::leaving(worker.state)) {
    if (!process->told_to_go && worker.drain_began) tell_again(*process, worker);
  } else if (worker.state == core::WorkerState::starting && worker.ready == core::ReadyBy::exec) {
    feed([id](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(id, now, out); });
  } else if (core::linked(worker) && !process->link && !worker.expelled) {
    feed([id](core::Service& s, core::Time now, core::Effects& out) { s.on_channel_closed(id, now, out); });
  }
}

// It may not have heard that it is to drain.
void ServiceRunner::tell_again(WorkerProcess& process, const core::Worker& worker) {
  const auto left = std::chrono::duration_cast<core::Millis>(worker.deadline.value_or(core::Clock::now()) -
                                                             core::Clock::now());
  if (process.link && !worker.expelled)
    return send_to(worker.id,
                   proto::DrainOrder{worker.requested.value_or(DrainReason::operator_),
                                     static_cast<std::uint32_t>(std::max<long long>(0, left.count()))});
  os::signal_process(process.spawned.pidfd.get(), SIGTERM);
  process.told_to_go = true;
}

// It waited at its gate when reforkd died, and ended there.
bool ServiceRunner::never_ran(const WorkerProcess& process, const os::ExitStatus& status) {
  return process.perhaps_never_ran && status.code == os::exit_not_executed &&
         !(process.link && process.link->greeted());
}

void ServiceRunner::withdraw(core::WorkerId worker) {
  feed([worker](core::Service& s, core::Time now, core::Effects& out) {
    core::withdraw(s, worker, now, out);
  });
  auto node = processes_.extract(worker);
  if (node.empty()) return;
  shared_.fds.forget(fd_name(*node.mapped(), recorder_word));
  shared_.failures.tally().forget(worker);
  shared_.loop.park(std::move(node.mapped()->exit_source));
  ended_.push_back(std::move(node.mapped()));
  shared_.loop.later([this] { bury(); });
  dirty_ = true;
  save();
}

}  // namespace refork::supervisor
