#pragma once

#include <chrono>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::worker {

// The one descriptor that tells that there is something to do: channel, wake-up and timer behind an epoll.
// Without a time set it stays silent. Thread-safe, except for construction.
class Poller {
 public:
  using Clock = std::chrono::steady_clock;
  static base::Result<Poller> make(int wake_fd);

  int fd() const noexcept { return epoll_.get(); }
  void wait() const noexcept;  // until there is something to do
  void clear() const noexcept;

  void watch_channel(int fd) noexcept;
  void watch_channel_room(int fd, bool wanted) noexcept;  // also wake up when it can be written to
  void forget_channel(int fd) noexcept;
  void set_timer(std::optional<Clock::time_point> due) noexcept;

 private:
  Poller(base::UniqueFd epoll, base::UniqueFd timer, int wake_fd)
      : epoll_(std::move(epoll)), timer_(std::move(timer)), wake_fd_(wake_fd) {}

  base::UniqueFd epoll_, timer_;
  int wake_fd_;
  bool room_wanted_ = false;
};

}  // namespace refork::worker
