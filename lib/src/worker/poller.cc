// Waiting, for both drives: the control thread waits here, an application's loop polls the same descriptor.

#include "worker/poller.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <cstdint>

namespace refork::worker {
namespace {

bool add(int epoll, int fd, std::uint32_t events, int operation = EPOLL_CTL_ADD) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll, operation, fd, &event) == 0;
}

void read_counter(int fd) noexcept {
  std::uint64_t count = 0;
  static_cast<void>(!::read(fd, &count, sizeof count));
}

}  // namespace

base::Result<Poller> Poller::make(int wake_fd) {
  base::UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  base::UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll || !timer || !add(epoll.get(), wake_fd, EPOLLIN) || !add(epoll.get(), timer.get(), EPOLLIN))
    return base::errno_error("set up the worker's control descriptor");
  return Poller(std::move(epoll), std::move(timer), wake_fd);
}

void Poller::wait() const noexcept {
  pollfd ready{epoll_.get(), POLLIN, 0};
  static_cast<void>(::poll(&ready, 1, -1));
}

void Poller::clear() const noexcept {
  read_counter(wake_fd_);
  read_counter(timer_.get());
}

void Poller::watch_channel(int fd) noexcept { add(epoll_.get(), fd, EPOLLIN); }

void Poller::watch_channel_room(int fd, bool wanted) noexcept {
  if (wanted == room_wanted_) return;
  room_wanted_ = wanted;
  add(epoll_.get(), fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

void Poller::forget_channel(int fd) noexcept { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Poller::set_timer(std::optional<Clock::time_point> due) noexcept {
  itimerspec spec{};
  if (due) {
    const auto when = std::chrono::duration_cast<std::chrono::nanoseconds>(due->time_since_epoch()).count();
    spec.it_value.tv_sec = static_cast<time_t>(when / 1'000'000'000);
    spec.it_value.tv_nsec = static_cast<long>(when % 1'000'000'000);
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

}  // namespace refork::worker
