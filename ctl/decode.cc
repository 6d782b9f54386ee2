// Reads what reforkd publishes: dictionaries of properties into the structs of model.h, one table row a
// property.
#include "ctl/decode.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace refork::ctl {

namespace {

int read_value(sd_bus_message* m, std::string& value) {
  const char* text = nullptr;
  const int r = sd_bus_message_read(m, "v", "s", &text);
  if (r > 0) value = text;
  return r;
}
int read_value(sd_bus_message* m, std::uint64_t& value) { return sd_bus_message_read(m, "v", "t", &value); }
int read_value(sd_bus_message* m, std::uint32_t& value) { return sd_bus_message_read(m, "v", "u", &value); }
int read_value(sd_bus_message* m, std::int32_t& value) { return sd_bus_message_read(m, "v", "i", &value); }
int read_value(sd_bus_message* m, bool& value) {
  int number = 0;
  const int r = sd_bus_message_read(m, "v", "b", &number);
  value = number != 0;
  return r;
}
int read_value(sd_bus_message* m, std::vector<std::string>& values) {
  int r = sd_bus_message_enter_container(m, 'v', "as");
  if (r < 0 || (r = read_strings(m, values)) < 0) return r;
  return sd_bus_message_exit_container(m);
}

// The slots that have no worker, as workers without an id.
int read_empty_slots(sd_bus_message* m, Service& service) {
  int r = sd_bus_message_enter_container(m, 'v', "a(uuts)");
  if (r < 0 || (r = sd_bus_message_enter_container(m, 'a', "(uuts)")) < 0) return r;
  Worker slot;
  slot.state = "backoff";
  const char* why = nullptr;
  while ((r = sd_bus_message_read(m, "(uuts)", &slot.slot, &slot.generation, &slot.next_start_ms, &why)) >
         0) {
    slot.why = why;
    service.workers.push_back(slot);
  }
  if (r < 0 || (r = sd_bus_message_exit_container(m)) < 0) return r;
  return sd_bus_message_exit_container(m);
}

template <class T>
struct Field {
  std::string_view name;
  int (*read)(sd_bus_message*, T&);
};

constexpr Field<Daemon> daemon_fields[] = {
    {"Version", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.version); }},
    {"Pid", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.pid); }},
    {"Started", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.started_ms); }},
    {"Memory", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.rss_bytes); }},
    {"Config", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.config); }},
    {"StoreState", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.store.state); }},
    {"StoreWhy", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.store.why); }},
    {"StorePath", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.store.path); }},
    {"StoreWaiting", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.store.waiting); }},
    {"StoreDropped", [](sd_bus_message* m, Daemon& d) { return read_value(m, d.store.dropped); }},
};
constexpr Field<Service> service_fields[] = {
    {"Name", [](sd_bus_message* m, Service& s) { return read_value(m, s.name); }},
    {"State", [](sd_bus_message* m, Service& s) { return read_value(m, s.state); }},
    {"Generation", [](sd_bus_message* m, Service& s) { return read_value(m, s.generation); }},
    {"Wanted", [](sd_bus_message* m, Service& s) { return read_value(m, s.wanted); }},
    {"Failures", [](sd_bus_message* m, Service& s) { return read_value(m, s.failures); }},
    {"Restarts", [](sd_bus_message* m, Service& s) { return read_value(m, s.restarts); }},
    {"Listen", [](sd_bus_message* m, Service& s) { return read_value(m, s.listen); }},
    {"Log", [](sd_bus_message* m, Service& s) { return read_value(m, s.log); }},
    {"Why", [](sd_bus_message* m, Service& s) { return read_value(m, s.why); }},
    {"EmptySlots", read_empty_slots},
};
constexpr Field<Worker> worker_fields[] = {
    {"Id", [](sd_bus_message* m, Worker& w) { return read_value(m, w.id); }},
    {"Service", [](sd_bus_message* m, Worker& w) { return read_value(m, w.service); }},
    {"Slot", [](sd_bus_message* m, Worker& w) { return read_value(m, w.slot); }},
    {"Pid", [](sd_bus_message* m, Worker& w) { return read_value(m, w.pid); }},
    {"State", [](sd_bus_message* m, Worker& w) { return read_value(m, w.state); }},
    {"Generation", [](sd_bus_message* m, Worker& w) { return read_value(m, w.generation); }},
    {"InFlight", [](sd_bus_message* m, Worker& w) { return read_value(m, w.in_flight); }},
    {"Served", [](sd_bus_message* m, Worker& w) { return read_value(m, w.served); }},
    {"Tainted", [](sd_bus_message* m, Worker& w) { return read_value(m, w.tainted); }},
    {"Started", [](sd_bus_message* m, Worker& w) { return read_value(m, w.started_ms); }},
    {"Deadline", [](sd_bus_message* m, Worker& w) { return read_value(m, w.deadline_ms); }},
    {"Memory", [](sd_bus_message* m, Worker& w) { return read_value(m, w.rss_bytes); }},
    {"Why", [](sd_bus_message* m, Worker& w) { return read_value(m, w.why); }},
};

