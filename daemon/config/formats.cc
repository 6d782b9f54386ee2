// Durations as people write them.
#include <charconv>
#include <limits>

#include "config/config.h"
#include "config/json_reader.h"

namespace refork::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t millis;
};
constexpr Unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

}  // namespace

base::Result<core::Millis> parse_duration(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Unit& known : units) {
    if (failed != std::errc() || count < 0 || text[0] == '-' || unit != known.name) continue;
    if (count > std::numeric_limits<std::int64_t>::max() / known.millis) break;
    return core::Millis(count * known.millis);
  }
  return base::Error{EINVAL,
                     "expected a duration such as \"250ms\", \"10s\" or \"5m\", found " + in_quotes(text)};
}

}  // namespace refork::config
