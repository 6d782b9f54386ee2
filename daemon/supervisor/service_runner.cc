// The hands of core::Service: processes, channels, recorders and sockets of one service. What happens goes in
// as inputs, effects come out and are performed in order; an input that arises while effects are performed
// adds to their queue.
#include "supervisor/service_runner.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "log/log.h"
#include "os/core_dump.h"
#include "supervisor/spawn_plan.h"

namespace refork::supervisor {

namespace {

// Messages taken from one worker in one turn of the loop, so that a chatty one does not hold up the others.
constexpr std::size_t messages_a_turn = 64;

// Whoever reaps a worker that is no child of this reforkd is given so long; asked again in between.
constexpr core::Millis status_patience{3000}, status_interval{2};

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::uint64_t unix_ms_at(core::Time at) {
  const auto ahead = std::chrono::duration_cast<std::chrono::milliseconds>(at - core::Clock::now()).count();
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(unix_ms()) + ahead);
}

void kill_group(const WorkerProcess& process) {
  os::signal_group(process.spawned.pidfd.get(), process.spawned.pid, process.start_time, SIGKILL);
}

// The step of a start that failed, with what it was about.
std::string say_step(const core::ServiceConfig& config, const std::string& step) {
  if (step == "exec") return "exec " + config.command.front();
  if (step == "chdir") return "chdir " + config.directory;
  if (step == "setuid" || step == "setgid" || step == "setgroups") return step + " " + config.user;
  return step;
}

std::uint32_t millis_or_none(const std::optional<core::Millis>& time) {
  return static_cast<std::uint32_t>(time.value_or(core::Millis(0)).count());
}

}  // namespace

ServiceRunner::ServiceRunner(Shared& shared, core::ServiceConfig config, std::uint32_t configured)
    : shared_(shared),
      service_(std::move(config), shared.next_worker, shared.random),
      listeners_(shared.loop, shared.fds, shared.next_listener),
      configured_(configured),
      print_(print_of(service_.config())),
      timer_(shared.loop.timer(
          [this] { feed([](core::Service& s, core::Time now, core::Effects& out) { s.tick(now, out); }); })),
      watch_(shared.loop, *this, service_.config()) {}

base::Result<void> ServiceRunner::open_listeners(const std::vector<state::Listener>& before,
                                                 Handover& handover) {
  const auto& config = service_.config();
  return listeners_.open(config.name, config.listen, config.nonblocking, before, handover,
                         [this](const std::string& address) { on_listener_reopened(address); });
}

base::Result<void> ServiceRunner::check_command() const {
  auto planned = plan_worker(service_.config(), {}, listeners_.fds(), {}, shared_.notify_socket);
  if (!planned)
    return base::Error{planned.error().code,
                       "service " + service_.config().name + ": " + planned.error().what};
  return {};
}

// ---- inputs and effects

void ServiceRunner::feed(const Input& input) {
  core::Effects out;
  input(service_, core::Clock::now(), out);
  for (auto& effect : out) effects_.push_back(std::move(effect));
  if (performing_) return;
  performing_ = true;
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
            std::uint64_t in_flight = 0;
            if (process->recorder)
              if (const auto counters = process->recorder->reader().counters())
                in_flight = counters->in_flight;
            shared_.failures.report(process->subject, e.kind, e.message, in_flight);
            ++failures_;
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

void ServiceRunner::order(const Order& order, Done done) {
  base::Error refused;
  bool accepted = false;
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    const auto job = order(service, now, out);
    if (job) {
      jobs_.emplace(*job, done);
      accepted = true;
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
  const auto started = start_process(kept, what);
  if (started) return watch(kept);
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    service.on_exit(what.worker,
                    {.code = {}, .signal = {}, .core = false, .boot_error = started.error().what}, now, out);
  });
}

// The spare one, and a new spare one in the next turn.
base::Result<std::shared_ptr<KeptRecorder>> ServiceRunner::recorder_for(const recorder::Identity& identity) {
  auto spare = std::exchange(spare_recorder_, nullptr);
  shared_.loop.later([this] {
    if (spare_recorder_) return;
    if (auto made = KeptRecorder::create_spare()) spare_recorder_ = std::move(*made);
  });
  if (spare && spare->assign(identity)) return spare;
  return KeptRecorder::create(identity);
}

