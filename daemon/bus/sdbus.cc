// The little that every part of the bus needs from libsystemd: callbacks of a connection, names of errors,
// text fit for the wire.
#include "bus/sdbus.h"

#include <cerrno>
#include <limits>
#include <utility>

#include "base/utf8.h"

namespace refork::bus {

namespace {

constexpr const char* local_path = "/org/freedesktop/DBus/Local";
constexpr const char* local_interface = "org.freedesktop.DBus.Local";

}  // namespace

int add_callbacks(sd_bus* bus, const ConnectionCallbacks& callbacks, void* userdata,
                  std::vector<SlotPtr>& slots) {
  sd_bus_slot* slot = nullptr;
  int r = sd_bus_add_filter(bus, &slot, callbacks.message, userdata);
  if (r < 0) return r;
  slots.emplace_back(slot);
  for (const auto& [name, handler] :
       {std::pair{"Connected", callbacks.connected}, {"Disconnected", callbacks.disconnected}}) {
    r = sd_bus_match_signal(bus, &slot, nullptr, local_path, local_interface, name, handler, userdata);
    if (r < 0) return r;
    slots.emplace_back(slot);
  }
  return 0;
}

const char* error_name(int code) {
  switch (code) {
    case ENOENT:
      return "org.refork1.Error.NotFound";
    case EINVAL:
      return "org.refork1.Error.Invalid";
    case EBUSY:
      return "org.refork1.Error.Busy";
    case ECANCELED:
      return "org.refork1.Error.Canceled";
    case ETIMEDOUT:
      return "org.refork1.Error.Timeout";
    case EACCES:
    case EPERM:
      return SD_BUS_ERROR_ACCESS_DENIED;
    default:
      return "org.refork1.Error.Failed";
  }
}

std::string wire_text(std::string_view text) {
  return base::utf8_clean(text, base::Controls::keep_layout, std::numeric_limits<std::size_t>::max());
}

std::string wire_line(std::string_view text) {
  return base::utf8_clean(text, base::Controls::keep_layout, max_line);
}

int answer_exception(sd_bus_error* error, const char* what) noexcept {
  if (!error) return -ENOMEM;
  try {
    return sd_bus_error_set(error, error_name(0), wire_line(what).c_str());
  } catch (...) {
    return sd_bus_error_set(error, error_name(0), "no memory");
  }
}

}  // namespace refork::bus
