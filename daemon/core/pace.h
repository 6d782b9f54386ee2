#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace refork::core {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Millis = std::chrono::milliseconds;

// A token bucket: `capacity` tokens, refilled evenly over `window`. Full at first.
class TokenBucket {
 public:
  TokenBucket(std::uint32_t capacity, Millis window)
      : capacity_(capacity), window_(window), tokens_(capacity) {}

  bool take(Time now) {
    refill(now);
    if (tokens_ < 1.0) return false;
    tokens_ -= 1.0;
    return true;
  }
  // What the next life of this bucket goes on with.
  struct Level {
    double tokens = 0;
    std::optional<Time> at;
  };
  Level level() const { return {tokens_, last_}; }
  void set_level(const Level& level) {
    tokens_ = level.tokens < capacity_ ? level.tokens : capacity_;
    last_ = level.at;
  }
  // When the next token will be there.
  Time next(Time now) {
    refill(now);
    if (tokens_ >= 1.0) return now;
    const double wait_ms = (1.0 - tokens_) * static_cast<double>(window_.count()) / capacity_;
    return now + Millis(static_cast<std::int64_t>(wait_ms) + 1);
  }

 private:
  void refill(Time now) {
    if (last_ && now > *last_) {
      const auto passed = std::chrono::duration<double, std::milli>(now - *last_).count();
      tokens_ += passed * capacity_ / static_cast<double>(window_.count());
      if (tokens_ > capacity_) tokens_ = capacity_;
    }
    if (!last_ || now > *last_) last_ = now;
  }

  double capacity_;
  Millis window_;
  double tokens_;
  std::optional<Time> last_;
};

// Exponential backoff with jitter: attempt 1 waits about `min`, each further one twice as long, `max` at
// most. `random` is uniform in [0, 1): the wait is between three quarters and all of the nominal one.
inline Millis backoff_delay(std::uint32_t attempt, Millis min, Millis max, double random) {
  Millis delay = min;
  for (std::uint32_t i = 1; i < attempt && delay < max; ++i) delay *= 2;
  if (delay > max) delay = max;
  return Millis(static_cast<std::int64_t>(static_cast<double>(delay.count()) * (0.75 + 0.25 * random)));
}

}  // namespace refork::core
