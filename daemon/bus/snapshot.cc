// The status of one moment and what differs between two: pure, knows object paths but no connection.
#include "bus/snapshot.h"

#include <charconv>
#include <cstdlib>
#include <memory>
#include <utility>

#include "bus/properties.h"

namespace refork::bus {

namespace {

struct Free {
  void operator()(char* text) const noexcept { std::free(text); }
};
using CString = std::unique_ptr<char, Free>;

template <class T>
void compare(Difference& out, const std::string& path, const char* interface,
             std::span<const Property<T>> properties, const T& before, const T& after) {
  Change change{path, interface, {}};
  for (const auto& property : properties)
    if (property.publish == Publish::changes && property.value(before) != property.value(after))
      change.properties.push_back(property.name);
  if (!change.properties.empty()) out.changed.push_back(std::move(change));
}

const core::ServiceStatus& get(const core::ServiceStatus* service) { return *service; }
const WorkerRef& get(const WorkerRef& worker) { return worker; }

template <class Map, class Path, class T>
void compare_all(Difference& out, const Map& before, const Map& after, Path path_of, const char* interface,
                 std::span<const Property<T>> properties) {
  for (const auto& [key, value] : before)
    if (!after.contains(key)) out.removed.push_back({path_of(key), interface});
  for (const auto& [key, value] : after) {
    const auto old = before.find(key);
    if (old == before.end())
      out.added.push_back({path_of(key), interface});
    else
      compare(out, path_of(key), interface, properties, get(old->second), get(value));
  }
}

}  // namespace

Snapshot::Snapshot(core::DaemonStatus status) : status_(std::move(status)) {
  for (const auto& service : status_.services) {
    services_.emplace(service.name, &service);
    for (const auto& worker : service.workers)
      if (worker.id != 0) workers_.emplace(worker.id, WorkerRef{&service, &worker});
  }
}

std::string service_path(std::string_view name) {
  char* path = nullptr;
  if (sd_bus_path_encode(service_prefix, std::string(name).c_str(), &path) < 0) return {};
  return CString(path).get();
}

std::string worker_path(std::uint64_t id) { return std::string(worker_prefix) + "/" + std::to_string(id); }

std::string service_of(const char* path) {
  char* name = nullptr;
  if (sd_bus_path_decode(path, service_prefix, &name) <= 0) return {};
  return CString(name).get();
}

std::uint64_t worker_of(const char* path) {
  std::string_view text(path);
  const std::string prefix = std::string(worker_prefix) + "/";
  if (!text.starts_with(prefix)) return 0;
  text.remove_prefix(prefix.size());
  std::uint64_t id = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
  return problem == std::errc() && end == text.data() + text.size() && worker_path(id) == path ? id : 0;
}

Difference difference(const Snapshot& before, const Snapshot& after) {
  Difference out;
  compare(out, manager_path, manager_interface, manager_properties(), before.daemon(), after.daemon());
  compare_all(out, before.services(), after.services(), service_path, service_interface,
              service_properties());
  compare_all(out, before.workers(), after.workers(), worker_path, worker_interface, worker_properties());
  return out;
}

}  // namespace refork::bus
