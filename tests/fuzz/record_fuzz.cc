// Whatever a worker writes as a failure record: decode_record() takes it or refuses it, and what it takes
// fits its slot, and is printed and taken again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace refork::proto;
  const auto record = decode_record(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!record) return 0;
  for (const std::size_t limit : {least_record_limit, std::size_t{16368}, max_record_text}) {
    const std::string printed = encode(*record, limit);
    const auto again = decode_record(printed);
    if (printed.size() > limit || !again || encode(*again, limit) != printed) std::abort();
  }
  return 0;
}
