// The hands of core::Service: processes, channels, recorders and sockets of one service. What happens goes in
// as inputs, effects come out and are performed in order; an input that arises while effects are performed
// adds to their queue.
#include "supervisor/service_runner.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>

#include "log/log.h"
#include "os/core_dump.h"
#include "supervisor/overloaded.h"
#include "supervisor/service_status.h"
#include "supervisor/spawn_plan.h"

namespace refork::supervisor {

ServiceRunner::ServiceRunner(Shared& shared, core::ServiceConfig config, std::uint32_t configured)
    : shared_(shared),
      service_(std::move(config), shared.next_worker, shared.random),
      listeners_(shared.loop, shared.fds, shared.next_listener, shared.make_way),
      notifications_(shared.loop, shared.fds,
                     [this](const os::Notification& said) { on_notification(said); }),
      configured_(configured),
      wanted_print_(print_of(service_.config())),
      print_(wanted_print_),
      timer_(shared.loop.timer(
          [this] { feed([](core::Service& s, core::Time now, core::Effects& out) { s.tick(now, out); }); })),
      start_(shared.loop, shared.fds, shared.cgroups, service_.config()),
      watch_(shared.loop, *this, service_.config()) {}

base::Result<void> ServiceRunner::open_listeners(const std::vector<state::Listener>& before,
                                                 Handover& handover) {
  const auto& config = service_.config();
  return listeners_.open(config.name, config.listen, config.nonblocking, before, handover,
                         [this](const std::string& address) { on_listener_reopened(address); });
}

void ServiceRunner::open_notifications(Handover& handover) {
  notifications_.open(service_.config(), shared_.notify_path + service_.config().name, handover);
}

base::Result<void> ServiceRunner::check_command() const {
  return start_.check(listeners_.fds(), notifications_.name());
}

// ---- inputs and effects

void ServiceRunner::feed(const Input& input) {
  core::Effects out;
  input(service_, core::Clock::now(), out);
  for (auto& effect : out) effects_.push_back(std::move(effect));
  if (performing_) return;
  performing_ = true;
  shared_.failures.hold();
  while (!effects_.empty()) {
    const core::Effect effect = std::move(effects_.front());
    effects_.pop_front();
    try {
      perform(effect);  // one that fails keeps no other from being performed
    } catch (const std::exception& error) {
      log::error(service_.config().name + ": " + error.what());
    }
  }
  performing_ = false;
  dirty_ = true;
  rearm();
  if (const auto state = service_.state(); state != shown_) {
    shown_ = state;
    announce(0, 0, "service-state", std::string(base::to_name(state)));
  }
  save();
  shared_.failures.release();
  shared_.changed();
}

void ServiceRunner::rearm() {
  if (const auto at = service_.next())
    Loop::arm(timer_, *at);
  else
    Loop::disarm(timer_);
}

void ServiceRunner::perform(const core::Effect& effect) {
  std::visit(
      Overloaded{
          [this](const core::Spawn& e) { spawn(e); },
          [this](const core::GiveVerdict& e) {
            if (e.verdict == proto::Verdict::drain) drain_begins(e.worker);
            send_to(e.worker, proto::VerdictGiven{e.failure, e.verdict,
                                                  static_cast<std::uint32_t>(e.deadline.count())});
          },
          [this](const core::OrderDrain& e) {
            drain_begins(e.worker);
            send_to(e.worker, proto::DrainOrder{e.reason, static_cast<std::uint32_t>(e.deadline.count())});
          },
          [this](const core::Terminate& e) {
            drain_begins(e.worker);
            if (auto* process = find(e.worker)) {
              os::signal_process(process->spawned.pidfd.get(), SIGTERM);
              process->told_to_go = true;
            }
          },
          [this](const core::Kill& e) {
            if (auto* process = find(e.worker)) kill_group(*process);
          },
          [this](const core::LookForDump& e) { look_for_dump(e.worker); },
          [this](const core::AllowDumps& e) {
            for (const auto& [id, process] : processes_) allow_core(*process, e.allowed);
          },
          [this](const core::CloseChannel& e) {
            if (auto* process = find(e.worker)) {
              shared_.loop.park(std::move(process->link_source));
              drop_link(*process);
            }
          },
          [this](const core::Report& e) {
            auto* process = find(e.worker);
            if (!process) return;
            std::optional<std::uint64_t> in_flight;
            if (process->recorder)
              if (const auto counters = process->recorder->reader().counters();
                  counters && counters->pid != 0)
                in_flight = counters->in_flight;
            shared_.failures.report(process->subject, e.kind, e.message, in_flight);
          },
          [this](const core::Announce& e) { announce(e.worker, e.slot, e.type, e.text); },
          [this](const core::JobDone& e) {
            const auto job = jobs_.extract(e.job);
            if (!job.empty()) job.mapped()(e.result);
          },
          [this](const core::Ended& e) { ended(e); },
      },
      effect);
}

void ServiceRunner::order(const Order& order, Done done, const std::function<void()>& accepted_here) {
  base::Error refused;
  bool accepted = false;
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    const auto job = order(service, now, out);
    if (job) {
      jobs_.emplace(*job, done);
      accepted = true;
      if (accepted_here) accepted_here();
    } else {
      refused = job.error();
    }
  });
  if (!accepted) done(refused);
}

