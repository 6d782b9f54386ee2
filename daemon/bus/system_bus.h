#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/door.h"

namespace refork::bus {

inline constexpr const char* bus_name = "org.refork1";

// What the message bus, and all who call over it, may cost reforkd.
struct BusLimits {
  std::size_t callers = 256;         // that are known at a time; the bus allows twice as many match rules
  std::size_t held = 8;              // requests of one caller that wait until it is known who it is
  std::uint64_t write_queue = 1024;  // messages that the bus leaves unread; one more, and it is left
  std::chrono::microseconds patience = std::chrono::seconds(10);  // to let us in, or to answer
  std::chrono::microseconds first_pause = std::chrono::seconds(1);
  std::chrono::microseconds longest_pause = std::chrono::seconds(60);  // between two attempts to reach it
};

// The same API under the name org.refork1 on the system bus. The bus may be absent, end, be stuck, or give
// the name to somebody else: none of that holds up reforkd, which tries again. Nothing here waits.
class SystemBus : private Door {
 public:
  // Told when the name was got.
  using Joined = std::function<void()>;
  SystemBus(sd_event* loop, Host& host, const SystemBusOptions& options, Joined joined,
            const BusLimits& limits = {});
  ~SystemBus() override;

  bool joined() const noexcept { return state_ == State::owner; }
  // What is said to everybody who listens: it carries what everybody may know.
  void event(const core::Event& event);
  void failure_recorded(const core::FailureRow& row);
  void changed(const Difference& changes);
  // Writes what the bus takes without waiting, and goes.
  void leave() noexcept;

 private:
  enum class State {
    down,
    connecting,
    queued,  // another one has the name
    owner
  };
  // One who has called: its unique name is never another's.
  struct Client {
    SystemBus& self;
    std::string name;
    Peer peer;
    bool known = false;
    std::uint64_t used = 0;
    std::shared_ptr<std::size_t> waiting = std::make_shared<std::size_t>(0);
    std::vector<std::pair<MessagePtr, Request>> held = {};
    SlotPtr gone = {}, inquiry = {};
  };

  Host& host() const override { return host_; }
  int ask(sd_bus_message* message, const Request& request, sd_bus_error* error) override;

  void connect();
  int open();
  void lost(const std::string& why);  // in the next turn: the connection may be in use
  void got_name();
  void trouble(const std::string& what);
  int name_answered(sd_bus_message* message);
  int heard(sd_bus_message* message);
  void leave_if_slow();
  Client* client_of(const char* name);
  bool make_room();
  int inquire(Client& client);
  void identified(Client& client, sd_bus_message* answer);

  static int on_connected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_disconnected(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_name(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_message(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_credentials(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_gone(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_timer(sd_event_source* source, std::uint64_t time, void* userdata) noexcept;

  sd_event* loop_;
  Host& host_;
  const SystemBusOptions options_;
  const Joined joined_;
  const BusLimits limits_;
  State state_ = State::down;
  bool told_ = false;                // that it cannot be reached, or has gone
  std::chrono::microseconds pause_;  // before the next attempt
  std::uint64_t calls_ = 0;
  BusPtr bus_;
  std::vector<SlotPtr> slots_;
  std::map<std::string, std::unique_ptr<Client>, std::less<>> clients_;
  SourcePtr timer_;  // down: the next attempt; connecting: the end of patience
};

}  // namespace refork::bus
