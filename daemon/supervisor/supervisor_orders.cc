// What operators ask for, by whatever door: handed on to whom it is for, and answered from what is known.
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "os/process.h"
#include "refork/version.hpp"
#include "supervisor/supervisor.h"

namespace refork::supervisor {

using base::Error;
using base::Result;

void Supervisor::order(std::string_view name, const ServiceRunner::Order& order, Done done) {
  const auto asked = std::exchange(asked_, {});
  const auto runner = services_.find(name);
  if (!runner) return done(runner.error());
  (*runner)->order(order, std::move(done), [this, &asked, runner] { tell(asked, **runner, 0); });
}

void Supervisor::order_worker(std::string_view target, const WorkerOrder& order, Done done) {
  const auto asked = std::exchange(asked_, {});
  const auto found = services_.find_worker(target);
  if (!found) return done(found.error());
  const auto id = found->worker;
  found->runner->order(
      [&order, id](core::Service& s, core::Time now, core::Effects& out) { return order(s, id, now, out); },
      std::move(done), [this, &asked, &found, id] { tell(asked, *found->runner, id); });
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
  order_worker(
      target,
      [](core::Service& s, core::WorkerId id, core::Time now, core::Effects& out) {
        return s.drain(id, now, out);
      },
      std::move(done));
}

void Supervisor::kill(std::string_view target, Done done) {
  order_worker(
      target,
      [](core::Service& s, core::WorkerId id, core::Time now, core::Effects& out) {
        return s.kill(id, now, out);
      },
      std::move(done));
}

void Supervisor::send(std::string_view target, std::string_view json, Done done) {
  if (const auto runner = services_.find(target)) return done((*runner)->send(0, json));
  const auto found = services_.find_worker(target);
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

Result<core::Why> Supervisor::why(std::string_view target) {
  const auto slash = target.rfind('/');
  const auto runner = services_.find(target.substr(0, slash));
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
  if (const auto* history = events_.history_of(why.service)) why.history = history->entries(why.slot);
  return why;
}

void Supervisor::asked(std::string_view verb, std::string_view by) {
  asked_ = std::string(verb) + ", asked for by " + std::string(by);
}

// An order that makes no sense is told to whom gave it, and to nobody else.
void Supervisor::tell(const std::string& asked, const ServiceRunner& runner, core::WorkerId worker) {
  if (asked.empty()) return;
  core::Event event{.type = "operator"};
  event.text = asked;
  event.service = runner.service().config().name;
  event.worker = worker;
  const auto& workers = runner.service().workers();
  if (const auto known = workers.find(worker); known != workers.end()) event.slot = known->second.slot;
  events_.announce(std::move(event));
}

void Supervisor::reexec(Done done) {
  if (shutting_down_) return done(Error{EBUSY, "reforkd is stopping"});
  if (const auto possible = setup_.reexec(); !possible) return done(possible.error());
  for (const auto& runner : services_.configured)
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
  services_.each([&status](const ServiceRunner& runner) { status.services.push_back(runner.status()); });
  return status;
}

}  // namespace refork::supervisor
