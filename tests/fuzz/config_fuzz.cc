// The configuration's parser over arbitrary text: it must never crash, and every problem must lie inside the
// text. A libFuzzer target: -fsanitize=fuzzer, linked with reforkd_config.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const refork::config::Problem& problem : refork::config::parse(text, "refork.json").problems)
    if (problem.line < 1 || problem.line > lines || problem.column < 1 || problem.what.empty()) std::abort();
  return 0;
}
