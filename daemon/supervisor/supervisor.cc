// Where the services, the store and the doors meet. It finds whom an order is for, and hands it on.
#include "supervisor/supervisor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>

#include "base/words.h"
#include "log/log.h"
#include "os/process.h"
#include "refork/version.hpp"

namespace refork::supervisor {

using base::Error;
using base::Result;

namespace {

// Worker ids are reserved in the store this many at a time, ahead of their use.
constexpr std::uint64_t id_block = 256;
// How long a worker that nobody knows may take to end.
constexpr core::Millis unknown_patience{30000};
// Every local process may send notifications.
constexpr int notifications_a_turn = 64;

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<std::uint32_t> slot_of(const core::Service& service, std::string_view text) {
  const auto slot = number(text);
  if (slot && *slot < service.slots().size()) return static_cast<std::uint32_t>(*slot);
  return Error{ENOENT, "no slot \"" + std::string(text) + "\" in " + service.config().name +
                           "; it has 0 to " + std::to_string(service.slots().size() - 1)};
}

log::Level level_of(const core::Event& event) {
  if (event.type == "keeper-started" || event.type == "protocol" || event.type == "listener-reopened" ||
      event.type == "worker-killed")
    return log::Level::warning;
  return log::Level::info;
}

}  // namespace

Supervisor::Supervisor(Loop& loop, store::Store& store, Setup setup)
    : loop_(loop),
      store_(store),
      setup_(std::move(setup)),
      started_ms_(unix_ms()),
      symbolizer_(loop, {symbolizer_places(), {}, [this](const std::string& name) { return user_of(name); }}),
      failures_(store, symbolizer_,
                [this](const core::FailureRow& row, const std::string& summary) {
                  core::Event event;
                  event.type = "failure";
                  event.service = row.service;
                  event.slot = row.slot;
                  event.worker = row.worker;
                  event.text = row.kind + " " + row.id;
                  event.detail = summary;
                  announce(std::move(event));
                  if (auto* history = history_of(row.service)) history->failed(row, summary);
                  if (publisher_) publisher_->failure_recorded(row);
                }),
      output_tail_(loop),
      shared_{loop,
              failures_,
              [this] { return next_worker(); },
              [this] { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); },
              [this](core::Event event) { announce(std::move(event)); },
              [this](core::WorkerId id, std::string_view json) {
                if (publisher_) publisher_->message(id, json);
              },
              [this] {
                if (publisher_) publisher_->changed();
              },
              setup_.fds,
              [this] { return ++last_listener_; },
              [this](const std::string& service, std::string text) { save(service, std::move(text)); }},
      handover_(std::move(setup_.inherited)),
      keeper_(loop, setup_.fds, setup_.keeper, [this](pid_t pid) { on_keeper_replaced(pid); }),
      random_(std::random_device{}()) {
  for (const auto& service : setup_.config.services)
    if (service.redact) failures_.redact(service.name, *service.redact);
  for (const auto& service : setup_.config.services) histories_.try_emplace(service.name);
  shared_.finished = [this](const Subject& subject, const Finished& finished) {
    if (auto* history = history_of(subject.service))
      history->finished(subject.worker, finished.completed, finished.cut);
  };
  shared_.end_is_safe = [this] {
    if (!former_.empty()) loop_.later([this] { drop_former_services(); });
  };
  failures_.take_output_from(output_tail_);
  shared_.killed = [this] {
    std::size_t count = 0;
    for (const auto& runner : services_) count += runner->killed();
    return count;
  };
  last_worker_ = store_.last_worker_id();
  store_source_ = loop_.watch(store_.fd(), EPOLLIN, [this](std::uint32_t) { store_.dispatch(); });
  store_.on_status_change() = [this] {
    const auto status = store_.status();
    core::Event event;
    event.type = "store-state";
    event.text = status.state + (status.why.empty() ? "" : ": " + status.why);
    announce(std::move(event));
    shared_.changed();
  };
}

