#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "bus/sdbus.h"
#include "bus/snapshot.h"

namespace refork::bus {

using EmptySlot =
    std::tuple<std::uint32_t, std::uint32_t, std::uint64_t, std::string>;  // slot, generation, next, why
using Value = std::variant<std::string, std::uint64_t, std::uint32_t, std::int32_t, bool,
                           std::vector<std::string>, std::vector<EmptySlot>>;

enum class Publish {
  never_changes,
  changes,     // PropertiesChanged tells
  on_request,  // changes all the time: read fresh, announced never
};

// One property: the vtable, its getter and the comparison are all made from this row.
template <class T>
struct Property {
  const char* name;
  Publish publish;
  Value (*value)(const T&);
};
std::span<const Property<core::DaemonStatus>> manager_properties();
std::span<const Property<core::ServiceStatus>> service_properties();
std::span<const Property<WorkerRef>> worker_properties();

const char* signature(const Value& value);
int append(sd_bus_message* message, const Value& value);

}  // namespace refork::bus
