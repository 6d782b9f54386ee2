#pragma once

#include <cstddef>
#include <memory>

#include "bus/access.h"
#include "bus/bus.h"
#include "bus/sdbus.h"
#include "bus/snapshot.h"

namespace refork::bus {

// What both doors need of the server they belong to.
class Host {
 public:
  virtual ~Host() = default;
  virtual core::Operations& operations() = 0;
  virtual std::shared_ptr<const Snapshot> snapshot() = 0;  // of this turn of the loop
  virtual const AccessPolicy& policy() const = 0;
  virtual const Limits& limits() const = 0;
};

// Who sent a message, as the door knows it.
struct Caller {
  Host& host;
  const Peer& peer;
  // Requests that wait for their answer; shared with the answers, which may outlive the caller.
  const std::shared_ptr<std::size_t>& waiting;

  bool may(Action action) const { return bus::may(peer, host.policy(), action); }
};

// A method call: what right it needs, and what is done then. `body` keeps to what a method handler of sd-bus
// does.
struct Request {
  Action action;
  int (*body)(const Caller& caller, sd_bus_message* message, sd_bus_error* error);
};
// The one way to a body: asks for the right, and for room.
int perform(const Request& request, const Caller& caller, sd_bus_message* message,
            sd_bus_error* error) noexcept;

// A way in: what the methods and properties have for their userdata.
class Door {
 public:
  virtual ~Door() = default;
  virtual Host& host() const = 0;
  // Performs the request once it is known who asks: now, or later. As a method handler of sd-bus.
  virtual int ask(sd_bus_message* message, const Request& request, sd_bus_error* error) = 0;
};

// PropertiesChanged, InterfacesAdded, InterfacesRemoved.
void emit_changes(sd_bus* bus, const Difference& changes);
// What everybody may know of a failure.
void emit_failure(sd_bus* bus, const core::FailureRow& row);

}  // namespace refork::bus