base::Result<void> ServiceRunner::start_process(WorkerProcess& process, const core::Spawn& what) {
  recorder::Identity identity{};
  identity.worker = what.worker;
  identity.slot = what.slot;
  identity.generation = what.generation;
  identity.started_ms = process.subject.started_ms;
  std::strncpy(identity.service, service_.config().name.c_str(), sizeof identity.service - 1);
  auto recorder = recorder_for(identity);
  if (!recorder) return recorder.error();
  process.recorder = std::move(*recorder);
  guard_recorder(state_of(process), *process.recorder);
  shared_.fds.keep(fd_name(process, recorder_word), process.recorder->reader().fd());

  auto output = open_output(service_.config().log);
  if (!output) return output.error();
  note_output(process.subject, service_.config().log, output->get());
  WorkerFds fds;
  fds.output = output->get();
  base::UniqueFd worker_end;
  if (service_.config().ready == core::ReadyBy::library) {
    auto pair = proto::Channel::make_pair();
    if (!pair) return pair.error();
    worker_end = std::move(pair->worker);
    fds.channel = worker_end.get();
    fds.recorder = process.recorder->reader().fd();
    process.link.emplace(proto::Channel(std::move(pair->primary)));
    shared_.fds.keep(fd_name(process, channel_word), process.link->fd());
  }
  const auto planned = plan_worker(service_.config(), what, listeners_.fds(), fds, shared_.notify_socket);
  if (!planned) return planned.error();
  auto spawned = os::spawn(*planned);
  if (!spawned) return spawned.error();
  process.spawned = std::move(*spawned);
  process.subject.pid = process.spawned.pid;
  process.start_time = os::start_time(process.spawned.pid);
  // It runs only once it cannot be lost: should reforkd die before, it ends at its gate.
  shared_.fds.keep(fd_name(process, pidfd_word), process.spawned.pidfd.get());
  os::let_run(process.spawned);
  return {};
}

std::string ServiceRunner::fd_name(const WorkerProcess& process, std::string_view what) const {
  return worker_fd(service_.config().name, process.subject.slot, process.subject.worker, what);
}

void ServiceRunner::drop_link(WorkerProcess& process) {
  shared_.fds.forget(fd_name(process, channel_word));
  process.link.reset();
}

// All that a worker left is safe once its recorder is done.
void ServiceRunner::guard_recorder(const state::Process& process, KeptRecorder& recorder) {
  const auto id = process.worker;
  const auto name = worker_fd(service_.config().name, process.slot, id, recorder_word);
  recorder.when_done([this, id, name] {
    shared_.fds.forget(name);
    dirty_ |= ends_.erase(id) != 0;
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
    process->boot_error = say_step(service_.config(), failure->step) + ": " + std::strerror(failure->code);
    return;
  }
  if (!service_.dumps_allowed()) allow_core(*process, false);  // after it has set its own limits
  if (service_.config().ready == core::ReadyBy::exec)
    feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(worker, now, out); });
}

void ServiceRunner::on_link(core::WorkerId worker) {
  if (WorkerProcess* process = find(worker)) receive(*process, messages_a_turn);
}

void ServiceRunner::receive(WorkerProcess& process, std::size_t at_most) {
  using proto::Channel;
  const core::WorkerId id = process.subject.worker;
  for (std::size_t i = 0; i < at_most && process.link; ++i) {
    const auto known = service_.workers().find(id);
    if (known == service_.workers().end()) return;
    auto received = process.link->receive(known->second.state, core::Clock::now());
    if (std::holds_alternative<Channel::Empty>(received)) return;
    if (const auto* message = std::get_if<proto::Message>(&received)) {
      on_message(process, *message);
      save();
      if (process.link) process.link->acted();
      continue;
    }
    // Nothing more will come; what it said until now was acted upon.
    shared_.loop.park(std::move(process.link_source));
    if (const auto* violation = std::get_if<Channel::Violation>(&received)) {
      feed([&](core::Service& s, core::Time now, core::Effects& out) {
        s.on_violation(id, violation->what, now, out);
      });
    } else {
      drop_link(process);
      feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_channel_closed(id, now, out); });
    }
    return;
  }
}

