// Where the services, the store and the doors meet: how reforkd starts, goes on with what an earlier one
// left, and ends. What operators may ask is supervisor_orders.cc.
#include "supervisor/supervisor.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "log/log.h"
#include "os/process.h"

namespace refork::supervisor {

using base::Error;
using base::Result;

namespace {

// Worker ids are reserved in the store this many at a time, ahead of their use.
constexpr std::uint64_t id_block = 256;
// How long a worker that nobody knows may take to end.
constexpr core::Millis unknown_patience{30000};
// A manager is asked for patience this much beyond the deadlines of start and stop.
constexpr core::Millis change_margin{10000};

core::ServiceInLine in_line(const core::Service& service) {
  core::ServiceInLine line{service.config().name, service.state(), 0, 0};
  if (service.wanted()) line.wanted = service.config().workers;
  for (const auto& [id, worker] : service.workers())
    if (core::accepts(worker.state)) ++line.serving;
  return line;
}

}  // namespace

Supervisor::Supervisor(Loop& loop, store::Store& store, Setup setup)
    : loop_(loop),
      store_(store),
      setup_(std::move(setup)),
      started_ms_(os::own_start_ms()),
      started_(core::Clock::now()),
      symbolizer_(loop, {symbolizer_places(), {}, [this](const std::string& name) { return user_of(name); }}),
      events_(setup_.fds, setup_.config.services),
      failures_(store, symbolizer_,
                [this](const core::FailureRow& row, const std::string& summary) {
                  events_.failed(row, summary);
                  recent_failures_.add(core::Clock::now());
                  manager_.status_changed();
                }),
      output_tail_(loop),
      state_(setup_.fds),
      cgroups_(loop, os::LeafCgroups::in(os::own_cgroup()), setup_.instance),
      shared_(share()),
      handover_(std::move(setup_.inherited)),
      keeper_(loop, setup_.fds, setup_.keeper, [this](pid_t pid) { on_keeper_replaced(pid); }),
      manager_(loop, setup_.fds, {setup_.watchdog, [this] { return status_line(); }}),
      failures_forgotten_(loop.timer([this] { manager_.status_changed(); })),
      random_(std::random_device{}()) {
  for (const auto& service : setup_.config.services)
    if (service.redact) failures_.redact(service.name, *service.redact);
  failures_.take_output_from(output_tail_);
  failures_.on_change([this](const std::string& service) {
    services_.each([&service](ServiceRunner& runner) {
      if (runner.service().config().name == service) runner.failures_changed();
    });
  });
  store_source_ = loop_.watch(store_.fd(), EPOLLIN, [this](std::uint32_t) { store_.dispatch(); });
  if (const int fd = shared_.oom.fd(); fd >= 0)
    oom_source_ = loop_.watch(fd, EPOLLIN, [this](std::uint32_t) { shared_.oom.look(core::Clock::now()); });
  store_.on_status_change() = [this] { on_store_status(); };
}

Shared Supervisor::share() {
  return {
      .loop = loop_,
      .failures = failures_,
      .next_worker = [this] { return next_worker(); },
      .random = [this] { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); },
      .announce =
          [this](core::Event event) {
            if (given_up_ && event.type == "service-state") loop_.later([this] { look_for_give_up(); });
            events_.announce(std::move(event));
          },
      .message = [this](core::WorkerId id, std::string_view json) { events_.message(id, json); },
      .changed =
          [this] {
            events_.changed();
            manager_.status_changed();
          },
      .fds = setup_.fds,
      .cgroups = cgroups_,
      .next_listener = [this] { return ++state_.last_listener; },
      .executed = setup_.executed,
      .make_way = [this](const std::string& address) { return make_way(address); },
      .save = [this](const std::string& service, std::string text) { state_.save(service, std::move(text)); },
      .finished = [this](const Subject& subject,
                         const Finished& finished) { events_.finished(subject, finished); },
      .killed_beside = [this](core::WorkerId worker) { return services_.killed_beside(worker); },
      .end_is_safe =
          [this] {
            if (!services_.former.empty()) loop_.later([this] { drop_former_services(); });
          },
      .notify_path = std::filesystem::absolute(setup_.control).string() + ".notify."};
}

void Supervisor::on_store_status() {
  const auto status = store_.status();
  core::Event event{.type = "store-state"};
  event.text = "the store is " + status.state + (status.why.empty() ? "" : ": " + status.why);
  events_.announce(std::move(event));
  events_.changed();
}

