#pragma once

#include <vector>

#include "bus/sdbus.h"

namespace refork::bus {

class Door;

// Puts the object tree on a bus: the Manager, a Service for each service, a Worker for each worker,
// the ObjectManager. The objects are looked up when asked for; `slots` owns their registration. A negative
// errno on error.
int add_objects(sd_bus* bus, Door& door, std::vector<SlotPtr>& slots);
// org.freedesktop.DBus, as far as generic clients insist on it where there is no message bus.
int add_driver(sd_bus* bus, std::vector<SlotPtr>& slots);

}  // namespace refork::bus
