#pragma once

// What the threads of a server on cpp-httplib do: those of the pool accept connections and serve requests,
// and the one in run() lets connections go. Included by refork/httplib.hpp.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

#include "refork/detail/sockets.hpp"
#include "refork/failure.hpp"
#include "refork/httplib/connection.hpp"
#include "refork/httplib/exchange.hpp"
#include "refork/httplib/server.hpp"
#include "refork/worker.hpp"

namespace refork::httplib {

// --- the pool's threads

inline void Server::serve_events() {
  while (true) {
    epoll_event event{};
    if (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;
    const std::uint64_t key = event.data.u64;
    if (key == kStopKey) return;
    if (key < kFirstConnectionKey)
      accept_one(static_cast<std::size_t>(key - kFirstListenerKey));
    else if (const ConnectionPtr connection = take(key))
      serve(key, *connection);
  }
}

inline void Server::accept_one(std::size_t index) {
  Hold hold = worker_.hold();  // before it is asked whether the worker still accepts
  const Lock lock(mutex_);
  const int listener = listeners_[index].fd.get();
  if (paused_ || draining_ || listener < 0 || worker_.draining()) return;
  if (accept_from(listener, std::move(hold))) {
    watch(EPOLL_CTL_MOD, listener, EPOLLIN | EPOLLONESHOT, kFirstListenerKey + index);
  } else {
    exhausted_ = true;  // rests until the next tick
    wake();
  }
}

// False where there are no descriptors or memory left. With the lock held.
inline bool Server::accept_from(int listener, Hold hold, bool* got_one) {
  const int fd = detail::accept(listener);
  if (fd < 0) return errno == EAGAIN;
  const std::uint64_t key = next_key_++;
  const auto connection =
      std::make_shared<Connection>(fd, std::move(hold), milliseconds(read_timeout_sec_, read_timeout_usec_),
                                   milliseconds(write_timeout_sec_, write_timeout_usec_));
  connection->until = idle_until();
  const bool first = connections_.empty();
  connections_.emplace(key, connection);
  watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, key);
  if (first) wake();
  if (got_one != nullptr) *got_one = true;
  return true;
}

// The connection on which something arrived, if it is to be served.
inline Server::ConnectionPtr Server::take(std::uint64_t key) {
  const Lock lock(mutex_);
  const auto found = connections_.find(key);
  if (found == connections_.end()) return nullptr;
  Connection& connection = *found->second;
  if (connection.state == Connection::State::idle) {
    connection.state = Connection::State::busy;
    return found->second;
  }
  if (!linger(key, connection)) connections_.erase(found);
  return nullptr;
}

inline void Server::serve(std::uint64_t key, Connection& connection) {
  bool keep = true;
  do keep = serve_request(connection);
  while (keep && connection.stream.buffered());
  const Lock lock(mutex_);
  if (keep) {
    connection.state = Connection::State::idle;
    connection.until = idle_until();
    watch(EPOLL_CTL_MOD, connection.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, key);
  } else if (connection.stream.broken() || !shut(key, connection, Connection::State::lingering)) {
    if (connection.stream.broken()) detail::reset_on_close(connection.socket.get());
    connections_.erase(key);
  }
}

// One request; whether the connection goes on.
inline bool Server::serve_request(Connection& connection) {
  Exchange exchange(*this, connection);
  bool closed = false;
  try {
    const bool answered = process_request(connection.stream, worker_.draining(), closed,
                                          [&](Request& request) { exchange.begin(request); });
    connection.stream.flush();
    return answered && !closed && !exchange.must_close() && !connection.stream.broken();
  } catch (...) {
    fail_outside(std::current_exception());
    connection.stream.break_off();
    return false;
  }
}

// The library itself threw: not the request's fault, and nothing to answer with.
inline void Server::fail_outside(const std::exception_ptr& error) noexcept {
  Failure failure;
  failure.exception = error;
  failure.type = "cpp-httplib";
  failure.message = "an exception outside of any handler";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    failure.message = known.what();
  } catch (...) {
  }
  worker_.fail(failure);
}

// --- connections that must go; all with the lock held

inline Server::Clock::time_point Server::idle_until() const {
  return Clock::now() +
         (draining_ ? lame_duck_ : std::chrono::milliseconds(std::chrono::seconds(keep_alive_timeout_sec_)));
}