// Nobody tells them any more; what was ordered goes on.
void ServiceRunner::cancel_orders(const base::Error& why) {
  for (auto& [job, done] : std::exchange(jobs_, {})) done(why);
}

void ServiceRunner::kill_all() {
  std::vector<core::WorkerId> all;
  for (const auto& [id, process] : processes_) all.push_back(id);
  for (const auto id : all)
    order([id](core::Service& s, core::Time now, core::Effects& out) { return s.kill(id, now, out); },
          [](auto) {});
}

// ---- a worker's process

WorkerProcess* ServiceRunner::find(core::WorkerId worker) {
  const auto it = processes_.find(worker);
  return it == processes_.end() ? nullptr : it->second.get();
}

void ServiceRunner::spawn(const core::Spawn& what) {
  auto process = std::make_unique<WorkerProcess>();
  process->subject = {service_.config().name, what.slot, what.worker, 0, what.generation, unix_ms()};
  WorkerProcess& kept = *processes_.emplace(what.worker, std::move(process)).first->second;
  const auto started = start_.start(kept, what, listeners_.fds(), notifications_.name());
  if (kept.recorder) guard_recorder(kept.subject, *kept.recorder);
  if (started) return watch(kept);
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    service.on_exit(what.worker,
                    {.code = {}, .signal = {}, .core = false, .boot_error = started.error().what}, now, out);
  });
}

void ServiceRunner::drop_link(WorkerProcess& process) {
  shared_.fds.forget(fd_name(process, channel_word));
  process.link.reset();
}

// All that a worker left is safe once its recorder is done.
void ServiceRunner::guard_recorder(const Subject& subject, KeptRecorder& recorder) {
  const auto id = subject.worker;
  const auto name = worker_fd(subject.service, subject.slot, id, recorder_word);
  recorder.when_done([this, id, name] {
    shared_.fds.forget(name);
    shared_.failures.tally().forget(id);
    dirty_ |= ends_.erase(id);
    save();
    shared_.end_is_safe();
  });
}

void ServiceRunner::watch(WorkerProcess& process) {
  const core::WorkerId id = process.subject.worker;
  Loop& loop = shared_.loop;
  process.exit_source =
      loop.watch(process.spawned.pidfd.get(), EPOLLIN, [this, id](std::uint32_t) { on_exit(id); });
  if (process.spawned.errors)
    process.error_source =
        loop.watch(process.spawned.errors.get(), EPOLLIN, [this, id](std::uint32_t) { on_spawn_result(id); });
  if (process.link)
    process.link_source = loop.watch(process.link->fd(), EPOLLIN, [this, id](std::uint32_t) { on_link(id); });
}