void ServiceRunner::on_message(WorkerProcess& process, const proto::Message& message) {
  const core::WorkerId id = process.subject.worker;
  std::visit(
      Overloaded{
          [&](const proto::Hello& hello) {
            dirty_ = true;
            if (hello.protocol_min > proto::protocol_version ||
                hello.protocol_max < proto::protocol_version) {
              const std::string what = "librefork " + hello.library + " speaks another protocol than reforkd";
              feed([&](core::Service& s, core::Time now, core::Effects& out) {
                s.on_violation(id, what, now, out);
              });
              return;
            }
            const auto& config = service_.config();
            send_to(id,
                    proto::Welcome{proto::protocol_version, config.name, process.subject.slot, id,
                                   process.subject.generation,
                                   static_cast<std::uint32_t>(config.drain_deadline.count()),
                                   static_cast<std::uint32_t>(config.lame_duck.count()),
                                   millis_or_none(config.watchdog), millis_or_none(config.request_timeout),
                                   config.orphans == core::Orphans::serve ? Then::serve : Then::drain});
          },
          [&](const proto::Ready&) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(id, now, out); });
          },
          [&](const proto::FailureNote& note) {
            // The replacement first: the record is safe where it is.
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_failure(id, note.id, note.then, now, out);
            });
            collect(process);
          },
          [&](const proto::DrainBegun& begun) {
            drain_begins(id);
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_drain_begun(id, begun.reason, now, out);
            });
          },
          [&](const proto::Disconnect& last) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_disconnect(id, last.deadline, now, out);
            });
          },
          [&](const proto::Crash& crash) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_crash(id, crash.contained, now, out);
            });
            collect(process);
          },
          [&](const proto::AppMessage& app) { shared_.message(id, app.body); },
          [](const proto::Welcome&) {},
          [](const proto::VerdictGiven&) {},
          [](const proto::DrainOrder&) {},
      },
      message);
}