// Says goodbye and goes on reading; false if the client has closed already.
inline bool Server::shut(std::uint64_t key, Connection& connection, Connection::State how) {
  ::shutdown(connection.socket.get(), SHUT_WR);
  connection.state = how;
  connection.until = Clock::now() + detail::kLinger;
  if (lingering_++ == 0) wake();
  return linger(key, connection);
}

inline bool Server::linger(std::uint64_t key, Connection& connection) {
  const auto client = detail::discard(connection.socket.get());
  if (client == detail::Client::left) {
    --lingering_;
    return false;
  }
  if (client == detail::Client::sent && connection.state == Connection::State::leaving) {
    worker_.crossed();
    connection.state = Connection::State::lingering;
  }
  watch(EPOLL_CTL_MOD, connection.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, key);
  return true;
}

// Idle for too long: it goes, unless a request is on its way in.
inline bool Server::leave(std::uint64_t key, Connection& connection) {
  const auto client = detail::peek(connection.socket.get());
  if (client == detail::Client::sent) return true;  // a thread of the pool is about to take it
  if (client == detail::Client::left) return false;
  return shut(key, connection, Connection::State::leaving);
}

// --- the thread in run()

inline bool Server::wait_for_notice() {
  pollfd item{wake_.get(), POLLIN, 0};
  ::poll(&item, 1, until_next_beat(time_to_wait()));
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t ignored = ::read(wake_.get(), &count, sizeof count);
  const Lock lock(mutex_);
  return drained_;
}

inline int Server::until_next_beat(int wait) const {
  const auto every = worker_.beat_every();
  if (!every) return wait;
  const int beat = static_cast<int>(every->count());
  return wait < 0 ? beat : std::min(wait, beat);
}

inline int Server::time_to_wait() {
  const Lock lock(mutex_);
  if (drained_) return 0;
  if (exhausted_ || lingering_ > 0 || (draining_ && !connections_.empty()))
    return static_cast<int>(kTick.count());
  return connections_.empty() ? -1 : static_cast<int>(keep_alive_timeout_sec_ * 1000);
}

inline void Server::look_after_connections() {
  const Lock lock(mutex_);
  if (std::exchange(exhausted_, false)) arm_listeners();
  const auto now = Clock::now();
  for (auto next = connections_.begin(); next != connections_.end();) {
    const auto at = next++;
    Connection& connection = *at->second;
    if (connection.state == Connection::State::busy || now < connection.until) continue;
    const bool idle = connection.state == Connection::State::idle;
    if (!idle) --lingering_;
    if (!idle || !leave(at->first, connection)) connections_.erase(at);
  }
}

inline void Server::stop_threads() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(stop_.get(), &one, sizeof one);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

// --- what the worker says, on any thread

inline void Server::set_paused(bool paused) {
  const Lock lock(mutex_);
  paused_ = paused;
  arm_listeners();
}

inline void Server::begin_drain(std::chrono::milliseconds lame_duck) {
  const Lock lock(mutex_);
  if (std::exchange(draining_, true)) return;
  lame_duck_ = lame_duck;
  for (auto& [key, connection] : connections_)
    if (connection->state == Connection::State::idle) connection->until = idle_until();
  for (ListeningSocket& listener : listeners_) {
    bool more = listener.own;  // who is in the queue of a socket that nobody else holds is still served
    while (std::exchange(more, false)) accept_from(listener.fd.get(), worker_.hold(), &more);
    listener.fd.reset();
  }
  wake();
}

inline void Server::end_run() {
  const Lock lock(mutex_);
  drained_ = true;
  wake();
}

inline void Server::arm_listeners() {
  // Without ONESHOT a listener that hung up would be told of without end while paused.
  const std::uint32_t events = paused_ ? EPOLLONESHOT : EPOLLIN | EPOLLONESHOT;
  for (std::size_t i = 0; i < listeners_.size(); ++i)
    if (listeners_[i].fd.get() >= 0)
      watch(EPOLL_CTL_MOD, listeners_[i].fd.get(), events, kFirstListenerKey + i);
}

inline void Server::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(wake_.get(), &one, sizeof one);
}

inline void Server::watch(int operation, int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  ::epoll_ctl(epoll_.get(), operation, fd, &event);
}

inline std::chrono::milliseconds Server::milliseconds(std::time_t seconds, std::time_t microseconds) {
  return std::chrono::seconds(seconds) +
         std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::microseconds(microseconds));
}

}  // namespace refork::httplib
