#pragma once

// A connection of a server on cpp-httplib: its socket, its bytes as the library reads and writes them, and
// what is to become of it. Included by refork/httplib.hpp.

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "refork/worker.hpp"

namespace refork::httplib::detail {

using Clock = std::chrono::steady_clock;

class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// A connection's bytes, as the library reads and writes them. Unlike the library's own stream it tells
// whether anything was read ahead, joins an answer's head with its body, and can be broken off.
class Stream final : public ::httplib::Stream {
 public:
  Stream(int fd, std::chrono::milliseconds read_timeout, std::chrono::milliseconds write_timeout) noexcept
      : fd_(fd), read_timeout_(read_timeout), write_timeout_(write_timeout) {}

  bool buffered() const noexcept { return next_ < filled_; }
  bool broken() const noexcept { return broken_; }
  void hold_head() noexcept { hold_ = true; }  // the next write is an answer's head, and a body follows it
  void break_off() noexcept { broken_ = true; }
  void flush() {
    hold_ = false;
    if (!held_.empty()) send_all(held_.data(), held_.size());
    held_.clear();
  }

  bool is_readable() const override { return buffered() || wait_for(POLLIN, read_timeout_); }
  bool is_writable() const override { return !broken_ && wait_for(POLLOUT, write_timeout_); }

  ssize_t read(char* to, std::size_t size) override {
    if (!buffered() && !fill()) return broken_ ? -1 : 0;
    const std::size_t part = std::min(size, filled_ - next_);
    std::memcpy(to, buffer_ + next_, part);
    next_ += part;
    return static_cast<ssize_t>(part);
  }

  ssize_t write(const char* from, std::size_t size) override {
    if (broken_) return -1;
    if (std::exchange(hold_, false)) {
      held_.assign(from, size);
      return static_cast<ssize_t>(size);
    }
    if (!held_.empty()) {
      held_.append(from, size);
      const bool all = send_all(held_.data(), held_.size());
      held_.clear();
      return all ? static_cast<ssize_t>(size) : -1;
    }
    return send_all(from, size) ? static_cast<ssize_t>(size) : -1;
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { name(::getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { name(::getsockname, ip, port); }
  socket_t socket() const override { return fd_; }

 private:
  bool wait_for(short events, std::chrono::milliseconds timeout) const {
    pollfd item{fd_, events, 0};
    int found = -1;
    while ((found = ::poll(&item, 1, static_cast<int>(timeout.count()))) < 0 && errno == EINTR) continue;
    return found > 0;
  }

  bool fill() {
    while (true) {
      const ssize_t got = ::recv(fd_, buffer_, sizeof buffer_, MSG_DONTWAIT);
      if (got > 0) {
        next_ = 0;
        filled_ = static_cast<std::size_t>(got);
        return true;
      }
      if (got == 0) return false;
      if (errno == EINTR) continue;
      if (errno == EAGAIN && wait_for(POLLIN, read_timeout_)) continue;
      broken_ = true;
      return false;
    }
  }

  bool send_all(const char* from, std::size_t size) {
    while (size > 0 && !broken_) {
      const ssize_t part = ::send(fd_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (part > 0) {
        from += part;
        size -= static_cast<std::size_t>(part);
      } else if (errno != EINTR && (errno != EAGAIN || !wait_for(POLLOUT, write_timeout_))) {
        broken_ = true;
      }
    }
    return !broken_;
  }

  template <class Ask>
  void name(Ask ask, std::string& ip, int& port) const {
    sockaddr_storage at{};
    socklen_t length = sizeof at;
    char text[INET6_ADDRSTRLEN] = "";
    if (ask(fd_, reinterpret_cast<sockaddr*>(&at), &length) != 0) return;
    if (at.ss_family == AF_INET) {
      const auto& v4 = reinterpret_cast<const sockaddr_in&>(at);
      ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
      port = ntohs(v4.sin_port);
    } else if (at.ss_family == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(at);
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
      port = ntohs(v6.sin6_port);
    }
    ip = text;
  }

  const int fd_;
  const std::chrono::milliseconds read_timeout_;
  const std::chrono::milliseconds write_timeout_;
  char buffer_[8192];
  std::size_t next_ = 0;
  std::size_t filled_ = 0;
  bool hold_ = false;
  std::string held_;
  bool broken_ = false;
};

struct Connection {
  enum class State {
    idle,       // no byte of a request has come
    busy,       // a thread serves it
    lingering,  // answered and shut on our side: read until the client closes
    leaving,    // idle for too long and shut on our side: what still comes has crossed
  };
  Connection(int fd, Hold held, std::chrono::milliseconds read_timeout,
             std::chrono::milliseconds write_timeout)
      : socket(fd), stream(fd, read_timeout, write_timeout), hold(std::move(held)) {}

  Fd socket;
  Stream stream;
  Hold hold;
  State state = State::idle;
  Clock::time_point until;  // when it goes, unless something happens; busy: never
};

}  // namespace refork::httplib::detail