void ServiceRunner::collect(WorkerProcess& process, bool dead) {
  if (!process.recorder) return;
  const Collected found = shared_.failures.collect(process.subject, process.recorder, dead);
  failures_ += found.fresh;
  if (found.terminated) service_.on_terminate_recorded(process.subject.worker);
  if (found.crashed) service_.on_crash_recorded(process.subject.worker);
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

// What is served from now on is what the drain completed.
void ServiceRunner::drain_begins(core::WorkerId worker) {
  WorkerProcess* process = find(worker);
  if (!process || !process->recorder || process->served_before_drain) return;
  if (const auto counters = process->recorder->reader().counters())
    process->served_before_drain = counters->served;
}

void ServiceRunner::send_to(core::WorkerId worker, const proto::Message& message) {
  WorkerProcess* process = find(worker);
  if (!process || !process->link) return;
  const auto type = proto::type_of(message);
  process->told_to_go |= type == proto::MessageType::drain || type == proto::MessageType::verdict;
  if (const auto sent = process->link->send(message);
      !sent && sent.error().code != EPIPE && sent.error().code != ECONNRESET)
    log::warning(process->subject.service + " worker " + std::to_string(worker) + ": " +
                 std::string(base::to_name(proto::type_of(message))) + " not sent: " + sent.error().what);
}

void ServiceRunner::on_exit(core::WorkerId worker) {
  WorkerProcess* process = find(worker);
  if (!process) return;
  // Its last words first; then what it left in its process group.
  receive(*process, link::message_burst);
  kill_group(*process);
  const auto traits = os::core_traits(process->subject.pid, service_.config().directory);
  const auto status = exit_status(*process);
  if (!status) return;
  if (never_ran(*process, *status)) return withdraw(worker);
  if (process->error_source) on_spawn_result(worker);
  core::Exit exit{status->code, status->signal, status->core, process->boot_error};
  if (status->core) exit.core_file = os::find_core(traits, status->signal.value_or(0));
  const auto known = service_.workers().find(worker);
  const bool killed_here = known != service_.workers().end() && known->second.kill_sent;
  exit.oom = status->signal == SIGKILL && !killed_here && shared_.oom.explains_kill(shared_.killed());
  collect(*process, true);
  feed([&](core::Service& service, core::Time now, core::Effects& out) {
    service.on_exit(worker, exit, now, out);
  });
}

// How it ended: its parent knows, and tells all others once it has reaped it, which it does at once but not
// before this process may have noticed the end.
std::optional<os::ExitStatus> ServiceRunner::exit_status(WorkerProcess& process) {
  const int pidfd = process.spawned.pidfd.get();
  if (auto own = os::exit_of_child(pidfd)) return own;
  if (os::is_child(pidfd)) return std::nullopt;
  if (auto told = os::told_exit(pidfd)) return told;
  if (shared_.exits)
    if (auto logged = shared_.exits->find(process.spawned.pid, process.start_time)) return logged;
  const auto now = core::Clock::now();
  if (!process.status_due) process.status_due = now + status_patience;
  if (now >= *process.status_due) return os::ExitStatus{};
  const core::WorkerId id = process.subject.worker;
  shared_.loop.park(std::move(process.exit_source));
  process.exit_source = shared_.loop.timer([this, id] { on_exit(id); });
  Loop::arm(process.exit_source, now + status_interval);
  return std::nullopt;
}

void ServiceRunner::ended(const core::Ended& what) {
  auto node = processes_.extract(what.worker);
  if (node.empty()) return;
  WorkerProcess& process = *node.mapped();
  if (process.recorder) {
    auto& end = ends_[what.worker] = {state_of(process), what};
    end.encoded = state::encode(end);
    const auto finished = shared_.failures.end(process.subject, what, process.recorder,
                                               process.served_before_drain.value_or(0));
    shared_.finished(process.subject, finished);
  }
  shared_.loop.park(std::move(process.exit_source));
  ended_.push_back(std::move(node.mapped()));
  shared_.loop.later([this] { bury(); });
}

// Only now that the end is written down nobody needs to find the process again.
void ServiceRunner::bury() {
  for (const auto& process : std::exchange(ended_, {})) {
    for (const auto word : {pidfd_word, channel_word}) shared_.fds.forget(fd_name(*process, word));
    os::reap(process->spawned.pidfd.get());
  }
}

// ---- others

void ServiceRunner::on_listener_reopened(const std::string& address) {
  const auto& workers = service_.workers();
  std::string suspect = "one of its workers";
  for (const auto& [id, worker] : workers) {
    if (workers.size() != 1 && !core::leaving(worker.state)) continue;
    suspect = "worker " + std::to_string(id);
    if (auto* process = find(id)) {
      shared_.failures.report(process->subject, Kind::protocol, "it shut down the listener " + address, 0);
      ++failures_;
    }
    break;
  }
  announce(0, 0, "listener-reopened",
           address + " was shut down, as it seems by " + suspect + "; opened again");
  feed([&](core::Service& s, core::Time now, core::Effects& out) {
    s.replace_all("its listener " + address + " was shut down", now, out);
  });
}

bool ServiceRunner::notified(const os::Notification& notification) {
  const pid_t group = ::getpgid(notification.pid);
  for (const auto& [id, process] : processes_) {
    if (process->subject.pid != notification.pid && process->subject.pid != group) continue;
    const auto& fields = notification.fields;
    const auto is = [&fields](const char* name) {
      const auto it = fields.find(name);
      return it != fields.end() && it->second == "1";
    };
    if (const auto it = fields.find("STATUS"); it != fields.end()) process->status = it->second;
    const core::WorkerId worker = id;
    if (is("WATCHDOG")) watch_.beat(worker);
    if (is("READY"))
      feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(worker, now, out); });
    if (is("STOPPING"))
      feed([&](core::Service& s, core::Time now, core::Effects& out) {
        s.on_drain_begun(worker, DrainReason::operator_, now, out);
      });
    return true;
  }
  return false;
}

base::Result<void> ServiceRunner::send(core::WorkerId worker, std::string_view json) {
  if (service_.config().ready != core::ReadyBy::library)
    return base::Error{
        EINVAL, "service " + service_.config().name + " does not link librefork: it takes no messages"};
  if (const auto checked = proto::check_app_body(json); !checked)
    return base::Error{EINVAL, checked.error().what};
  const proto::Message message = proto::AppMessage{std::string(json)};
  std::size_t sent = 0;
  for (const auto& [id, process] : processes_) {
    if ((worker != 0 && id != worker) || !process->link) continue;
    if (const auto result = process->link->send(message); !result)
      return base::Error{EIO, "worker " + std::to_string(id) + ": " + result.error().what};
    ++sent;
  }
  if (sent == 0) return base::Error{ENOENT, "no worker there to take a message"};
  return {};
}

