// The properties of the three interfaces, one row each. What a property is called, how it is read, whether
// its changes are announced: all of it stands here once.
#include "bus/properties.h"

#include <array>

#include "proto/messages.h"

namespace refork::bus {

namespace {

using core::DaemonStatus;
using core::ServiceStatus;

constexpr Property<DaemonStatus> manager_table[] = {
    {"Version", Publish::never_changes, [](const DaemonStatus& d) -> Value { return d.version; }},
    {"Pid", Publish::never_changes, [](const DaemonStatus& d) -> Value { return d.pid; }},
    {"Started", Publish::never_changes, [](const DaemonStatus& d) -> Value { return d.started_ms; }},
    {"Memory", Publish::on_request, [](const DaemonStatus& d) -> Value { return d.rss_bytes; }},
    {"Config", Publish::changes, [](const DaemonStatus& d) -> Value { return d.config; }},
    {"StoreState", Publish::changes, [](const DaemonStatus& d) -> Value { return d.store.state; }},
    {"StoreWhy", Publish::changes, [](const DaemonStatus& d) -> Value { return d.store.why; }},
    {"StorePath", Publish::changes, [](const DaemonStatus& d) -> Value { return d.store.path; }},
    {"StoreWaiting", Publish::on_request, [](const DaemonStatus& d) -> Value { return d.store.waiting; }},
    {"StoreDropped", Publish::on_request, [](const DaemonStatus& d) -> Value { return d.store.dropped; }},
};

Value empty_slots(const ServiceStatus& service) {
  std::vector<EmptySlot> slots;
  for (const auto& worker : service.workers)
    if (worker.id == 0) slots.emplace_back(worker.slot, worker.generation, worker.next_start_ms, worker.why);
  return slots;
}

constexpr Property<ServiceStatus> service_table[] = {
    {"Name", Publish::never_changes, [](const ServiceStatus& s) -> Value { return s.name; }},
    {"State", Publish::changes,
     [](const ServiceStatus& s) -> Value { return std::string(base::to_name(s.state)); }},
    {"Generation", Publish::changes, [](const ServiceStatus& s) -> Value { return s.generation; }},
    {"Wanted", Publish::changes, [](const ServiceStatus& s) -> Value { return s.wanted; }},
    {"Failures", Publish::changes, [](const ServiceStatus& s) -> Value { return s.failures; }},
    {"Restarts", Publish::changes, [](const ServiceStatus& s) -> Value { return s.restarts; }},
    {"Listen", Publish::changes, [](const ServiceStatus& s) -> Value { return s.listen; }},
    {"Log", Publish::changes, [](const ServiceStatus& s) -> Value { return s.log; }},
    {"Why", Publish::changes, [](const ServiceStatus& s) -> Value { return s.why; }},
    // Slots without a worker have no object of their own: (slot, generation, next start in Unix ms, why).
    {"EmptySlots", Publish::changes, empty_slots},
};

constexpr Property<WorkerRef> worker_table[] = {
    {"Id", Publish::never_changes, [](const WorkerRef& r) -> Value { return r.worker->id; }},
    {"Service", Publish::never_changes, [](const WorkerRef& r) -> Value { return r.service->name; }},
    {"Slot", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->slot; }},
    {"Pid", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->pid; }},
    {"State", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->state; }},
    {"Generation", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->generation; }},
    {"Tainted", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->tainted; }},
    {"Started", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->started_ms; }},
    {"Deadline", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->deadline_ms; }},
    {"Why", Publish::changes, [](const WorkerRef& r) -> Value { return r.worker->why; }},
    {"InFlight", Publish::on_request, [](const WorkerRef& r) -> Value { return r.worker->in_flight; }},
    {"Served", Publish::on_request, [](const WorkerRef& r) -> Value { return r.worker->served; }},
    {"Memory", Publish::on_request, [](const WorkerRef& r) -> Value { return r.worker->rss_bytes; }},
};

int append_one(sd_bus_message* message, const std::string& text) {
  return sd_bus_message_append(message, "s", wire_line(text).c_str());
}
int append_one(sd_bus_message* message, std::uint64_t value) {
  return sd_bus_message_append(message, "t", value);
}
int append_one(sd_bus_message* message, std::uint32_t value) {
  return sd_bus_message_append(message, "u", value);
}
int append_one(sd_bus_message* message, std::int32_t value) {
  return sd_bus_message_append(message, "i", value);
}
int append_one(sd_bus_message* message, bool value) {
  return sd_bus_message_append(message, "b", int{value});
}
int append_one(sd_bus_message* message, const EmptySlot& slot) {
  const auto& [number, generation, next, why] = slot;
  return sd_bus_message_append(message, "(uuts)", number, generation, next, wire_line(why).c_str());
}
template <class T>
int append_all(sd_bus_message* message, const char* element, const std::vector<T>& values) {
  int r = sd_bus_message_open_container(message, 'a', element);
  for (std::size_t i = 0; r >= 0 && i < values.size(); ++i) r = append_one(message, values[i]);
  return r < 0 ? r : sd_bus_message_close_container(message);
}
int append_one(sd_bus_message* message, const std::vector<std::string>& values) {
  return append_all(message, "s", values);
}
int append_one(sd_bus_message* message, const std::vector<EmptySlot>& values) {
  return append_all(message, "(uuts)", values);
}

}  // namespace

std::span<const Property<DaemonStatus>> manager_properties() { return manager_table; }
std::span<const Property<ServiceStatus>> service_properties() { return service_table; }
std::span<const Property<WorkerRef>> worker_properties() { return worker_table; }

const char* signature(const Value& value) {
  static constexpr std::array<const char*, std::variant_size_v<Value>> names = {"s", "t",  "u",      "i",
                                                                                "b", "as", "a(uuts)"};
  return names[value.index()];
}

int append(sd_bus_message* message, const Value& value) {
  return std::visit([message](const auto& held) { return append_one(message, held); }, value);
}

}  // namespace refork::bus