std::string Supervisor::user_of(const std::string& service) const {
  for (const auto& config : setup_.config.services)
    if (config.name == service) return config.user;
  return "";
}

core::WorkerId Supervisor::next_worker() {
  auto& last = state_.last_worker;
  if (++last > reserved_worker_) {
    reserved_worker_ = last + id_block;
    store_.reserve_worker_ids(reserved_worker_);
  }
  return last;
}

void Supervisor::on_keeper_replaced(pid_t pid) {
  // The old one's; the new one reaps nobody but its own children, and has its own.
  setup_.fds.forget(keeper_exits_name);
  shared_.exits.reset();
  core::Event event{.type = "keeper-started"};
  event.pid = pid;
  event.text = "another keeper runs, and has all descriptors";
  events_.announce(std::move(event));
}

// ---- the start

Result<void> Supervisor::prepare() {
  os::become_subreaper();
  if (handover_.empty())
    end_unknown_cgroups();  // of a reforkd that nobody came back to; they have the sockets
  take_exits();
  events_.adopt(handover_);
  before_ = state_.read(handover_, [this] { return store_.last_worker_id(); });
  unwanted_ = unwanted_listeners();
  const auto opened = open_services();
  refuse_given();  // in any case: it may be why an address is taken
  if (!opened) return opened;
  adopt_former_services();
  close_listeners(std::exchange(unwanted_, {}), handover_, setup_.fds);
  return {};
}

// The keeper gives them to whom it starts; a reforkd that executes itself, to the next one.
void Supervisor::take_exits() {
  auto memory = handover_.take(keeper_exits_name, setup_.fds);
  if (!memory) return;
  if (auto log = os::ExitLog::adopt(std::move(memory)))
    shared_.exits = std::move(*log);
  else
    setup_.fds.forget(keeper_exits_name);
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
    end_unknown_cgroups();
  });
  Loop::arm(unknown_deadline_, core::Clock::now() + unknown_patience);
}

void Supervisor::end_unknown_cgroups() {
  if (!unknown_.empty()) return;  // they have some time yet
  cgroups_.end_others([this](const WorkerKey& worker) {
    bool known = false;
    services_.each([&](const ServiceRunner& runner) {
      known |= runner.service().config().name == worker.service && runner.has_process(worker.worker);
    });
    return known;
  });
}

Result<void> Supervisor::open_services() {
  for (const auto& config : setup_.config.services) {
    const auto found = std::ranges::find(before_.services, config.name, &state::Service::name);
    std::optional<state::Service> before;
    if (found != before_.services.end()) {
      before = std::move(*found);
      before_.services.erase(found);
    }
    if (auto opened = open_service(config, std::move(before), services_.configured); !opened) return opened;
    const ServiceRunner& runner = *services_.configured.back();
    if (!setup_.check_commands || runner.adopted()) continue;
    if (auto command = runner.check_command(); !command) return command;
  }
  return {};
}

Result<void> Supervisor::open_service(core::ServiceConfig config, std::optional<state::Service> before,
                                      std::vector<std::unique_ptr<ServiceRunner>>& to) {
  const auto configured = config.workers;
  // What an operator has scaled stays, until the file says something new.
  if (before && before->configured == configured) config.workers = before->core.wanted_workers;
  to.push_back(std::make_unique<ServiceRunner>(shared_, std::move(config), configured));
  ServiceRunner& runner = *to.back();
  auto listeners = before ? before->listeners : std::vector<state::Listener>();
  listeners.insert(listeners.end(), unwanted_.begin(), unwanted_.end());
  if (auto opened = runner.open_listeners(listeners, handover_); !opened)
    return Error{opened.error().code,
                 "service " + runner.service().config().name + ": " + opened.error().what};
  runner.open_notifications(handover_);
  if (before)
    runner.adopt(*std::move(before), handover_);
  else
    runner.adopt_strangers(handover_);
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
    if (auto opened = open_service(std::move(config), std::move(before), services_.former); !opened)
      log::warning(opened.error().what);
  }
}

