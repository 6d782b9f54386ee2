#pragma once

// The server on cpp-httplib: what its user sees, and what it keeps. A request on its way is in
// httplib/exchange.hpp, its threads are in httplib/serving.hpp. Included by refork/httplib.hpp.

#include <httplib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "refork/detail/sockets.hpp"
#include "refork/failure.hpp"
#include "refork/httplib/connection.hpp"
#include "refork/worker.hpp"

namespace refork::httplib {

// How often connections that must go are looked at; also how long accepting rests when there are no
// descriptors left.
inline constexpr std::chrono::milliseconds kTick{50};
inline constexpr std::size_t kDefaultThreads = 64;
// What a request gets whose thread faults, where faults are contained (Worker::Options::contain_faults).
inline constexpr std::string_view kFaultHead =
    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    "Content-Length: 22\r\n\r\n";
inline constexpr std::string_view kFaultAnswer =
    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    "Content-Length: 22\r\n\r\nInternal Server Error\n";
inline constexpr std::time_t kIdleSeconds =
    75;  // a keep-alive connection without a request, while nothing drains

namespace detail {

using namespace refork::detail;

}  // namespace detail

// A cpp-httplib server as a worker. Register handlers as ever; each runs in a domain of its own request, so
// that what it throws is answered with a 500 and the connection closed (dropped, if the answer had begun).
// Sets the worker's on_pause, on_resume, on_drain and on_drained.
//
// Any thread of the pool takes whatever is ready, and idle connections occupy none; a worker whose threads
// are all busy accepts nothing, so that others can.
class Server : public ::httplib::Server {
 public:
  using Request = ::httplib::Request;
  using Response = ::httplib::Response;
  // Writes the answer to a failed request; status 500 is set already.
  using FailureHandler = std::function<void(const Failure&, const Request&, Response&)>;

  explicit Server(Worker& worker, std::size_t threads = kDefaultThreads)
      : worker_(worker),
        thread_count_(threads),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (epoll_.get() < 0 || wake_.get() < 0 || stop_.get() < 0)
      throw std::system_error(errno, std::generic_category(), "refork::httplib::Server");
    svr_sock_ = stop_.get();  // the library streams only while this is set
    keep_alive_timeout_sec_ = kIdleSeconds;
    watch(EPOLL_CTL_ADD, stop_.get(), EPOLLIN, kStopKey);
    set_post_routing_handler([](const Request&, Response&) {});
    worker_.on_pause([this] { set_paused(true); });
    worker_.on_resume([this] { set_paused(false); });
    worker_.on_drain([this](const Drain& drain) { begin_drain(drain.lame_duck); });
    worker_.on_drained([this] { end_run(); });
  }
  ~Server() override {
    worker_.on_pause({});
    worker_.on_resume({});
    worker_.on_drain({});
    worker_.on_drained({});
    stop_threads();
  }

  // What the library offers of these must not happen to a listener that others share.
  void stop() = delete;
  bool bind_to_port(const std::string& host, int port, int flags = 0) = delete;
  int bind_to_any_port(const std::string& host, int flags = 0) = delete;
  bool listen_after_bind() = delete;

