#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/service.h"

namespace refork::core {

// A service on a clock of its own, whose effects are kept instead of performed.
class Scene {
 public:
  explicit Scene(ServiceConfig config = {})
      : service(
            with_name(std::move(config)), [this] { return ++last_id; }, [] { return 0.0; }) {}

  static ServiceConfig workers(std::uint32_t n) {
    ServiceConfig config;
    config.workers = n;
    return config;
  }

  // Starts it and makes every worker ready: ids 1 .. N.
  Scene& up() {
    keep(service.start(now, out));
    for (WorkerId id = 1; id <= service.config().workers; ++id) service.on_ready(id, now, out);
    out.clear();
    return *this;
  }
  void pass(Millis time) {
    const Time until = now + time;
    for (auto at = service.next(); at && *at <= until; at = service.next()) {
      now = std::max(now, *at);
      service.tick(now, out);
    }
    now = until;
    service.tick(now, out);
  }
  void fail(WorkerId id) { service.on_failure(id, "f" + std::to_string(id), Then::drain, now, out); }
  void ready(WorkerId id) { service.on_ready(id, now, out); }
  void exit(WorkerId id, int code) { service.on_exit(id, {code, {}, false, {}}, now, out); }
  void die(WorkerId id, int signal) { service.on_exit(id, {{}, signal, false, {}}, now, out); }
  // It leaves so many requests without an answer.
  void exit_cutting(WorkerId id, std::size_t requests) {
    service.on_exit(id, {.code = 0, .signal = {}, .core = false, .boot_error = {}, .cut = requests}, now,
                    out);
  }
  void leave(WorkerId id, int code) {
    service.on_disconnect(id, false, now, out);
    exit(id, code);
  }
  // The job of an order, 0 and `refused` where it was not accepted.
  JobId keep(base::Result<JobId> job) {
    refused = job ? std::string() : job.error().what;
    return job ? *job : 0;
  }

  template <class E>
  std::vector<E> all() const {
    std::vector<E> found;
    for (const auto& effect : out)
      if (const auto* e = std::get_if<E>(&effect)) found.push_back(*e);
    return found;
  }
  template <class E>
  std::size_t count() const {
    return all<E>().size();
  }
  const Worker& worker(WorkerId id) const { return service.workers().at(id); }
  bool gone(WorkerId id) const { return !service.workers().contains(id); }
  std::size_t serving() const {
    return static_cast<std::size_t>(std::count_if(service.workers().begin(), service.workers().end(),
                                                  [](const auto& w) { return accepts(w.second.state); }));
  }

  Time now{std::chrono::hours(1)};
  Effects out;
  WorkerId last_id = 0;
  std::string refused;
  Service service;

 private:
  static ServiceConfig with_name(ServiceConfig config) {
    config.name = "web";
    config.command = {"/bin/web"};
    return config;
  }
};

}  // namespace refork::core
