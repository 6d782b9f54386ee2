#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/pace.h"
#include "core/service_config.h"
#include "core/status.h"

// What reforkd says of itself in one line: for a service manager's STATUS.
namespace refork::core {

inline constexpr std::size_t most_named = 3;       // services that are not as they are wanted
inline constexpr Millis recent_window{3'600'000};  // the last hour ...
inline constexpr Millis recent_bucket{60'000};     // ... give or take a minute

// How many failures there were in the last hour. Its size does not depend on their number.
class RecentFailures {
 public:
  void add(Time now);
  std::uint64_t count(Time now);
  std::optional<Time> next_change() const;  // when count() becomes less by itself

 private:
  struct Bucket {
    Time until;  // its failures count until then
    std::uint64_t failures = 0;
  };
  void forget(Time now);
  std::deque<Bucket> buckets_;
};

struct ServiceInLine {
  std::string name;
  ServiceState state = ServiceState::running;
  std::uint32_t serving = 0, wanted = 0;  // workers
};

// "2 services, 5 of 6 workers serving; web degraded; 3 failures in the last hour". `whole_hour`: reforkd has
// seen all of it.
std::string status_line(const std::vector<ServiceInLine>& services, std::uint64_t failures, bool whole_hour);

}  // namespace refork::core