std::string Supervisor::user_of(const std::string& service) const {
  for (const auto& config : setup_.config.services)
    if (config.name == service) return config.user;
  return "";
}

core::WorkerId Supervisor::next_worker() {
  if (++last_worker_ > reserved_worker_) {
    reserved_worker_ = last_worker_ + id_block;
    store_.reserve_worker_ids(reserved_worker_);
  }
  return last_worker_;
}

void Supervisor::announce(core::Event event) {
  event.sequence = ++last_event_;
  event.time_ms = unix_ms();
  log::event(level_of(event), event);
  if (auto* history = history_of(event.service)) history->add(event);
  if (publisher_) publisher_->event(event);
}

void Supervisor::on_keeper_replaced(pid_t pid) {
  shared_.exits.reset();  // the old one's; the new one reaps nobody but its own children
  core::Event event;
  event.type = "keeper-started";
  event.pid = pid;
  event.text = "another keeper runs, and has all descriptors";
  announce(std::move(event));
}

// ---- the start

Result<void> Supervisor::prepare() {
  os::become_subreaper();
  if (auto exits = handover_.take_own(keeper_exits_name))
    if (auto log = os::ExitLog::adopt(std::move(exits))) shared_.exits = std::move(*log);
  read_state();
  open_notify_socket();
  if (auto opened = open_services(); !opened) return opened;
  adopt_former_services();
  return {};
}

void Supervisor::read_state() {
  if (auto fd = handover_.take(state_name, setup_.fds)) {
    auto memory = state::Memory::adopt(std::move(fd));
    auto text = memory ? memory->read() : Result<std::string>(memory.error());
    auto before = text ? state::decode(*text) : Result<state::Daemon>(text.error());
    if (before) {
      memory_ = std::move(*memory);
      before_ = std::move(*before);
      for (const auto& service : before_.services) saved_[service.name] = state::encode(service);
      // Not those that the store has reserved: whose they were is known here.
      last_worker_ = std::max(before_.last_worker, handover_.highest_worker());
      last_listener_ = before_.last_listener;
      return;
    }
    setup_.fds.forget(state_name);
    log::error("what an earlier reforkd left cannot be read: " + before.error().what +
               "; its workers are ended, and others started");
  }
  auto memory = state::Memory::create();
  if (!memory) return log::error(memory.error().what + "; the death of reforkd will end its workers");
  memory_ = std::move(*memory);
}

// Workers of whom nothing is known but that they are there: by a signal, for what their channel means is not
// known either. Should they not end, SIGKILL follows.
void Supervisor::end_unknown_workers() {
  for (auto& pidfd : handover_.take_all(pidfd_word, setup_.fds)) {
    log::warning("a worker (pid " + std::to_string(os::pid_of(pidfd.get())) +
                 ") of an earlier reforkd is not known: it is ended");
    os::signal_process(pidfd.get(), SIGTERM);
    unknown_.push_back(std::move(pidfd));
  }
  if (unknown_.empty()) return;
  unknown_deadline_ = loop_.timer([this] {
    for (const auto& pidfd : std::exchange(unknown_, {})) os::signal_group(pidfd.get(), 0, 0, SIGKILL);
  });
  Loop::arm(unknown_deadline_, core::Clock::now() + unknown_patience);
}

void Supervisor::save(const std::string& service, std::string text) {
  auto& saved = saved_[service];
  if (!memory_ || saved == text) return;
  saved = std::move(text);
  if (auto written = memory_->write(state::encode(last_worker_, last_listener_, saved_)); !written)
    log::error(written.error().what);
}

