#pragma once

// librefork for servers on cpp-httplib (0.11): its routing and its protocol, with connections, threads and
// accepting done here. The library's own listen() cannot be used by a worker: its stop() shuts the listening
// socket down for all workers, it takes a shared listener's EAGAIN for the end, and its idle connections
// notice no drain.
//
//   refork::Worker worker;
//   refork::httplib::Server server(worker);
//   server.Get("/", [](const httplib::Request&, httplib::Response& response) { … });
//   for (const auto& listener : worker.listeners()) server.listen(listener);
//   worker.ready();
//   server.run();
//   return worker.finish();

#include <arpa/inet.h>
#include <httplib.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "refork/detail/sockets.hpp"
#include "refork/domain.hpp"
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
  Server& set_post_routing_handler(Handler handler) {
    ::httplib::Server::set_post_routing_handler(
        [last = std::move(handler)](const Request& request, Response& response) {
          Exchange& exchange = *Exchange::current();
          const bool fine = exchange.run([&] { last(request, response); }, &request, &response);
          if (!fine) response.set_header("Content-Length", std::to_string(response.body.size()));
          exchange.before_head(response);
        });
    return *this;
  }
  Server& set_logger(::httplib::Logger logger) {
    ::httplib::Server::set_logger(
        [logger = std::move(logger)](const Request& request, const Response& response) {
          Exchange::current()->run([&] { logger(request, response); });
        });
    return *this;
  }

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

  // One request on its way through the library, on the thread that serves it.
  class Exchange {
   public:
    Exchange(Server& server, Connection& connection)
        : server_(server), connection_(connection), stream_(connection.stream), domain_("http") {
      // The domain may outlive the exchange, in a callback bound to it, and be used by other threads.
      domain_.on_error([this](const Failure& failure) {
        if (current_ == this) answer(failure);
      });
      current_ = this;
    }
    ~Exchange() {
      Worker::withdraw_answer();
      current_ = nullptr;
      domain_.on_error({});
    }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    static Exchange* current() noexcept { return current_; }

    void begin(const Request& request) {
      in_flight_ = server_.worker_.begin(server_.label_(request), domain_);
      Worker::prepare_answer(in_flight_, connection_.hold, connection_.socket.get(),
                             request.method == "HEAD" ? kFaultHead : kFaultAnswer);
    }

    // Runs a piece of the application inside the request's domain, under the library's own catch. False after
    // an error; it was answered then, if there was a response to write it to.
    template <class Call>
    bool run(Call call, const Request* request = nullptr, Response* response = nullptr) {
      request_ = request;
      response_ = response;
      failed_ = false;
      if (domain_.run(call) && !failed_) return true;
      close_ = true;
      if (failed_ && answer_ && response) *response = *std::exchange(answer_, std::nullopt);
      if (!answered_) stream_.break_off();
      return false;
    }

    void before_head(Response& response) {
      Worker::withdraw_answer();
      close_ = close_ || server_.worker_.draining();
      begun_ = true;
      response.headers.erase("Keep-Alive");
      if (!close_ && response.get_header_value("Connection") != "close")
        response.set_header("Keep-Alive", "timeout=" + std::to_string(server_.keep_alive_timeout_sec_));
      else if (!response.has_header("Connection"))
        response.set_header("Connection", "close");
      if (!response.body.empty() && !response.content_provider_) stream_.hold_head();
    }

    bool must_close() const noexcept { return close_; }

   private:
    // The error handler: the culprit gets its 500, unless the client has part of another answer already.
    void answer(const Failure& failure) {
      failed_ = true;
      if (response_ == nullptr || begun_) return;
      Response fresh;
      fresh.version = response_->version;
      fresh.status = 500;
      server_.failure_handler_(failure, *request_, fresh);
      answer_ = std::move(fresh);
      answered_ = true;
    }

    static inline thread_local Exchange* current_ = nullptr;

    Server& server_;
    Connection& connection_;
    detail::Stream& stream_;
    Domain domain_;
    refork::Request in_flight_;
    const Request* request_ = nullptr;
    Response* response_ = nullptr;
    std::optional<Response> answer_;  // waits for the handler's end: after a report it goes on
    bool failed_ = false;             // the present piece
    bool begun_ = false;              // the answer's head is on its way
    bool close_ = false;
    bool answered_ = false;
  };

  struct ListeningSocket {
    detail::Fd fd;
    bool own;  // nobody else holds it: its queue dies with it
  };

  // --- handlers

  // What streams an answer runs after its handler has returned, but is the same request's.
  static void guard_content(Response& response) {
    if (!response.content_provider_) return;
    response.content_provider_ = [provide = std::move(response.content_provider_)](
                                     std::size_t offset, std::size_t length, ::httplib::DataSink& sink) {
      bool more = false;
      return Exchange::current()->run([&] { more = provide(offset, length, sink); }) && more;
    };
  }
  static Handler guarded(Handler handler) {
    return [handler = std::move(handler)](const Request& request, Response& response) {
      Exchange::current()->run([&] { handler(request, response); }, &request, &response);
      guard_content(response);
    };
  }
  static HandlerWithContentReader guarded(HandlerWithContentReader handler) {
    return [handler = std::move(handler)](const Request& request, Response& response,
                                          const ::httplib::ContentReader& reader) {
      Exchange::current()->run([&] { handler(request, response, reader); }, &request, &response);
      guard_content(response);
    };
  }
  static HandlerWithResponse guarded(HandlerWithResponse handler) {
    return [handler = std::move(handler)](const Request& request, Response& response) {
      auto result = HandlerResponse::Handled;  // an error's answer is one
      const bool fine =
          Exchange::current()->run([&] { result = handler(request, response); }, &request, &response);
      return fine ? result : HandlerResponse::Handled;
    };
  }

  static void answer_failure(const Failure&, const Request&, Response& response) {
    response.set_content("Internal Server Error\n", "text/plain");
  }

  static std::string label_of(const Request& request) {
    return request.method + ' ' + request.target.substr(0, request.target.find('?'));
  }

  // --- the pool's threads

  void serve_events() {
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

  void accept_one(std::size_t index) {
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
  bool accept_from(int listener, Hold hold, bool* got_one = nullptr) {
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
  ConnectionPtr take(std::uint64_t key) {
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

  void serve(std::uint64_t key, Connection& connection) {
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
  bool serve_request(Connection& connection) {
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
  void fail_outside(const std::exception_ptr& error) noexcept {
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

  Clock::time_point idle_until() const {
    return Clock::now() + (draining_
                               ? lame_duck_
                               : std::chrono::milliseconds(std::chrono::seconds(keep_alive_timeout_sec_)));
  }

  // Says goodbye and goes on reading; false if the client has closed already.
  bool shut(std::uint64_t key, Connection& connection, Connection::State how) {
    ::shutdown(connection.socket.get(), SHUT_WR);
    connection.state = how;
    connection.until = Clock::now() + detail::kLinger;
    if (lingering_++ == 0) wake();
    return linger(key, connection);
  }

  bool linger(std::uint64_t key, Connection& connection) {
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
  bool leave(std::uint64_t key, Connection& connection) {
    const auto client = detail::peek(connection.socket.get());
    if (client == detail::Client::sent) return true;  // a thread of the pool is about to take it
    if (client == detail::Client::left) return false;
    return shut(key, connection, Connection::State::leaving);
  }

  // --- the thread in run()

  bool wait_for_notice() {
    pollfd item{wake_.get(), POLLIN, 0};
    ::poll(&item, 1, until_next_beat(time_to_wait()));
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t ignored = ::read(wake_.get(), &count, sizeof count);
    const Lock lock(mutex_);
    return drained_;
  }

  int until_next_beat(int wait) const {
    const auto every = worker_.beat_every();
    if (!every) return wait;
    const int beat = static_cast<int>(every->count());
    return wait < 0 ? beat : std::min(wait, beat);
  }

  int time_to_wait() {
    const Lock lock(mutex_);
    if (drained_) return 0;
    if (exhausted_ || lingering_ > 0 || (draining_ && !connections_.empty()))
      return static_cast<int>(kTick.count());
    return connections_.empty() ? -1 : static_cast<int>(keep_alive_timeout_sec_ * 1000);
  }

  void look_after_connections() {
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

  void stop_threads() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(stop_.get(), &one, sizeof one);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  // --- what the worker says, on any thread

  void set_paused(bool paused) {
    const Lock lock(mutex_);
    paused_ = paused;
    arm_listeners();
  }

  void begin_drain(std::chrono::milliseconds lame_duck) {
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

  void end_run() {
    const Lock lock(mutex_);
    drained_ = true;
    wake();
  }

  void arm_listeners() {
    // Without ONESHOT a listener that hung up would be told of without end while paused.
    const std::uint32_t events = paused_ ? EPOLLONESHOT : EPOLLIN | EPOLLONESHOT;
    for (std::size_t i = 0; i < listeners_.size(); ++i)
      if (listeners_[i].fd.get() >= 0)
        watch(EPOLL_CTL_MOD, listeners_[i].fd.get(), events, kFirstListenerKey + i);
  }

  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(wake_.get(), &one, sizeof one);
  }

  void watch(int operation, int fd, std::uint32_t events, std::uint64_t key) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    ::epoll_ctl(epoll_.get(), operation, fd, &event);
  }

  static std::chrono::milliseconds milliseconds(std::time_t seconds, std::time_t microseconds) {
    return std::chrono::seconds(seconds) +
           std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::microseconds(microseconds));
  }

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
