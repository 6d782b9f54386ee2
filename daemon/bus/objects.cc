// The object tree as sd-bus sees it: vtables made from the tables of properties.cc and methods.cc, and how an
// object path is looked up in the status of the moment.
#include "bus/objects.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "bus/door.h"
#include "bus/methods.h"
#include "bus/properties.h"

namespace refork::bus {

namespace {

Host& host_of(void* userdata) { return static_cast<Door*>(userdata)->host(); }

const core::DaemonStatus* find(const Snapshot& snapshot, const char*, const core::DaemonStatus*) {
  return &snapshot.daemon();
}
const core::ServiceStatus* find(const Snapshot& snapshot, const char* path, const core::ServiceStatus*) {
  const auto found = snapshot.services().find(service_of(path));
  return found == snapshot.services().end() ? nullptr : found->second;
}
const WorkerRef* find(const Snapshot& snapshot, const char* path, const WorkerRef*) {
  const auto found = snapshot.workers().find(worker_of(path));
  return found == snapshot.workers().end() ? nullptr : &found->second;
}

template <class T>
using Table = std::span<const Property<T>> (*)();

template <class T, Table<T> table>
int get_property(sd_bus*, const char* path, const char*, const char* name, sd_bus_message* reply,
                 void* userdata, sd_bus_error* error) noexcept {
  return guarded(error, [&] {
    const auto snapshot = host_of(userdata).snapshot();
    const T* object = find(*snapshot, path, static_cast<const T*>(nullptr));
    if (!object) return -ENOENT;
    for (const auto& property : table())
      if (std::strcmp(property.name, name) == 0) return append(reply, property.value(*object));
    return -ENOENT;
  });
}

// Does this path exist? Its userdata is the door, like everybody's: getters look the object up again.
template <class T>
int find_object(sd_bus*, const char* path, const char*, void* userdata, void** found,
                sd_bus_error* error) noexcept {
  return guarded(error, [&] {
    const auto snapshot = host_of(userdata).snapshot();
    if (!find(*snapshot, path, static_cast<const T*>(nullptr))) return 0;
    *found = userdata;
    return 1;
  });
}

sd_bus_vtable property_row(const char* name, const char* type, Publish publish, sd_bus_property_get_t get) {
  switch (publish) {
    case Publish::never_changes:
      return SD_BUS_PROPERTY(name, type, get, 0, SD_BUS_VTABLE_PROPERTY_CONST);
    case Publish::changes:
      return SD_BUS_PROPERTY(name, type, get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE);
    case Publish::on_request:
      break;
  }
  return SD_BUS_PROPERTY(name, type, get, 0, 0);
}

void add_properties(std::vector<sd_bus_vtable>& rows) {
  static const core::DaemonStatus nothing;
  for (const auto& property : manager_properties())
    rows.push_back(property_row(property.name, signature(property.value(nothing)), property.publish,
                                get_property<core::DaemonStatus, manager_properties>));
}
void add_service_properties(std::vector<sd_bus_vtable>& rows) {
  static const core::ServiceStatus nothing;
  for (const auto& property : service_properties())
    rows.push_back(property_row(property.name, signature(property.value(nothing)), property.publish,
                                get_property<core::ServiceStatus, service_properties>));
}
void add_worker_properties(std::vector<sd_bus_vtable>& rows) {
  static const core::ServiceStatus no_service;
  static const core::WorkerStatus no_worker;
  for (const auto& property : worker_properties())
    rows.push_back(property_row(property.name, signature(property.value({&no_service, &no_worker})),
                                property.publish, get_property<WorkerRef, worker_properties>));
}

// sd-bus refers to the rows for as long as a connection lives, so they are made once and stay.
std::vector<sd_bus_vtable> make_vtable(std::span<const sd_bus_vtable> methods,
                                       void (*properties)(std::vector<sd_bus_vtable>&)) {
  std::vector<sd_bus_vtable> rows;
  rows.push_back(SD_BUS_VTABLE_START(0));
  rows.insert(rows.end(), methods.begin(), methods.end());
  if (properties) properties(rows);
  rows.push_back(SD_BUS_VTABLE_END);
  return rows;
}
const sd_bus_vtable* manager_vtable() {
  static const auto rows = make_vtable(manager_methods(), add_properties);
  return rows.data();
}
const sd_bus_vtable* service_vtable() {
  static const auto rows = make_vtable(service_methods(), add_service_properties);
  return rows.data();
}
const sd_bus_vtable* worker_vtable() {
  static const auto rows = make_vtable(worker_methods(), add_worker_properties);
  return rows.data();
}
const sd_bus_vtable* driver_vtable() {
  static const auto rows = make_vtable(driver_methods(), nullptr);
  return rows.data();
}

// A list of paths the way sd-bus wants it: malloc'ed, and freed by it.
int hand_over(const std::vector<std::string>& paths, char*** out) {
  auto** list = static_cast<char**>(std::calloc(paths.size() + 1, sizeof(char*)));
  if (!list) return -ENOMEM;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    list[i] = ::strdup(paths[i].c_str());
    if (list[i]) continue;
    while (i > 0) std::free(list[--i]);
    std::free(list);
    return -ENOMEM;
  }
  *out = list;
  return 0;
}

int list_services(sd_bus*, const char*, void* userdata, char*** out, sd_bus_error* error) noexcept {
  return guarded(error, [&] {
    std::vector<std::string> paths;
    for (const auto& [name, service] : host_of(userdata).snapshot()->services())
      paths.push_back(service_path(name));
    return hand_over(paths, out);
  });
}
int list_workers(sd_bus*, const char*, void* userdata, char*** out, sd_bus_error* error) noexcept {
  return guarded(error, [&] {
    std::vector<std::string> paths;
    for (const auto& [id, worker] : host_of(userdata).snapshot()->workers()) paths.push_back(worker_path(id));
    return hand_over(paths, out);
  });
}

}  // namespace

int add_objects(sd_bus* bus, Door& door, std::vector<SlotPtr>& slots) {
  sd_bus_slot* slot = nullptr;
  int r = 0;
  const auto keep = [&] {
    if (r >= 0) slots.emplace_back(slot);
    return r >= 0;
  };
  void* const self = &door;
  r = sd_bus_add_object_vtable(bus, &slot, manager_path, manager_interface, manager_vtable(), self);
  if (!keep()) return r;
  r = sd_bus_add_fallback_vtable(bus, &slot, service_prefix, service_interface, service_vtable(),
                                 find_object<core::ServiceStatus>, self);
  if (!keep()) return r;
  r = sd_bus_add_fallback_vtable(bus, &slot, worker_prefix, worker_interface, worker_vtable(),
                                 find_object<WorkerRef>, self);
  if (!keep()) return r;
  r = sd_bus_add_node_enumerator(bus, &slot, service_prefix, list_services, self);
  if (!keep()) return r;
  r = sd_bus_add_node_enumerator(bus, &slot, worker_prefix, list_workers, self);
  if (!keep()) return r;
  r = sd_bus_add_object_manager(bus, &slot, manager_path);
  keep();
  return r;
}

int add_driver(sd_bus* bus, std::vector<SlotPtr>& slots) {
  sd_bus_slot* slot = nullptr;
  const int r = sd_bus_add_object_vtable(bus, &slot, "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                         driver_vtable(), nullptr);
  if (r >= 0) slots.emplace_back(slot);
  return r;
}

}  // namespace refork::bus
