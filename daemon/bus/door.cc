// What both doors have in common: no method does anything before its caller's right was asked for here.
#include "bus/door.h"

#include <cerrno>
#include <vector>

namespace refork::bus {

int perform(const Request& request, const Caller& caller, sd_bus_message* message,
            sd_bus_error* error) noexcept {
  return guarded(error, [&] {
    if (!caller.may(request.action))
      return sd_bus_error_set(error, error_name(EACCES),
                              wire_line(denial(caller.peer, request.action)).c_str());
    if (*caller.waiting >= caller.host.limits().waiting)
      return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                              "too many requests of this connection wait for their answer");
    return request.body(caller, message, error);
  });
}

void emit_changes(sd_bus* bus, const Difference& changes) {
  for (const auto& object : changes.removed)
    sd_bus_emit_interfaces_removed(bus, object.path.c_str(), object.interface, nullptr);
  for (const auto& object : changes.added)
    sd_bus_emit_interfaces_added(bus, object.path.c_str(), object.interface, nullptr);
  for (const auto& change : changes.changed) {
    // sd-bus takes the list as char**, but only reads it.
    std::vector<char*> names;
    for (const char* name : change.properties) names.push_back(const_cast<char*>(name));
    names.push_back(nullptr);
    sd_bus_emit_properties_changed_strv(bus, change.path.c_str(), change.interface, names.data());
  }
}

void emit_failure(sd_bus* bus, const core::FailureRow& row) {
  sd_bus_emit_signal(bus, manager_path, manager_interface, "FailureRecorded", "ssuss",
                     wire_line(row.id).c_str(), wire_line(row.service).c_str(), row.slot,
                     wire_line(row.kind).c_str(), wire_line(row.fingerprint).c_str());
}

}  // namespace refork::bus
