// How a service's workers end: the last that is heard of a process, its exit status from whoever has it, and
// what is kept of it until its end is on disk. What an end means is core::classify's business.
#include <csignal>

#include "os/core_dump.h"
#include "os/file_end.h"
#include "supervisor/service_runner.h"

namespace refork::supervisor {

namespace {

// Whoever reaps a worker that is no child of this reforkd is given so long; asked again in between.
constexpr core::Millis status_patience{3000}, status_interval{2};

}  // namespace

void ServiceRunner::on_exit(core::WorkerId worker) {
  WorkerProcess* process = find(worker);
  if (!process) return;
  // Its last words first; then what it left behind.
  receive(*process, link::message_burst);
  kill_group(*process);
  shared_.cgroups.end(key_of(*process));
  const auto traits = os::core_traits(process->subject.pid, service_.config().directory);
  const auto status = exit_status(*process);
  if (!status) return await_status(*process);
  if (never_ran(*process, *status)) return withdraw(worker);
  if (process->error_source) on_spawn_result(worker);
  core::Exit exit = exit_of(*process, *status);
  if (status->core) exit.core_file = os::find_core(traits, status->signal.value_or(0));
  const auto known = service_.workers().find(worker);
  const bool killed_here = known != service_.workers().end() && known->second.kill_sent;
  exit.oom = status->signal == SIGKILL && !killed_here &&
             shared_.oom.explains_kill(shared_.killed_beside(worker), core::Clock::now());
  collect(*process, true);
  process->subject.output_to = os::file_size(process->subject.output);  // before another one writes to it
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    service.on_exit(worker, exit, now, out);
  });
}

core::Exit ServiceRunner::exit_of(const WorkerProcess& process, const os::ExitStatus& status) {
  core::Exit exit{status.code, status.signal, status.core, process.boot_error};
  if (!process.recorder) return exit;
  if (const auto cut = process.recorder->reader().in_flight()) exit.cut = cut->size();
  return exit;
}

// How it ended: its parent knows, and tells all others once it has reaped it, which it does at once but not
// before this process may have noticed the end. As long as it has not, the dead process tells itself.
std::optional<os::ExitStatus> ServiceRunner::exit_status(const WorkerProcess& process) const {
  const int pidfd = process.spawned.pidfd.get();
  if (auto own = os::exit_of_child(pidfd)) return own;
  if (os::is_child(pidfd)) return std::nullopt;
  if (auto told = os::told_exit(pidfd)) return told;
  if (shared_.exits)
    if (auto logged = shared_.exits->find(process.spawned.pid, process.start_time)) return logged;
  if (auto unreaped = os::exit_of_unreaped(process.spawned.pid, process.start_time)) return unreaped;
  if (process.status_due && core::Clock::now() >= *process.status_due) return os::ExitStatus{};
  return std::nullopt;
}

// Its replacement does not wait for what is only to be told.
void ServiceRunner::await_status(WorkerProcess& process) {
  if (!os::has_ended(process.spawned.pidfd.get())) return;
  const core::WorkerId id = process.subject.worker;
  const auto now = core::Clock::now();
  shared_.loop.park(std::move(process.exit_source));
  process.exit_source = shared_.loop.timer([this, id] { on_exit(id); });
  Loop::arm(process.exit_source, now + status_interval);
  if (process.status_due) return;
  process.status_due = now + status_patience;
  feed([id](core::Service& s, core::Time at, core::Effects& out) { s.on_gone(id, at, out); });
}

void ServiceRunner::ended(const core::Ended& what) {
  auto node = processes_.extract(what.worker);
  if (node.empty()) return;
  WorkerProcess& process = *node.mapped();
  if (process.recorder) {
    auto& end = ends_.add({state_of(process), what});
    end.encoded = state::encode(end);
    const auto finished = shared_.failures.end(process.subject, what, process.recorder,
                                               process.served_before_drain.value_or(0));
    shared_.finished(process.subject, finished);
    while (const auto surplus = ends_.take_surplus()) give_up(*surplus);
  } else {
    shared_.failures.forget(what.worker);
  }
  shared_.loop.park(std::move(process.exit_source));
  ended_.push_back(std::move(node.mapped()));
  shared_.loop.later([this] { bury(); });
}

// Nobody will ever write it down: the store has dropped it, too.
void ServiceRunner::give_up(const state::End& end) {
  const auto& process = end.process;
  shared_.fds.forget(worker_fd(service_.config().name, process.slot, process.worker, recorder_word));
  shared_.failures.forget(process.worker);
}

// Only now that the end is written down nobody needs to find the process again.
void ServiceRunner::bury() {
  for (const auto& process : std::exchange(ended_, {})) {
    for (const auto word : {pidfd_word, channel_word}) shared_.fds.forget(fd_name(*process, word));
    os::reap(process->spawned.pidfd.get());
  }
  shared_.end_is_safe();  // of whom no recorder says so
}

// Who else has ended by SIGKILL from elsewhere and waits to be reaped.
std::size_t ServiceRunner::killed_beside(core::WorkerId worker) const {
  std::size_t count = 0;
  for (const auto& [id, process] : processes_) {
    if (id == worker) continue;
    const auto known = service_.workers().find(id);
    const bool killed_here = known == service_.workers().end() || known->second.kill_sent;
    if (!killed_here && os::has_ended_by(process->spawned.pidfd.get(), SIGKILL)) ++count;
  }
  return count;
}

}  // namespace refork::supervisor
