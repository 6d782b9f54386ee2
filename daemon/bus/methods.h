#pragma once

#include <span>

#include "bus/sdbus.h"

// The methods of each interface, as rows of a vtable whose userdata is the Door.
namespace refork::bus {

std::span<const sd_bus_vtable> manager_methods();  // and its signals
std::span<const sd_bus_vtable> service_methods();
std::span<const sd_bus_vtable> worker_methods();
std::span<const sd_bus_vtable>
driver_methods();  // org.freedesktop.DBus, as far as generic clients insist on it

}  // namespace refork::bus
