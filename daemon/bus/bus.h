#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "core/operations.h"

struct sd_event;

namespace refork::bus {

// What one peer, or all of them together, may cost reforkd.
struct Limits {
  std::size_t connections = 64;
  std::size_t reserved = 8;  // of these, for root and the daemon's user only
  std::chrono::microseconds authentication =
      std::chrono::seconds(10);      // to say who it is; then it is dropped
  std::uint64_t write_queue = 1024;  // messages a peer may leave unread; one more, and it is dropped
  std::size_t waiting = 64;          // requests of one peer that wait for their answer
};

inline constexpr std::uint32_t max_listed_failures = 1000;  // in one answer of ListFailures

struct SystemBusOptions {
  std::string address;  // empty: $DBUS_SYSTEM_BUS_ADDRESS, else the usual one
  // Told once when the bus, or the name on it, cannot be had (trouble), and when it is had.
  std::function<void(bool trouble, const std::string& what)> say;
};

struct Options {
  Limits limits;
  std::string group = "refork";                // its members operate and read failures
  std::optional<SystemBusOptions> system_bus;  // nothing: the private socket only
};

// The D-Bus API on the private socket (sd-bus peer-to-peer), and on the system bus if wanted. Objects
// /org/refork1, /org/refork1/service/NAME, /org/refork1/worker/ID; the one place that decides who may do
// what.
class Bus : public core::Publisher {
 public:
  // `listening`: what listens at the path already, from an earlier reforkd. Takes over a stale socket file;
  // EADDRINUSE if somebody listens. Mode 0660 and group `refork` (if there is one) for root, else 0600. Does
  // not make directories. `operations` must live until close() or the Bus's end.
  static base::Result<std::unique_ptr<Bus>> listen(sd_event* loop, const std::string& path,
                                                   core::Operations& operations, const Options& options = {},
                                                   base::UniqueFd listening = {});
  virtual int fd() const noexcept = 0;  // what listens
  // Flushes what can be flushed, ends all connections, removes the socket file. Not from within an Operations
  // call.
  virtual void close() = 0;
  // The same, but the socket stays for the next reforkd: who connects meanwhile waits for it.
  virtual void leave() = 0;
};

}  // namespace refork::bus