void ServiceRunner::announce(core::WorkerId worker, std::uint32_t slot, std::string type, std::string text) {
  core::Event event;
  event.type = std::move(type);
  event.service = service_.config().name;
  event.text = std::move(text);
  event.worker = worker;
  if (worker != 0) event.slot = slot;
  if (const auto* process = find(worker)) event.pid = process->subject.pid;
  shared_.announce(std::move(event));
}

std::optional<Watch::Patient> ServiceRunner::patient(core::WorkerId worker) const {
  const auto known = service_.workers().find(worker);
  const auto process = processes_.find(worker);
  if (known == service_.workers().end() || process == processes_.end()) return std::nullopt;
  const bool linked = service_.config().ready == core::ReadyBy::library && process->second->recorder;
  return Watch::Patient{&known->second, &process->second->subject,
                        linked ? &process->second->recorder->reader() : nullptr};
}

void ServiceRunner::report(const Subject& subject, proto::FailureRecord record, bool shows_query) {
  shared_.failures.report(subject, std::move(record), shows_query);
  ++failures_;
}

void ServiceRunner::announce(const core::Worker& worker, std::string type, std::string text) {
  announce(worker.id, worker.slot, std::move(type), std::move(text));
}

// Who has ended by SIGKILL from elsewhere and waits to be reaped.
std::size_t ServiceRunner::killed() const {
  std::size_t count = 0;
  for (const auto& [id, process] : processes_) {
    const auto known = service_.workers().find(id);
    const bool killed_here = known == service_.workers().end() || known->second.kill_sent;
    if (!killed_here && os::has_ended_by(process->spawned.pidfd.get(), SIGKILL)) ++count;
  }
  return count;
}

void ServiceRunner::list_pids(std::vector<pid_t>& pids) const {
  for (const auto& [id, process] : processes_) pids.push_back(process->subject.pid);
}

void ServiceRunner::close() {
  bury();
  listeners_.close();
}

core::WorkerId ServiceRunner::in_slot(std::uint32_t slot) const {
  return slot < service_.slots().size() ? service_.slots()[slot].current : 0;
}

// ---- status

core::WorkerStatus ServiceRunner::status_of(const core::Worker& worker) const {
  core::WorkerStatus status;
  status.id = worker.id;
  status.slot = worker.slot;
  status.state = base::to_name(worker.state);
  status.generation = worker.generation;
  status.tainted = worker.tainted;
  status.why = worker.why;
  if (worker.drain_began && worker.deadline) status.deadline_ms = unix_ms_at(*worker.deadline);
  const auto it = processes_.find(worker.id);
  if (it == processes_.end()) return status;
  const WorkerProcess& process = *it->second;
  status.pid = process.subject.pid;
  status.started_ms = process.subject.started_ms;
  status.rss_bytes = os::rss_bytes(process.subject.pid);
  if (status.why.empty()) status.why = process.status;
  if (process.recorder) {
    if (const auto counters = process.recorder->reader().counters()) {
      status.in_flight = counters->in_flight;
      status.served = counters->served;
    }
  }
  return status;
}

core::ServiceStatus ServiceRunner::status() const {
  core::ServiceStatus status;
  status.name = service_.config().name;
  status.state = service_.state();
  status.generation = service_.generation();
  status.wanted = service_.config().workers;
  status.failures = failures_;
  status.restarts = service_.replacements();
  status.listen = listeners_.addresses();
  status.why = service_.why();
  for (std::uint32_t i = 0; i < service_.slots().size(); ++i) {
    const core::Slot& slot = service_.slots()[i];
    for (const auto& [id, worker] : service_.workers())
      if (worker.slot == i) status.workers.push_back(status_of(worker));
    if (slot.current != 0 || !service_.wanted()) continue;
    core::WorkerStatus empty;
    empty.slot = i;
    empty.generation = service_.generation();
    empty.state = "backoff";
    empty.why = slot.why;
    if (slot.next_start) empty.next_start_ms = unix_ms_at(*slot.next_start);
    status.workers.push_back(std::move(empty));
  }
  for (const auto& [id, worker] : service_.workers())
    if (worker.slot >= service_.slots().size()) status.workers.push_back(status_of(worker));
  return status;
}

}  // namespace refork::supervisor