// The same socket for as long as there are workers that know its name.
void Supervisor::open_notify_socket() {
  auto kept = handover_.take(notify_name, setup_.fds);
  auto socket = kept ? os::NotifySocket::adopt(std::move(kept)) : os::NotifySocket::open();
  if (!socket) return log::warning("no socket for notifications: " + socket.error().what);
  notify_ = std::move(*socket);
  if (!setup_.fds.kept().contains(notify_name)) setup_.fds.keep(notify_name, notify_->fd());
  shared_.notify_socket = notify_->name();
  notify_source_ = loop_.watch(notify_->fd(), EPOLLIN, [this](std::uint32_t) {
    for (int i = 0; i < notifications_a_turn; ++i) {
      const auto notification = notify_->receive();
      if (!notification) return;
      for (const auto& runner : services_)
        if (runner->notified(*notification)) break;
    }
  });
}

// A command that cannot be found is told at once where it is the only one; beside others it is a start that
// fails and is tried again, so that one missing program does not keep a whole machine from coming up.
Result<void> Supervisor::open_services() {
  std::optional<Error> missing;
  std::size_t runnable = 0;
  for (const auto& config : setup_.config.services) {
    const auto found = std::ranges::find(before_.services, config.name, &state::Service::name);
    std::optional<state::Service> before;
    if (found != before_.services.end()) {
      before = std::move(*found);
      before_.services.erase(found);
    }
    if (auto opened = open_service(config, std::move(before), services_); !opened) return opened;
    const ServiceRunner& runner = *services_.back();
    if (auto command = runner.check_command(); command || runner.adopted())
      ++runnable;
    else
      missing = command.error();
  }
  if (missing && runnable == 0) return *missing;
  return {};
}

Result<void> Supervisor::open_service(core::ServiceConfig config, std::optional<state::Service> before,
                                      std::vector<std::unique_ptr<ServiceRunner>>& to) {
  const auto configured = config.workers;
  // What an operator has scaled stays, until the file says something new.
  if (before && before->configured == configured) config.workers = before->core.wanted_workers;
  to.push_back(std::make_unique<ServiceRunner>(shared_, std::move(config), configured));
  ServiceRunner& runner = *to.back();
  const auto listeners = before ? before->listeners : std::vector<state::Listener>();
  if (auto opened = runner.open_listeners(listeners, handover_); !opened)
    return Error{opened.error().code,
                 "service " + runner.service().config().name + ": " + opened.error().what};
  if (before) runner.adopt(*std::move(before), handover_);
  return {};
}

// Services that the configuration does not have any more: their workers drain.
void Supervisor::adopt_former_services() {
  for (auto& before : std::exchange(before_.services, {})) {
    core::ServiceConfig config;
    config.name = before.name;
    config.ready = before.ready;
    config.drain_deadline = before.drain_deadline;
    before.core.wanted = false;
    config.workers = before.configured = std::max<std::uint32_t>(1, before.core.wanted_workers);
    if (auto opened = open_service(std::move(config), std::move(before), former_); !opened)
      log::warning(opened.error().what);
  }
}

void Supervisor::run(std::function<void()> up) {
  end_unknown_workers();
  if (!handover_.empty())
    for (const auto& name : handover_.drop(setup_.fds))
      log::warning("nobody wants the descriptor " + name + " of an earlier reforkd: it is closed");
  if (memory_ && !setup_.fds.kept().contains(state_name)) setup_.fds.keep(state_name, memory_->fd());
  keeper_.start();
  for (const auto& runner : services_) runner->resume();
  for (const auto& runner : former_) {
    log::notice("service " + runner->service().config().name + " is not configured any more: it is stopped");
    runner->resume();
    if (runner->idle()) loop_.later([this] { drop_former_services(); });
    runner->order([](core::Service& s, core::Time now, core::Effects& out) { return s.stop(now, out); },
                  [](const auto&) {});
  }
  auto waiting = std::make_shared<std::size_t>(services_.size());
  for (const auto& runner : services_) {
    const std::string name = runner->service().config().name;
    if (runner->adopted()) {  // as it was: stopped, backing off, serving
      if (--*waiting == 0 && !shutting_down_) up();
      continue;
    }
    start(name, [this, waiting, up, name](Result<void> result) {
      if (!result) log::warning("service " + name + ": " + result.error().what);
      if (--*waiting == 0 && !shutting_down_) up();
    });
  }
}

