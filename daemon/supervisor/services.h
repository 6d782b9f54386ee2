#pragma once

#include <sys/types.h>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/effects.h"
#include "supervisor/service_runner.h"

namespace refork::supervisor {

// All services of a reforkd, and how operators name them and their workers.
class Services {
 public:
  using Runners = std::vector<std::unique_ptr<ServiceRunner>>;
  struct Target {
    ServiceRunner* runner = nullptr;
    core::WorkerId worker = 0;
  };

  Runners configured;
  Runners former;  // no longer configured: what is left of them drains

  template <class Do>
  void each(Do&& call) const {
    for (const auto* runners : {&configured, &former})
      for (const auto& runner : *runners) call(*runner);
  }
  std::size_t size() const noexcept { return configured.size() + former.size(); }

  base::Result<ServiceRunner*> find(std::string_view name) const;   // of those that are configured
  base::Result<Target> find_worker(std::string_view target) const;  // SERVICE/SLOT or a worker's id
  std::vector<pid_t> pids() const;
  std::vector<int> sockets() const;  // that are listened on
  // Workers beside this one that ended by somebody's SIGKILL, not yet reaped.
  std::size_t killed_beside(core::WorkerId worker) const;
};

base::Result<std::uint32_t> slot_of(const core::Service& service, std::string_view text);

}  // namespace refork::supervisor
