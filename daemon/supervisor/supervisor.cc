// Where the services, the store and the doors meet. It finds whom an order is for, and hands it on.
#include "supervisor/supervisor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

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
// How long a starting reforkd waits for an earlier one's workers to let go of an address.
// after these have been killed at their deadline.
constexpr core::Millis address_patience{2000};
constexpr int address_retry_ms = 20;
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
  if (event.type == "protocol" || event.type == "listener-reopened" || event.type == "worker-killed")
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
              setup_.recorder_directory,
              {}},
      orphans_(loop, failures_, setup_.recorder_directory),
      random_(std::random_device{}()) {
  for (const auto& service : setup_.config.services)
    if (service.redact) failures_.redact(service.name, *service.redact);
  for (const auto& service : setup_.config.services) histories_.try_emplace(service.name);
  shared_.finished = [this](const Subject& subject, const Finished& finished) {
    if (auto* history = history_of(subject.service))
      history->finished(subject.worker, finished.completed, finished.cut);
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

Result<void> Supervisor::prepare() {
  os::become_subreaper();
  last_worker_ = std::max(last_worker_, orphans_.find(setup_.config));
  if (auto socket = os::NotifySocket::open()) {
    notify_ = std::move(*socket);
    shared_.notify_socket = notify_->name();
    notify_source_ = loop_.watch(notify_->fd(), EPOLLIN, [this](std::uint32_t) {
      for (int i = 0; i < notifications_a_turn; ++i) {
        const auto notification = notify_->receive();
        if (!notification) return;
        for (const auto& runner : services_)
          if (runner->notified(*notification)) break;
      }
    });
  } else {
    log::warning("no socket for notifications: " + socket.error().what);
  }
  return open_services();
}

// A command that cannot be found is told at once where it is the only one; beside others it is a start that
// fails and is tried again, so that one missing program does not keep a whole machine from coming up.
Result<void> Supervisor::open_services() {
  std::optional<Error> missing;
  std::size_t runnable = 0;
  for (auto& config : setup_.config.services) {
    services_.push_back(std::make_unique<ServiceRunner>(shared_, config));
    ServiceRunner& runner = *services_.back();
    if (auto opened = open_listeners(runner); !opened)
      return Error{opened.error().code, "service " + config.name + ": " + opened.error().what};
    if (auto found = runner.check_command(); found)
      ++runnable;
    else
      missing = found.error();
  }
  if (missing && runnable == 0) return *missing;
  return {};
}

// Workers of an earlier reforkd let go of their listeners as they begin to drain, if they are linked; others
// at the latest when they are killed.
Result<void> Supervisor::open_listeners(ServiceRunner& runner) {
  const auto deadline = core::Clock::now() + runner.service().config().drain_deadline + core::kill_grace;
  auto opened = runner.open_listeners();
  while (!opened && opened.error().code == EADDRINUSE && orphans_.any() &&
         core::Clock::now() < deadline + address_patience) {
    if (core::Clock::now() >= deadline) orphans_.kill_all();  // the loop does not run yet
    ::poll(nullptr, 0, address_retry_ms);                     // nothing tells when an address becomes free
    opened = runner.open_listeners();
  }
  return opened;
}

void Supervisor::run(std::function<void()> up) {
  auto waiting = std::make_shared<std::size_t>(services_.size());
  for (const auto& runner : services_) {
    const std::string name = runner->service().config().name;
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
    orphans_.kill_all();
    return;
  }
  shutting_down_ = true;
  auto waiting = std::make_shared<std::size_t>(services_.size() + 1);
  const auto one_less = [waiting, done] {
    if (--*waiting == 0) done();
  };
  for (const auto& runner : services_)
    stop(runner->service().config().name, [one_less](const auto&) { one_less(); });
  orphans_.when_gone(one_less);
}

void Supervisor::reap_strangers() {
  std::vector<pid_t> known;
  for (const auto& runner : services_) runner->list_pids(known);
  symbolizer_.list_pids(known);
  os::reap_strangers(known);
}

void Supervisor::close() {
  for (const auto& runner : services_) runner->close();
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
  for (const auto& runner : services_)
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

core::DaemonStatus Supervisor::status() {
  core::DaemonStatus status;
  status.version = REFORK_VERSION;
  status.pid = ::getpid();
  status.started_ms = started_ms_;
  status.rss_bytes = os::rss_bytes(::getpid());
  status.config = setup_.config_name;
  status.store = store_.status();
  for (const auto& runner : services_) status.services.push_back(runner->status());
  return status;
}

}  // namespace refork::supervisor