void ServiceRunner::on_spawn_result(core::WorkerId worker) {
  WorkerProcess* process = find(worker);
  if (!process) return;
  const auto failure = os::read_spawn_failure(process->spawned.errors.get());
  shared_.loop.park(std::move(process->error_source));
  process->spawned.errors.reset();
  if (failure) {
    process->boot_error = start_.say(*failure);
    return;
  }
  if (!service_.dumps_allowed()) allow_core(*process, false);  // after it has set its own limits
  if (service_.config().ready == core::ReadyBy::exec)
    feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(worker, now, out); });
}

void ServiceRunner::look_for_dump(core::WorkerId worker) {
  const auto* process = find(worker);
  if (!process) return;
  const bool dumping = os::dumps_core(process->subject.pid);
  feed([&](core::Service& s, core::Time now, core::Effects& out) {
    s.on_dump_seen(worker, dumping, now, out);
  });
}

void ServiceRunner::allow_core(const WorkerProcess& process, bool allowed) const {
  const auto& limits = service_.config().limits;
  const auto usual = std::ranges::find(limits, "core", &core::Limit::name);
  os::allow_core(process.subject.pid, allowed, usual == limits.end() ? std::nullopt : std::optional(*usual));
}

// ---- others

void ServiceRunner::on_listener_reopened(const std::string& address) {
  const auto& workers = service_.workers();
  std::string suspect = "one of its workers";
  for (const auto& [id, worker] : workers) {
    if (workers.size() != 1 && !core::leaving(worker.state)) continue;
    suspect = "worker " + std::to_string(id);
    if (auto* process = find(id))
      shared_.failures.report(process->subject, Kind::protocol, "it shut down the listener " + address, 0);
    break;
  }
  announce(0, 0, "listener-reopened",
           address + " was shut down, as it seems by " + suspect + "; opened again");
  feed([&](core::Service& s, core::Time now, core::Effects& out) {
    s.replace_all("its listener " + address + " was shut down", now, out);
  });
}

void ServiceRunner::announce(core::WorkerId worker, std::uint32_t slot, core::EventType type,
                             std::string text) {
  core::Event event{.type = type};
  event.service = service_.config().name;
  event.text = std::move(text);
  event.worker = worker;
  if (worker != 0) event.slot = slot;
  if (const auto* process = find(worker)) {
    event.pid = process->subject.pid;
    event.generation = process->subject.generation;
  }
  shared_.announce(std::move(event));
}

std::optional<Watch::Patient> ServiceRunner::patient(core::WorkerId worker) const {
  const auto known = service_.workers().find(worker);
  const auto process = processes_.find(worker);
  if (known == service_.workers().end() || process == processes_.end()) return std::nullopt;
  const bool linked = core::linked(known->second) && process->second->recorder;
  return Watch::Patient{&known->second, &process->second->subject,
                        linked ? &process->second->recorder->reader() : nullptr};
}

void ServiceRunner::report(const Subject& subject, proto::FailureRecord record, bool shows_query) {
  shared_.failures.report(subject, std::move(record), shows_query);
}

void ServiceRunner::announce(const core::Worker& worker, core::EventType type, std::string text) {
  announce(worker.id, worker.slot, type, std::move(text));
}

void ServiceRunner::list_pids(std::vector<pid_t>& pids) const {
  for (const auto& [id, process] : processes_) pids.push_back(process->subject.pid);
}

void ServiceRunner::close(bool keep_listeners) {
  bury();
  if (!keep_listeners) listeners_.close();
  notifications_.close();
}

void ServiceRunner::list_sockets(std::vector<int>& fds) const {
  for (const int fd : listeners_.fds()) fds.push_back(fd);
}

core::ServiceStatus ServiceRunner::status() const {
  auto status = status_of(service_, processes_);
  status.failures = shared_.failures.tally().failures(service_.config().name);
  status.listen = listeners_.addresses();
  status.log = effective_log(service_.config().log);
  return status;
}

core::WorkerId ServiceRunner::in_slot(std::uint32_t slot) const {
  return slot < service_.slots().size() ? service_.slots()[slot].current : 0;
}

}  // namespace refork::supervisor
