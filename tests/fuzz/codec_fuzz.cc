// Whatever a worker sends: decode() takes it or refuses it, and what it takes it prints and takes again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace refork::proto;
  const std::string_view packet(reinterpret_cast<const char*>(data), size);
  const auto message = decode(packet);
  if (!message) return 0;
  const std::string printed = encode(*message);
  const auto again = decode(printed);
  if (!again || type_of(*again) != type_of(*message) || encode(*again) != printed) std::abort();
  return 0;
}
