// Durations and sizes as people write them.
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

base::Result<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::string_view letters = "KMG";
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failed] = std::from_chars(text.data(), end, count);
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  const std::size_t power = unit.empty() ? 0 : letters.find(unit) + 1;  // of 1024
  const std::uint64_t factor = std::uint64_t{1} << (10 * power);
  if (failed != std::errc() || (power == 0 && !unit.empty()) ||
      count > std::numeric_limits<std::uint64_t>::max() / factor)
    return base::Error{EINVAL, "expected a size such as \"400M\" or \"2G\", found " + in_quotes(text)};
  return count * factor;
}

}  // namespace refork::config