  Server& Get(const std::string& pattern, Handler handler) {
    ::httplib::Server::Get(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Post(const std::string& pattern, Handler handler) {
    ::httplib::Server::Post(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Post(const std::string& pattern, HandlerWithContentReader handler) {
    ::httplib::Server::Post(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Put(const std::string& pattern, Handler handler) {
    ::httplib::Server::Put(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Put(const std::string& pattern, HandlerWithContentReader handler) {
    ::httplib::Server::Put(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Patch(const std::string& pattern, Handler handler) {
    ::httplib::Server::Patch(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Patch(const std::string& pattern, HandlerWithContentReader handler) {
    ::httplib::Server::Patch(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Delete(const std::string& pattern, Handler handler) {
    ::httplib::Server::Delete(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Delete(const std::string& pattern, HandlerWithContentReader handler) {
    ::httplib::Server::Delete(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& Options(const std::string& pattern, Handler handler) {
    ::httplib::Server::Options(pattern, guarded(std::move(handler)));
    return *this;
  }
  Server& set_file_request_handler(Handler handler) {
    ::httplib::Server::set_file_request_handler(guarded(std::move(handler)));
    return *this;
  }
  Server& set_error_handler(Handler handler) {
    ::httplib::Server::set_error_handler(guarded(std::move(handler)));
    return *this;
  }
  Server& set_error_handler(HandlerWithResponse handler) {
    ::httplib::Server::set_error_handler(guarded(std::move(handler)));
    return *this;
  }
  Server& set_pre_routing_handler(HandlerWithResponse handler) {
    ::httplib::Server::set_pre_routing_handler(guarded(std::move(handler)));
    return *this;
  }
  // The last moment before the head is written: here it is known whether the connection goes on.
  Server& set_post_routing_handler(Handler handler);
  Server& set_logger(::httplib::Logger logger);

  Server& on_failure(FailureHandler handler) {
    failure_handler_ = std::move(handler);
    return *this;
  }
  // What a request is called in records; by default method and path, without the query.
  Server& set_label(std::function<std::string(const Request&)> label) {
    label_ = std::move(label);
    return *this;
  }

  // Serves what arrives on this socket, which it takes: one of worker.listeners(), or the application's own.
  // Before run().
  void listen(const Listener& listener) {
    const bool own = detail::is_own(worker_, listener);
    detail::make_nonblocking(listener.fd);
    watch(EPOLL_CTL_ADD, listener.fd, 0, kFirstListenerKey + listeners_.size());
    listeners_.push_back({detail::Fd(listener.fd), own});
  }

  // Serves until the worker has drained.
  void run() {
    set_paused(false);
    for (std::size_t i = 0; i < thread_count_; ++i) threads_.emplace_back([this] { serve_events(); });
    while (!wait_for_notice()) {
      worker_.beat();
      look_after_connections();
    }
    stop_threads();
  }

 private:
  using Clock = detail::Clock;
  using Connection = detail::Connection;
  using ConnectionPtr = std::shared_ptr<Connection>;
  using Lock = std::unique_lock<std::mutex>;

  static constexpr std::uint64_t kStopKey = 0;
  static constexpr std::uint64_t kFirstListenerKey = 1;
  static constexpr std::uint64_t kFirstConnectionKey = 1 << 16;

  class Exchange;

  struct ListeningSocket {
    detail::Fd fd;
    bool own;  // nobody else holds it: its queue dies with it
  };

  // --- handlers

  static void guard_content(Response& response);
  static Handler guarded(Handler handler);
  static HandlerWithContentReader guarded(HandlerWithContentReader handler);
  static HandlerWithResponse guarded(HandlerWithResponse handler);
  static void answer_failure(const Failure&, const Request&, Response& response);
  static std::string label_of(const Request& request);

  // --- the pool's threads

  void serve_events();
  void accept_one(std::size_t index);
  bool accept_from(int listener, Hold hold, bool* got_one = nullptr);
  ConnectionPtr take(std::uint64_t key);
  void serve(std::uint64_t key, Connection& connection);
  bool serve_request(Connection& connection);
  void fail_outside(const std::exception_ptr& error) noexcept;

  // --- connections that must go; all with the lock held

  Clock::time_point idle_until() const;
  bool shut(std::uint64_t key, Connection& connection, Connection::State how);
  bool linger(std::uint64_t key, Connection& connection);
  bool leave(std::uint64_t key, Connection& connection);

  // --- the thread in run()

  bool wait_for_notice();
  int until_next_beat(int wait) const;
  int time_to_wait();
  void look_after_connections();
  void stop_threads();

  // --- what the worker says, on any thread

  void set_paused(bool paused);
  void begin_drain(std::chrono::milliseconds lame_duck);
  void end_run();
  void arm_listeners();
  void wake();
  void watch(int operation, int fd, std::uint32_t events, std::uint64_t key);
  static std::chrono::milliseconds milliseconds(std::time_t seconds, std::time_t microseconds);

  Worker& worker_;
  const std::size_t thread_count_;
  FailureHandler failure_handler_ = answer_failure;
  std::function<std::string(const Request&)> label_ = label_of;
  detail::Fd epoll_;
  detail::Fd wake_;  // for the thread in run()
  detail::Fd stop_;  // for the pool: stays readable
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards all that follows
  std::vector<ListeningSocket> listeners_;
  std::unordered_map<std::uint64_t, ConnectionPtr> connections_;
  std::uint64_t next_key_ = kFirstConnectionKey;
  std::size_t lingering_ = 0;  // connections lingering or leaving
  bool paused_ = true;
  bool draining_ = false;
  bool drained_ = false;
  bool exhausted_ = false;
  std::chrono::milliseconds lame_duck_{0};
};

}  // namespace refork::httplib
