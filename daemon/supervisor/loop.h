#pragma once

#include <systemd/sd-event.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/pace.h"

namespace refork::supervisor {

// sd-event with RAII. A source lives as long as its Source object; destroying one from within its own
// callback is not allowed: park() it.
class Loop {
 public:
  struct Watch;  // what stands behind a source
  struct Unwatch {
    void operator()(Watch* watch) const noexcept;
  };
  using Source = std::unique_ptr<Watch, Unwatch>;

  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  sd_event* get() const noexcept { return loop_.get(); }

  // `fd` must stay open until the source has ended, and its number the same: others may hold what it stands
  // for, and then epoll would go on reporting it after it was closed here. `events` are EPOLLIN and the like;
  // 0 reports only EPOLLHUP and EPOLLERR. An exception from a callback is logged, and the loop goes on.
  Source watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback);
  Source watch_signal(int signal, std::function<void()> callback);  // the signal must be blocked
  Source timer(std::function<void()> callback);                     // disarmed
  static void arm(Source& timer, core::Time at);
  static void disarm(Source& timer);
  void later(std::function<void()> callback);  // once, in the next turn, if there is one
  void park(Source source);                    // ends a source from within its own callback

  int run();
  void exit(int code);

 private:
  struct Unref {
    void operator()(sd_event* loop) const noexcept { sd_event_unref(loop); }
  };
  void call_due();

  std::unique_ptr<sd_event, Unref> loop_;
  std::vector<std::function<void()>> due_;  // in the next turn
  Source deferred_;
};

}  // namespace refork::supervisor
