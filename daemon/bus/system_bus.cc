// The way to the system bus and the name on it: reached, lost, reached again, always without waiting. Who
// calls over it is found out in system_bus_callers.cc.
#include "bus/system_bus.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "bus/objects.h"

namespace refork::bus {

namespace {

constexpr const char* usual_address = "unix:path=/run/dbus/system_bus_socket";
constexpr const char* driver = "org.freedesktop.DBus";
// Bytes that the kernel keeps for a bus that does not read; sd-bus would have it keep 8 MiB.
constexpr int send_buffer = 256 * 1024;
// What RequestName answers, as the D-Bus specification has it.
constexpr std::uint32_t name_is_ours = 1, name_is_queued_for = 2, name_was_ours = 4;

std::string address_of(const SystemBusOptions& options) {
  if (!options.address.empty()) return options.address;
  const char* given = std::getenv("DBUS_SYSTEM_BUS_ADDRESS");
  return given && *given ? given : usual_address;
}

std::string error_text(sd_bus_message* message) {
  const sd_bus_error* error = sd_bus_message_get_error(message);
  return error && error->message ? error->message : "no reason given";
}

}  // namespace

SystemBus::SystemBus(sd_event* loop, Host& host, const SystemBusOptions& options, Joined joined,
                     const BusLimits& limits)
    : loop_(loop),
      host_(host),
      options_(options),
      joined_(std::move(joined)),
      limits_(limits),
      pause_(limits.first_pause) {
  sd_event_source* source = nullptr;
  if (sd_event_add_time_relative(loop_, &source, CLOCK_MONOTONIC, 0, 0, on_timer, this) >= 0)
    timer_.reset(source);
}

SystemBus::~SystemBus() { leave(); }

void SystemBus::trouble(const std::string& what) {
  if (std::exchange(told_, true)) return;
  options_.say(true, what + "; reforkd goes on without, and tries again");
}

void SystemBus::connect() {
  const int r = open();
  if (r < 0) return lost(std::strerror(-r));
  state_ = State::connecting;
  sd_event_source_set_time_relative(timer_.get(), static_cast<std::uint64_t>(limits_.patience.count()));
  sd_event_source_set_enabled(timer_.get(), SD_EVENT_ONESHOT);
}

int SystemBus::open() {
  sd_bus* made = nullptr;
  int r = sd_bus_new(&made);
  if (r < 0) return r;
  bus_.reset(made);
  if ((r = sd_bus_set_description(made, "system bus")) < 0) return r;
  if ((r = sd_bus_set_address(made, address_of(options_).c_str())) < 0) return r;
  if ((r = sd_bus_set_bus_client(made, 1)) < 0) return r;
  if ((r = sd_bus_negotiate_fds(made, 0)) < 0) return r;
  if ((r = sd_bus_set_connected_signal(made, 1)) < 0) return r;
  const auto patience = static_cast<std::uint64_t>(limits_.patience.count());
  if ((r = sd_bus_set_method_call_timeout(made, patience)) < 0) return r;
  if ((r = add_callbacks(made, {on_message, on_connected, on_disconnected}, this, slots_)) < 0) return r;
  if ((r = add_objects(made, *this, slots_)) < 0) return r;
  if ((r = sd_bus_start(made)) < 0) return r;
  if (const int fd = sd_bus_get_fd(made); fd >= 0)
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
  return sd_bus_attach_event(made, loop_, SD_EVENT_PRIORITY_NORMAL);
}

void SystemBus::lost(const std::string& why) {
  trouble("the system bus cannot be reached, or is gone: " + why);
  if (state_ == State::owner) pause_ = limits_.first_pause;
  state_ = State::down;
  sd_event_source_set_time_relative(timer_.get(), static_cast<std::uint64_t>(pause_.count()));
  sd_event_source_set_enabled(timer_.get(), SD_EVENT_ONESHOT);
  pause_ = std::min(2 * pause_, limits_.longest_pause);
}

// In the next turn of the loop nothing of the connection before is in use any more.
int SystemBus::on_timer(sd_event_source*, std::uint64_t, void* userdata) noexcept {
  return guarded(nullptr, [&] {
    auto& self = *static_cast<SystemBus*>(userdata);
    if (self.state_ == State::connecting) {
      self.lost("it does not answer");
    } else if (self.state_ == State::down) {
      self.leave();
      self.connect();
    }
    return 0;
  });
}

int SystemBus::on_connected(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  return guarded(nullptr, [&] {
    auto& self = *static_cast<SystemBus*>(userdata);
    sd_bus_slot* slot = nullptr;
    const int r =
        sd_bus_request_name_async(self.bus_.get(), &slot, bus_name, SD_BUS_NAME_QUEUE, on_name, userdata);
    if (r < 0)
      self.lost(std::strerror(-r));
    else
      self.slots_.emplace_back(slot);
    return 0;
  });
}

int SystemBus::on_disconnected(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  return guarded(nullptr, [&] {
    auto& self = *static_cast<SystemBus*>(userdata);
    if (self.state_ != State::down) self.lost("it has closed the connection");
    return 0;
  });
}

int SystemBus::on_name(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  return guarded(nullptr, [&] { return static_cast<SystemBus*>(userdata)->name_answered(message); });
}

int SystemBus::name_answered(sd_bus_message* message) {
  std::uint32_t answer = 0;
  if (sd_bus_message_is_method_error(message, nullptr) > 0) {
    lost(std::string("it does not give us the name ") + bus_name + ": " + error_text(message));
    return 0;
  }
  if (const int r = sd_bus_message_read(message, "u", &answer); r < 0) return r;
  if (state_ != State::connecting) return 0;  // NameAcquired was here first
  if (answer == name_is_ours || answer == name_was_ours) {
    got_name();
  } else if (answer == name_is_queued_for) {
    state_ = State::queued;
    sd_event_source_set_enabled(timer_.get(), SD_EVENT_OFF);
    trouble(std::string("another one has the name ") + bus_name + " on the system bus");
  }
  return 0;
}

void SystemBus::got_name() {
  sd_event_source_set_enabled(timer_.get(), SD_EVENT_OFF);
  joined_();
  state_ = State::owner;
  told_ = false;
  pause_ = limits_.first_pause;
  options_.say(false, std::string("has the name ") + bus_name + " on the system bus");
}

// Sees each message before anything answers it.
int SystemBus::on_message(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  return guarded(nullptr, [&] { return static_cast<SystemBus*>(userdata)->heard(message); });
}

int SystemBus::heard(sd_bus_message* message) {
  leave_if_slow();
  if (state_ == State::down) return 1;
  const char* sender = sd_bus_message_get_sender(message);
  if (!sender || std::strcmp(sender, driver) != 0) return 0;
  const bool acquired = sd_bus_message_is_signal(message, driver, "NameAcquired") > 0;
  if (!acquired && sd_bus_message_is_signal(message, driver, "NameLost") <= 0) return 0;
  const char* name = nullptr;
  const int r = sd_bus_message_read(message, "s", &name);
  sd_bus_message_rewind(message, 1);
  if (r < 0 || std::strcmp(name, bus_name) != 0) return 0;
  if (acquired && state_ != State::owner) got_name();
  if (!acquired && state_ == State::owner) lost(std::string("it has taken the name ") + bus_name + " away");
  return 0;
}

void SystemBus::leave_if_slow() {
  std::uint64_t queued = 0;
  if (state_ != State::down && bus_ && sd_bus_get_n_queued_write(bus_.get(), &queued) >= 0 &&
      queued > limits_.write_queue)
    lost("it does not read what it is told");
}

void SystemBus::event(const core::Event& event) {
  if (!joined()) return;
  const std::string type = wire_line(event.type.name()), service = wire_line(event.service);
  const std::int32_t slot = event.slot ? static_cast<std::int32_t>(*event.slot) : -1;
  sd_bus_emit_signal(bus_.get(), manager_path, manager_interface, "Event", "ttssitis", event.sequence,
                     event.time_ms, type.c_str(), service.c_str(), slot, event.worker, event.pid, "");
  leave_if_slow();
}

void SystemBus::failure_recorded(const core::FailureRow& row) {
  if (!joined()) return;
  emit_failure(bus_.get(), row);
  leave_if_slow();
}

void SystemBus::changed(const Difference& changes) {
  if (!joined()) return;
  emit_changes(bus_.get(), changes);
  leave_if_slow();
}

void SystemBus::leave() noexcept {
  state_ = State::down;
  clients_.clear();
  slots_.clear();
  std::uint64_t before = 0, queued = 0;
  while (bus_ && sd_bus_get_n_queued_write(bus_.get(), &queued) >= 0 && queued > 0 && queued != before) {
    before = queued;
    if (sd_bus_process(bus_.get(), nullptr) < 0) break;
  }
  bus_.reset();
}

}  // namespace refork::bus
