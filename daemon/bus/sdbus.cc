// The little that every part of the bus needs from libsystemd: names of errors, text fit for the wire.
#include "bus/sdbus.h"

#include <cerrno>
#include <limits>

#include "base/utf8.h"

namespace refork::bus {

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
