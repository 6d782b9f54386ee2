#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "bus/door.h"

namespace refork::bus {

// What a connection needs besides of the server it belongs to.
class ConnectionHost : public Host {
 public:
  virtual void bury_soon() noexcept = 0;  // a connection was dropped
};

// One peer on the private socket: its sd-bus in server mode, who it is, and what it may cost.
class Connection final : public Door {
 public:
  static base::Result<std::unique_ptr<Connection>> open(sd_event* loop, base::UniqueFd fd, Peer peer,
                                                        sd_id128_t server, ConnectionHost& host);
  ~Connection() override;

  sd_bus* bus() const noexcept { return bus_.get(); }
  Host& host() const override { return host_; }
  int ask(sd_bus_message* message, const Request& request, sd_bus_error* error) override;
  bool may(Action action) const { return bus::may(peer_, host_.policy(), action); }
  bool ready() const noexcept { return !dropped_ && sd_bus_is_ready(bus_.get()) > 0; }

  // Nothing is read or said any more; the server buries the connection when no callback of it is running.
  void drop() noexcept;
  bool dropped() const noexcept { return dropped_; }
  void drop_if_slow() noexcept;
  // Writes what the kernel takes without waiting.
  void flush() noexcept;

 private:
  Connection(Peer peer, ConnectionHost& host) : peer_(std::move(peer)), host_(host) {}
  int start(sd_event* loop, base::UniqueFd fd, sd_id128_t server);
  int watch(sd_event* loop);
  static int on_connected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_disconnected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_message(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_pump(sd_event_source* source, void* userdata) noexcept;
  static int on_silence(sd_event_source* source, std::uint64_t time, void* userdata) noexcept;

  Peer peer_;
  ConnectionHost& host_;
  std::shared_ptr<std::size_t> waiting_ = std::make_shared<std::size_t>(0);
  bool dropped_ = false;
  BusPtr bus_;
  std::vector<SlotPtr> slots_;
  SourcePtr pump_, silence_;
};

}  // namespace refork::bus
