#pragma once

#include <systemd/sd-bus.h>

#include <vector>

#include "ctl/model.h"

// D-Bus messages into plain values. Properties that this version does not know are skipped, missing ones keep
// their default. Each returns a negative errno on a message of another shape.
namespace refork::ctl {

int read_daemon(sd_bus_message* message, Daemon& daemon);                           // a{sv} of the Manager
int read_managed_objects(sd_bus_message* message, std::vector<Service>& services);  // a{oa{sa{sv}}}
int read_why(sd_bus_message* message, Why& why);
int read_event(sd_bus_message* message, Event& event);
int read_strings(sd_bus_message* message, std::vector<std::string>& strings);  // as

}  // namespace refork::ctl
