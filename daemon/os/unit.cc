// Asks the service manager about the own unit, at the socket where systemctl asks too: it is there without a
// bus, and until the end of the machine.
#include "os/unit.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-login.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace refork::os {
namespace {

using Clock = std::chrono::steady_clock;

struct FreeText {
  void operator()(char* text) const noexcept { std::free(text); }
};
struct CloseBus {
  void operator()(sd_bus* bus) const noexcept { sd_bus_close_unref(bus); }
};
struct FreeMessage {
  void operator()(sd_bus_message* message) const noexcept { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, CloseBus>;
using Message = std::unique_ptr<sd_bus_message, FreeMessage>;

struct Unit {
  std::string name, manager;  // the manager's address
};

std::optional<Unit> own_unit() {
  char* name = nullptr;
  if (sd_pid_get_user_unit(0, &name) >= 0) {
    const std::unique_ptr<char, FreeText> owned(name);
    const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
    if (!runtime) return std::nullopt;
    return Unit{name, "unix:path=" + std::string(runtime) + "/systemd/private"};
  }
  if (sd_pid_get_unit(0, &name) < 0) return std::nullopt;
  const std::unique_ptr<char, FreeText> owned(name);
  return Unit{name, "unix:path=/run/systemd/private"};
}

std::uint64_t us_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now()).count();
  return static_cast<std::uint64_t>(std::max<decltype(left)>(0, left));
}

// Ready to be called: a call by itself would wait much longer for that than for its answer.
Bus connect(const std::string& address, Clock::time_point deadline) {
  sd_bus* made = nullptr;
  if (sd_bus_new(&made) < 0) return nullptr;
  Bus bus(made);
  if (sd_bus_set_address(made, address.c_str()) < 0 || sd_bus_start(made) < 0) return nullptr;
  while (sd_bus_is_ready(made) == 0) {
    const int done = sd_bus_process(made, nullptr);
    const auto left = us_until(deadline);
    if (done < 0 || left == 0 || (done == 0 && sd_bus_wait(made, left) < 0)) return nullptr;
  }
  sd_bus_set_method_call_timeout(made, std::max<std::uint64_t>(1, us_until(deadline)));
  return bus;
}

}  // namespace

std::optional<bool> unit_stays_stopped() {
  const auto own = own_unit();
  if (!own) return std::nullopt;
  return unit_stays_stopped(own->name, own->manager, systemd_patience);
}

std::optional<bool> unit_stays_stopped(const std::string& unit, const std::string& manager,
                                       std::chrono::milliseconds patience) {
  const Bus bus = connect(manager, Clock::now() + patience);
  if (!bus) return std::nullopt;
  sd_bus_message* answer = nullptr;
  if (sd_bus_call_method(bus.get(), nullptr, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                         "ListJobs", nullptr, &answer, nullptr) < 0)
    return std::nullopt;
  const Message jobs(answer);
  if (sd_bus_message_enter_container(answer, 'a', "(usssoo)") < 0) return std::nullopt;
  for (;;) {
    std::uint32_t id = 0;
    const char *name = nullptr, *type = nullptr, *state = nullptr, *path = nullptr, *unit_path = nullptr;
    const int r = sd_bus_message_read(answer, "(usssoo)", &id, &name, &type, &state, &path, &unit_path);
    if (r < 0) return std::nullopt;
    if (r == 0) return false;
    if (unit == name) return std::string_view(type) == "stop";
  }
}

}  // namespace refork::os