// The longest that a service may take to become as it is configured: its workers start one after the other
// where it is reloaded.
core::Time Supervisor::latest_up() const {
  core::Millis longest{0};
  for (const auto& runner : services_.configured) {
    const auto& config = runner->service().config();
    const auto starts = runner->adopted() ? config.workers + 1 : 1;
    longest = std::max(longest, starts * config.start_timeout + config.reload.probation);
  }
  return core::Clock::now() + longest + change_margin;
}

core::Time Supervisor::latest_stop() const {
  core::Millis longest{0};
  services_.each([&longest](const ServiceRunner& runner) {
    longest = std::max(longest, runner.service().config().drain_deadline);
  });
  return core::Clock::now() + longest + change_margin;
}

std::string Supervisor::status_line() {
  const auto now = core::Clock::now();
  std::vector<core::ServiceInLine> lines;
  for (const auto& runner : services_.configured) lines.push_back(in_line(runner->service()));
  const auto failures = recent_failures_.count(now);
  if (const auto change = recent_failures_.next_change()) Loop::arm(failures_forgotten_, *change);
  return core::status_line(lines, failures, now - started_ >= core::recent_window);
}

void Supervisor::run() {
  manager_.starting(latest_up());
  manager_.status_changed();
  end_unknown_workers();
  if (!handover_.empty())
    for (const auto& name : handover_.drop(setup_.fds, services_.sockets()))
      log::warning("nobody wants the descriptor " + name + " that came with the start: it is closed");
  state_.keep();
  keeper_.start();
  auto waiting = std::make_shared<std::size_t>(services_.configured.size());
  const auto one_less = [this, waiting] {
    if (--*waiting == 0 && !shutting_down_) manager_.up();
  };
  if (*waiting == 0) manager_.up();
  resume_services(one_less);
  end_unknown_cgroups();
  for (const auto& runner : services_.configured) {
    if (runner->adopted()) continue;
    const std::string name = runner->service().config().name;
    start(name, [one_less, name](Result<void> result) {
      if (!result) log::warning("service " + name + ": " + result.error().what);
      one_less();
    });
  }
}

// Those that were there before go on as they were: stopped, backing off, serving.
void Supervisor::resume_services(const std::function<void()>& one_less) {
  for (const auto& runner : services_.configured)
    if (runner->adopted()) runner->resume(one_less);
  for (const auto& runner : services_.former) {
    log::notice("service " + runner->service().config().name + " is not configured any more: it is stopped");
    runner->resume();
    if (runner->idle()) loop_.later([this] { drop_former_services(); });
    runner->order([](core::Service& s, core::Time now, core::Effects& out) { return s.stop(now, out); },
                  [](const auto&) {});
  }
}

void Supervisor::shut_down(std::function<void()> done) {
  if (shutting_down_) {
    log::notice("told to stop again: killing what is left");
    services_.each([](ServiceRunner& runner) { runner.kill_all(); });
    return;
  }
  shutting_down_ = true;
  manager_.stopping(latest_stop());
  auto waiting = std::make_shared<std::size_t>(services_.size());
  const auto one_less = [waiting, done] {
    if (--*waiting == 0) done();
  };
  services_.each([&one_less](ServiceRunner& runner) {
    runner.order([](core::Service& s, core::Time now, core::Effects& out) { return s.stop(now, out); },
                 [one_less](const auto&) { one_less(); });
  });
}

// A service that an operator has stopped is one that may be started again.
void Supervisor::look_for_give_up() {
  if (shutting_down_ || !given_up_) return;
  for (const auto& runner : services_.configured)
    if (!runner->service().wanted() || runner->service().state() != core::ServiceState::stopped) return;
  std::exchange(given_up_, nullptr)();
}

void Supervisor::drop_former_services() {
  std::erase_if(services_.former, [this](const auto& runner) {
    if (!runner->idle() || shutting_down_) return false;
    state_.drop(runner->service().config().name);
    runner->close(false);
    return true;
  });
  state_.write();
  events_.changed();
}

void Supervisor::reap_strangers() {
  auto known = services_.pids();
  symbolizer_.list_pids(known);
  known.push_back(keeper_.pid());
  os::reap_strangers(known);
}

void Supervisor::close(bool keep_listeners) {
  services_.each([keep_listeners](ServiceRunner& runner) { runner.close(keep_listeners); });
  cgroups_.close();
  leave();
}

void Supervisor::leave() {
  failures_.store_waiting();
  store_source_.reset();
  oom_source_.reset();
}

}  // namespace refork::supervisor