void Supervisor::shut_down(std::function<void()> done) {
  if (shutting_down_) {
    log::notice("told to stop again: killing what is left");
    for (const auto& runner : services_) runner->kill_all();
    for (const auto& runner : former_) runner->kill_all();
    return;
  }
  shutting_down_ = true;
  auto waiting = std::make_shared<std::size_t>(services_.size() + former_.size());
  const auto one_less = [waiting, done] {
    if (--*waiting == 0) done();
  };
  for (const auto* runners : {&services_, &former_})
    for (const auto& runner : *runners)
      runner->order([](core::Service& s, core::Time now, core::Effects& out) { return s.stop(now, out); },
                    [one_less](const auto&) { one_less(); });
}

void Supervisor::drop_former_services() {
  std::erase_if(former_, [this](const auto& runner) {
    if (!runner->idle() || shutting_down_) return false;
    saved_.erase(runner->service().config().name);
    runner->close();
    return true;
  });
  if (memory_) static_cast<void>(memory_->write(state::encode(last_worker_, last_listener_, saved_)).ok());
  shared_.changed();
}

void Supervisor::reap_strangers() {
  std::vector<pid_t> known;
  for (const auto* runners : {&services_, &former_})
    for (const auto& runner : *runners) runner->list_pids(known);
  symbolizer_.list_pids(known);
  known.push_back(keeper_.pid());
  os::reap_strangers(known);
}

void Supervisor::close() {
  for (const auto& runner : services_) runner->close();
  leave();
}

void Supervisor::leave() {
  failures_.store_waiting();
  notify_source_.reset();
  store_source_.reset();
}

// ---- operations

Result<ServiceRunner*> Supervisor::service(std::string_view name) {
  std::vector<std::string> known;
  for (const auto& runner : services_) {
    if (runner->service().config().name == name) return runner.get();
    known.push_back(runner->service().config().name);
  }
  std::ranges::sort(known);
  return Error{ENOENT, base::no_service(name, known)};
}

Result<Supervisor::Target> Supervisor::worker(std::string_view target) {
  if (const auto slash = target.rfind('/'); slash != std::string_view::npos) {
    const auto runner = service(target.substr(0, slash));
    if (!runner) return runner.error();
    const auto slot = slot_of((*runner)->service(), target.substr(slash + 1));
    if (!slot) return slot.error();
    const auto id = (*runner)->in_slot(*slot);
    if (id == 0) return Error{ENOENT, "no worker in " + std::string(target) + " at the moment"};
    return Target{*runner, id};
  }
  const auto id = number(target);
  if (!id)
    return Error{EINVAL, "expected SERVICE/SLOT or a worker's id, found \"" + std::string(target) + "\""};
  for (const auto* runners : {&services_, &former_})
    for (const auto& runner : *runners)
      if (runner->service().workers().contains(*id)) return Target{runner.get(), *id};
  return Error{ENOENT, "no worker " + std::to_string(*id)};
}

void Supervisor::order(std::string_view name, const ServiceRunner::Order& order, Done done) {
  const auto runner = service(name);
  if (!runner) return done(runner.error());
  (*runner)->order(order, std::move(done));
}

void Supervisor::start(std::string_view name, Done done) {
  if (shutting_down_) return done(Error{EBUSY, "reforkd is stopping"});
  order(
      name, [](core::Service& s, core::Time now, core::Effects& out) { return s.start(now, out); },
      std::move(done));
}

void Supervisor::stop(std::string_view name, Done done) {
  order(
      name, [](core::Service& s, core::Time now, core::Effects& out) { return s.stop(now, out); },
      std::move(done));
}

void Supervisor::restart(std::string_view name, Done done) {
  stop(name, [this, name = std::string(name), done](Result<void> result) {
    if (!result) return done(result);
    start(name, done);
  });
}

