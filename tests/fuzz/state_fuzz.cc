// Whatever an earlier reforkd is said to have left: its state and the lines of its history are taken or
// refused, and what is taken is printed and taken again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "state/state.h"

namespace {

using namespace refork::state;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string print(const Daemon& daemon) {
  std::map<std::string, std::string> services;
  for (const auto& service : daemon.services) services[service.name] = encode(service);
  return encode(daemon.last_worker, daemon.last_listener, services);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto daemon = decode(text)) {
    const std::string printed = print(*daemon);
    const auto again = decode(printed);
    require(again.ok() && print(*again) == printed);
  }
  if (const auto told = decode_told(text)) {
    const std::string printed = encode(*told);
    const auto again = decode_told(printed);
    require(again.ok() && encode(*again) == printed);
  }
  return 0;
}
