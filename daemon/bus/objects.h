#pragma once

#include <vector>

#include "bus/sdbus.h"

namespace refork::bus {

class Connection;

// Puts the object tree on one peer's bus: the Manager, a Service for each service, a Worker for each worker,
// the ObjectManager. The objects are looked up when asked for; `slots` owns their registration. A negative
// errno on error.
int add_objects(sd_bus* bus, Connection& connection, std::vector<SlotPtr>& slots);

}  // namespace refork::bus
