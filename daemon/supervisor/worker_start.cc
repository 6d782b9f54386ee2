// A worker's process from nothing until it runs. What has to outlive reforkd is in the descriptor store
// before that; why a worker is started, and what becomes of it, is known elsewhere.
#include "supervisor/worker_start.h"

#include <cstring>

#include "supervisor/handover.h"
#include "supervisor/spawn_plan.h"

namespace refork::supervisor {

namespace {

recorder::Identity identity_of(const WorkerProcess& process, const core::Spawn& what) {
  recorder::Identity identity{};
  identity.worker = what.worker;
  identity.slot = what.slot;
  identity.generation = what.generation;
  identity.started_ms = process.subject.started_ms;
  std::strncpy(identity.service, process.subject.service.c_str(), sizeof identity.service - 1);
  return identity;
}

// The step of a start that failed, with what it was about.
std::string say_step(const core::ServiceConfig& config, const std::string& step) {
  if (step == "exec") return "exec " + config.command.front();
  if (step == "chdir") return "chdir " + config.directory;
  if (step == "setuid" || step == "setgid" || step == "setgroups") return step + " " + config.user;
  return step;
}

}  // namespace

base::Result<void> WorkerStart::check(const std::vector<int>& listeners,
                                      const std::string& notify_socket) const {
  const auto planned = plan_worker(config_, {}, listeners, {}, notify_socket);
  if (!planned)
    return base::Error{planned.error().code, "service " + config_.name + ": " + planned.error().what};
  return {};
}

std::string WorkerStart::say(const os::SpawnFailure& failure) const {
  return say_step(config_, failure.step) + ": " + std::strerror(failure.code);
}

// The spare one, and a new spare one in the next turn.
base::Result<std::shared_ptr<KeptRecorder>> WorkerStart::recorder_for(const recorder::Identity& identity) {
  auto spare = std::exchange(spare_recorder_, nullptr);
  loop_.later([this] {
    if (spare_recorder_) return;
    if (auto made = KeptRecorder::create_spare()) spare_recorder_ = std::move(*made);
  });
  if (spare && spare->assign(identity)) return spare;
  return KeptRecorder::create(identity);
}

base::Result<base::UniqueFd> WorkerStart::open_channel(WorkerProcess& process) {
  if (config_.ready != core::ReadyBy::library) return base::UniqueFd();
  auto pair = proto::Channel::make_pair();
  if (!pair) return pair.error();
  process.link.emplace(proto::Channel(std::move(pair->primary)));
  return std::move(pair->worker);
}

base::Result<void> WorkerStart::start(WorkerProcess& process, const core::Spawn& what,
                                      const std::vector<int>& listeners, const std::string& notify_socket) {
  auto recorder = recorder_for(identity_of(process, what));
  if (!recorder) return recorder.error();
  process.recorder = std::move(*recorder);
  const auto output = open_output(config_);
  if (!output) return output.error();
  note_output(process.subject, config_.log, output->get());
  const auto channel = open_channel(process);
  if (!channel) return channel.error();

  WorkerFds fds;
  fds.output = output->get();
  fds.channel = channel->get();
  if (*channel) fds.recorder = process.recorder->reader().fd();
  const auto planned = plan_worker(config_, what, listeners, fds, notify_socket);
  if (!planned) return planned.error();
  auto spawned = os::spawn(*planned);
  if (!spawned) return spawned.error();
  process.spawned = std::move(*spawned);
  process.subject.pid = process.spawned.pid;
  // It runs only once it cannot be lost: should reforkd die before, it ends at its gate. Kept only now, while
  // it is on its way there: before the fork this would be time that the replacement comes later.
  cgroups_.put(key_of(process), process.spawned.pid);
  fds_.keep(fd_name(process, recorder_word), process.recorder->reader().fd());
  if (process.link) fds_.keep(fd_name(process, channel_word), process.link->fd());
  fds_.keep(fd_name(process, pidfd_word), process.spawned.pidfd.get());
  os::let_run(process.spawned);
  process.start_time = os::start_time(process.spawned.pid);
  return {};
}

}  // namespace refork::supervisor
