#pragma once

#include <systemd/sd-bus.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ctl/model.h"

namespace refork::ctl {

struct FailureFilter {
  std::string service, kind;
  std::optional<std::uint64_t> since_ms;
  std::uint32_t limit = 50;
};

// What reforkd is asked to do. The verb is the method's name: Start, Stop, Restart, Reload, Scale, Drain,
// Kill, Send.
struct Operation {
  std::string verb;
  std::string target;
  std::uint32_t workers = 0;  // Scale
  std::string json;           // Send
  bool wait = true;
};

// A connection to reforkd's private socket. Blocking; errors carry an errno: EACCES where access was denied,
// ECONNRESET where reforkd ended the connection. Not for several threads at once.
class Client {
 public:
  // The error's code is connect(2)'s, or ECONNRESET where reforkd does not let anybody in.
  static base::Result<Client> connect(const std::string& path);

  base::Result<void> ping();  // is somebody there who lets us in?
  base::Result<Status> status();
  // TARGET is "SERVICE" or "SERVICE/SLOT".
  base::Result<Why> why(const std::string& target);
  base::Result<std::vector<std::string>> failures(const FailureFilter& filter);      // JSON objects
  base::Result<std::vector<std::string>> top_failures(const FailureFilter& filter);  // JSON objects
  base::Result<std::string> failure(const std::string& id);
  base::Result<std::uint64_t> clear_failures(const std::string& service);
  // Answered before reforkd executes itself; whoever connects afterwards speaks to the new one.
  base::Result<void> reexec();
  // Waits as long as it takes if operation.wait; tells what happens meanwhile.
  using OnEvent = std::function<void(const Event&)>;
  base::Result<void> operate(const Operation& operation, const OnEvent& on_event = {});

  // Until the callback returns false (ok) or the connection ends (an error).
  using Follow = std::function<bool(const Event&)>;
  using FollowMessage = std::function<bool(std::uint64_t worker, std::string_view json)>;
  base::Result<void> follow(const Follow& on_event, const FollowMessage& on_message = {});

 private:
  template <auto Release>
  struct Releaser {
    template <class T>
    void operator()(T* object) const noexcept {
      Release(object);
    }
  };
  using BusPtr = std::unique_ptr<sd_bus, Releaser<sd_bus_close_unref>>;
  using MessagePtr = std::unique_ptr<sd_bus_message, Releaser<sd_bus_message_unref>>;
  using SlotPtr = std::unique_ptr<sd_bus_slot, Releaser<sd_bus_slot_unref>>;
  struct Subscription;
  struct Answer;

  explicit Client(BusPtr bus) : bus_(std::move(bus)) {}
  base::Result<MessagePtr> new_call(const char* path, const char* interface, const char* method);
  base::Result<MessagePtr> call(sd_bus_message* message);
  base::Result<std::vector<std::string>> list(const char* method, const FailureFilter& filter);
  base::Result<SlotPtr> subscribe(const char* signal, sd_bus_message_handler_t handler, Subscription& to);
  base::Result<void> process_until(const std::function<bool()>& done);
  static int on_event_signal(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_message_signal(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;
  static int on_answer(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept;

  BusPtr bus_;
};

}  // namespace refork::ctl
