// One line for people: how many services and workers there are, and which are not as they are wanted.
#include "core/status_line.h"

#include <algorithm>
#include <string_view>

namespace refork::core {

namespace {

std::string count_of(std::uint64_t count, std::string_view what) {
  return std::to_string(count) + " " + std::string(what) + (count == 1 ? "" : "s");
}

std::string workers_in(const std::vector<ServiceInLine>& services) {
  std::uint64_t serving = 0, wanted = 0;
  for (const auto& service : services) serving += service.serving, wanted += service.wanted;
  if (serving < wanted) return std::to_string(serving) + " of " + count_of(wanted, "worker") + " serving";
  return count_of(serving, "worker") + " serving";
}

}  // namespace

void RecentFailures::forget(Time now) {
  while (!buckets_.empty() && buckets_.front().until <= now) buckets_.pop_front();
}

void RecentFailures::add(Time now) {
  forget(now);
  if (buckets_.empty() || buckets_.back().until < now + recent_window)
    buckets_.push_back({now + recent_window + recent_bucket, 0});
  ++buckets_.back().failures;
}

std::uint64_t RecentFailures::count(Time now) {
  forget(now);
  std::uint64_t sum = 0;
  for (const auto& bucket : buckets_) sum += bucket.failures;
  return sum;
}

std::optional<Time> RecentFailures::next_change() const {
  if (buckets_.empty()) return std::nullopt;
  return buckets_.front().until;
}

std::string status_line(const std::vector<ServiceInLine>& services, std::uint64_t failures, bool whole_hour) {
  std::string line = count_of(services.size(), "service") + ", " + workers_in(services);
  std::size_t named = 0, others = 0;
  for (const auto& service : services) {
    if (service.state == ServiceState::running) continue;
    if (++named > most_named)
      ++others;
    else
      line += "; " + service.name + " " + std::string(base::to_name(service.state));
  }
  if (others > 0) line += "; " + count_of(others, "other") + " not running as wanted";
  if (failures > 0)
    line += "; " + count_of(failures, "failure") + (whole_hour ? " in the last hour" : " since the start");
  return line;
}

}  // namespace refork::core