void Supervisor::reload(std::string_view name, Done done) {
  order(
      name, [](core::Service& s, core::Time now, core::Effects& out) { return s.reload(now, out); },
      std::move(done));
}

void Supervisor::scale(std::string_view name, std::uint32_t workers, Done done) {
  order(
      name,
      [workers](core::Service& s, core::Time now, core::Effects& out) { return s.scale(workers, now, out); },
      std::move(done));
}

void Supervisor::drain(std::string_view target, Done done) {
  const auto found = worker(target);
  if (!found) return done(found.error());
  const auto id = found->worker;
  found->runner->order(
      [id](core::Service& s, core::Time now, core::Effects& out) { return s.drain(id, now, out); },
      std::move(done));
}

void Supervisor::kill(std::string_view target, Done done) {
  const auto found = worker(target);
  if (!found) return done(found.error());
  const auto id = found->worker;
  found->runner->order(
      [id](core::Service& s, core::Time now, core::Effects& out) { return s.kill(id, now, out); },
      std::move(done));
}

void Supervisor::send(std::string_view target, std::string_view json, Done done) {
  if (const auto runner = service(target)) return done((*runner)->send(0, json));
  const auto found = worker(target);
  if (!found) return done(found.error());
  done(found->runner->send(found->worker, json));
}

void Supervisor::failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) {
  store_.list(filter, std::move(reply));
}

void Supervisor::top_failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) {
  store_.top(filter, std::move(reply));
}

void Supervisor::failure(std::string_view id, Reply<std::string> reply) {
  store_.show(std::string(id), std::move(reply));
}

void Supervisor::clear_failures(std::string_view service, Reply<std::uint64_t> reply) {
  store_.clear(std::string(service), std::move(reply));
}

core::History* Supervisor::history_of(std::string_view service) {
  const auto found = histories_.find(service);
  return found == histories_.end() ? nullptr : &found->second;
}

Result<core::Why> Supervisor::why(std::string_view target) {
  const auto slash = target.rfind('/');
  const auto runner = service(target.substr(0, slash));
  if (!runner) return runner.error();
  const core::Service& service = (*runner)->service();
  core::Why why;
  why.service = service.config().name;
  if (slash != std::string_view::npos) {
    const auto slot = slot_of(service, target.substr(slash + 1));
    if (!slot) return slot.error();
    why.slot = *slot;
  }
  why.conditions = core::conditions(service, why.slot, core::Clock::now(), unix_ms());
  if (const auto* history = history_of(why.service)) why.history = history->entries(why.slot);
  return why;
}

// An order that makes no sense is told to whom gave it, and to nobody else.
void Supervisor::asked(std::string_view verb, std::string_view target, std::string_view by) {
  core::Event event;
  event.type = "operator";
  event.text = std::string(verb) + ", asked for by " + std::string(by);
  if (const auto runner = service(target)) {
    event.service = target;
  } else if (const auto found = worker(target)) {
    const auto status = found->runner->service().workers().find(found->worker);
    event.service = found->runner->service().config().name;
    event.worker = found->worker;
    event.slot = status->second.slot;
  } else {
    return;
  }
  announce(std::move(event));
}

void Supervisor::reexec(Done done) {
  if (shutting_down_) return done(Error{EBUSY, "reforkd is stopping"});
  if (const auto possible = setup_.reexec(); !possible) return done(possible.error());
  for (const auto& runner : services_)
    runner->cancel_orders({ECANCELED, "reforkd executes itself anew; what was ordered goes on"});
  done({});
}

core::DaemonStatus Supervisor::status() {
  core::DaemonStatus status;
  status.version = REFORK_VERSION;
  status.pid = ::getpid();
  status.started_ms = started_ms_;
  status.rss_bytes = os::rss_bytes(::getpid());
  status.config = setup_.config_name;
  status.store = store_.status();
  for (const auto* runners : {&services_, &former_})
    for (const auto& runner : *runners) status.services.push_back(runner->status());
  return status;
}

}  // namespace refork::supervisor
