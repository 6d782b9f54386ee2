#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace refork::bus {

// A worker together with the service it belongs to.
struct WorkerRef {
  const core::ServiceStatus* service = nullptr;
  const core::WorkerStatus* worker = nullptr;
};

// The status of one moment, indexed as the objects of the bus are. Immutable.
class Snapshot {
 public:
  explicit Snapshot(core::DaemonStatus status);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  const core::DaemonStatus& daemon() const { return status_; }
  const std::map<std::string_view, const core::ServiceStatus*>& services() const { return services_; }
  const std::map<std::uint64_t, WorkerRef>& workers() const { return workers_; }

 private:
  core::DaemonStatus status_;
  std::map<std::string_view, const core::ServiceStatus*> services_;
  std::map<std::uint64_t, WorkerRef> workers_;  // without the empty slots
};

inline constexpr const char* manager_path = "/org/refork1";
inline constexpr const char* service_prefix = "/org/refork1/service";
inline constexpr const char* worker_prefix = "/org/refork1/worker";
inline constexpr const char* manager_interface = "org.refork1.Manager";
inline constexpr const char* service_interface = "org.refork1.Service";
inline constexpr const char* worker_interface = "org.refork1.Worker";

std::string service_path(std::string_view name);
std::string worker_path(std::uint64_t id);
// The other way round: empty, or 0, if the path is none of ours.
std::string service_of(const char* path);
std::uint64_t worker_of(const char* path);

// What has to be told to somebody who knew `before`. Pure.
struct Change {
  std::string path;
  const char* interface;
  std::vector<const char*> properties;
};
struct Object {
  std::string path;
  const char* interface;
};
struct Difference {
  std::vector<Change> changed;
  std::vector<Object> added, removed;
};
Difference difference(const Snapshot& before, const Snapshot& after);

}  // namespace refork::bus