// Calls each(key) for the entries of a{KEY VALUE}; it reads the value.
template <class Each>
int read_dictionary(sd_bus_message* m, const char* key_type, const char* entry, Each&& each) {
  int r = sd_bus_message_enter_container(m, 'a', (std::string("{") + entry + "}").c_str());
  if (r < 0) return r;
  while ((r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
    const char* key = nullptr;
    if ((r = sd_bus_message_read(m, key_type, &key)) < 0) return r;
    if ((r = each(std::string_view(key))) < 0) return r;
    if ((r = sd_bus_message_exit_container(m)) < 0) return r;
  }
  return r < 0 ? r : sd_bus_message_exit_container(m);
}

template <class T>
int read_properties(sd_bus_message* m, std::span<const Field<T>> fields, T& object) {
  return read_dictionary(m, "s", "sv", [&](std::string_view name) {
    for (const auto& field : fields)
      if (field.name == name) return field.read(m, object);
    return sd_bus_message_skip(m, "v");
  });
}

}  // namespace

int read_daemon(sd_bus_message* message, Daemon& daemon) {
  return read_properties<Daemon>(message, daemon_fields, daemon);
}

int read_managed_objects(sd_bus_message* message, std::vector<Service>& services) {
  std::map<std::string, Service> by_name;
  std::vector<Worker> workers;
  const auto read_interface = [&](std::string_view interface) {
    if (interface == "org.refork1.Service") {
      Service service;
      const int r = read_properties<Service>(message, service_fields, service);
      const std::string name = service.name;
      if (r >= 0) by_name[name] = std::move(service);
      return r;
    }
    if (interface == "org.refork1.Worker") {
      workers.emplace_back();
      return read_properties<Worker>(message, worker_fields, workers.back());
    }
    return sd_bus_message_skip(message, "a{sv}");
  };
  const int r = read_dictionary(message, "o", "oa{sa{sv}}", [&](std::string_view) {
    return read_dictionary(message, "s", "sa{sv}", read_interface);
  });
  if (r < 0) return r;
  for (auto& worker : workers)
    if (const auto found = by_name.find(worker.service); found != by_name.end())
      found->second.workers.push_back(std::move(worker));
  for (auto& [name, service] : by_name) {
    std::ranges::sort(service.workers, {}, [](const Worker& w) { return std::pair(w.slot, w.id); });
    for (auto& worker : service.workers) worker.service = name;
    services.push_back(std::move(service));
  }
  return 0;
}

int read_event(sd_bus_message* message, Event& event) {
  const char *type = nullptr, *service = nullptr, *text = nullptr;
  const int r = sd_bus_message_read(message, "ttssitis", &event.sequence, &event.time_ms, &type, &service,
                                    &event.slot, &event.worker, &event.pid, &text);
  if (r <= 0) return r < 0 ? r : -EBADMSG;
  event.type = type;
  event.service = service;
  event.text = text;
  return 0;
}

int read_why(sd_bus_message* m, Why& why) {
  Condition condition;
  const char *kind = nullptr, *text = nullptr;
  int r = sd_bus_message_enter_container(m, 'a', "(itsst)");
  while (r >= 0 && (r = sd_bus_message_read(m, "(itsst)", &condition.slot, &condition.worker, &kind, &text,
                                            &condition.until_ms)) > 0) {
    condition.kind = kind;
    condition.text = text;
    why.conditions.push_back(condition);
  }
  if (r < 0 || (r = sd_bus_message_exit_container(m)) < 0) return r;

  HistoryEntry entry;
  const char *what = nullptr, *detail = nullptr, *failure = nullptr, *by = nullptr, *waited_for = nullptr;
  r = sd_bus_message_enter_container(m, 'a', "(titisssststsxxxt)");
  while (r >= 0 && (r = sd_bus_message_read(
                        m, "(titisssststsxxxt)", &entry.time_ms, &entry.slot, &entry.worker, &entry.pid,
                        &what, &text, &detail, &failure, &entry.instead_of, &by, &entry.waited_ms,
                        &waited_for, &entry.duration_ms, &entry.completed, &entry.cut, &entry.count)) > 0) {
    entry.what = what;
    entry.text = text;
    entry.detail = detail;
    entry.failure = failure;
    entry.by = by;
    entry.waited_for = waited_for;
    why.history.push_back(entry);
  }
  return r < 0 ? r : sd_bus_message_exit_container(m);
}

int read_strings(sd_bus_message* message, std::vector<std::string>& strings) {
  int r = sd_bus_message_enter_container(message, 'a', "s");
  if (r < 0) return r;
  const char* text = nullptr;
  while ((r = sd_bus_message_read(message, "s", &text)) > 0) strings.emplace_back(text);
  return r < 0 ? r : sd_bus_message_exit_container(message);
}

}  // namespace refork::ctl
