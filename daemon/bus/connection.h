#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "bus/access.h"
#include "bus/bus.h"
#include "bus/sdbus.h"
#include "bus/snapshot.h"

namespace refork::bus {

// What a connection needs of the server it belongs to.
class Host {
 public:
  virtual ~Host() = default;
  virtual core::Operations& operations() = 0;
  virtual std::shared_ptr<const Snapshot> snapshot() = 0;  // of this turn of the loop
  virtual const AccessPolicy& policy() const = 0;
  virtual const Limits& limits() const = 0;
  virtual void bury_soon() noexcept = 0;  // a connection was dropped
};

// One peer on the private socket: its sd-bus in server mode, who it is, and what it may cost.
class Connection {
 public:
  static base::Result<std::unique_ptr<Connection>> open(sd_event* loop, base::UniqueFd fd, Peer peer,
                                                        sd_id128_t server, Host& host);
  ~Connection();

  sd_bus* bus() const noexcept { return bus_.get(); }
  Host& host() const noexcept { return host_; }
  const Peer& peer() const noexcept { return peer_; }
  bool may(Action action) const { return bus::may(peer_, host_.policy(), action); }
  bool ready() const noexcept { return !dropped_ && sd_bus_is_ready(bus_.get()) > 0; }
  // Requests that wait for their answer; shared with the answers, which may outlive the connection.
  const std::shared_ptr<std::size_t>& waiting() const noexcept { return waiting_; }

  // Nothing is read or said any more; the server buries the connection when no callback of it is running.
  void drop() noexcept;
  bool dropped() const noexcept { return dropped_; }
  void drop_if_slow() noexcept;
  // Writes what the kernel takes without waiting.
  void flush() noexcept;

 private:
  Connection(Peer peer, Host& host) : peer_(std::move(peer)), host_(host) {}
  int start(sd_event* loop, base::UniqueFd fd, sd_id128_t server);
  int watch(sd_event* loop);
  static int on_connected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_disconnected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_message(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_pump(sd_event_source* source, void* userdata) noexcept;
  static int on_silence(sd_event_source* source, std::uint64_t time, void* userdata) noexcept;

  Peer peer_;
  Host& host_;
  std::shared_ptr<std::size_t> waiting_ = std::make_shared<std::size_t>(0);
  bool dropped_ = false;
  BusPtr bus_;
  std::vector<SlotPtr> slots_;
  SourcePtr pump_, silence_;
};

}  // namespace refork::bus
