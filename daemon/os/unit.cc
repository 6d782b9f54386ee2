// Asks the service manager about the own unit, at the socket where systemctl asks too: it is there without a
// bus, and until the end of the machine.
#include "os/unit.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-login.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace refork::os {
namespace {

constexpr std::uint64_t patience_us = 5'000'000;

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

Bus connect(const std::string& address) {
  sd_bus* made = nullptr;
  if (sd_bus_new(&made) < 0) return nullptr;
  Bus bus(made);
  if (sd_bus_set_address(made, address.c_str()) < 0 || sd_bus_start(made) < 0) return nullptr;
  sd_bus_set_method_call_timeout(made, patience_us);
  return bus;
}

UnitJob named(std::string_view type) {
  if (type == "stop") return UnitJob::stop;
  return type == "restart" || type == "try-restart" ? UnitJob::restart : UnitJob::other;
}

}  // namespace

std::optional<UnitJob> own_unit_job() {
  const auto unit = own_unit();
  const Bus bus = unit ? connect(unit->manager) : nullptr;
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
    if (r == 0) return UnitJob::none;
    if (unit->name == name) return named(type);
  }
}

}  // namespace refork::os
