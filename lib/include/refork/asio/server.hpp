#pragma once

// An acceptor for a worker on one io_context, whose connections end the way a drain needs.

#include <sys/socket.h>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "refork/asio/executor.hpp"
#include "refork/asio/timer.hpp"
#include "refork/detail/sockets.hpp"
#include "refork/domain.hpp"
#include "refork/worker.hpp"

namespace refork::asio {

using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol, Executor>;

class Connection;

namespace detail {

using namespace refork::detail;

// What the server and its connections share; outlives both.
struct Core {
  Core(boost::asio::io_context& io, Worker& of)
      : worker(of),
        executor(io.get_executor(), Domain("connection")),
        work(boost::asio::make_work_guard(io)),
        beating(io),
        loop(&io) {}

  Worker& worker;
  Executor executor;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
  boost::asio::steady_timer beating;
  std::list<Connection*> connections;
  bool draining = false;
  std::chrono::milliseconds lame_duck{0};

  std::mutex mutex;               // guards loop: the worker's callbacks come from other threads
  boost::asio::io_context* loop;  // null once the server is gone
};

// Tells the watchdog that the loop runs, as often as it wants to know. On the loop's thread.
inline void beat(const std::shared_ptr<Core>& core) {
  {
    const std::lock_guard lock(core->mutex);
    if (core->loop == nullptr) return;
  }
  core->worker.beat();
  const auto every = core->worker.beat_every();
  if (!every) return;
  core->beating.expires_after(*every);
  core->beating.async_wait([weak = std::weak_ptr<Core>(core)](const ErrorCode& error) {
    if (const auto again = weak.lock(); !error && again) beat(again);
  });
}

}  // namespace detail

// An accepted connection. Idle while it waits for a request, busy from the request's first byte until it
// waits again; the worker does not finish before it is gone. Used on the loop's thread, owned by whoever
// serves it. An emitter of the server's own domain, until it is added to another one: there it calls back.
// (The operations on its socket belong to the domains that start them, as all of Asio's do.)
class Connection : public Emitter, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<detail::Core> core, Socket socket, Hold hold)
      : Emitter("connection"),
        core_(std::move(core)),
        socket_(std::move(socket)),
        timer_(core_->executor),
        hold_(std::move(hold)),
        place_(core_->connections.insert(core_->connections.end(), this)) {}
  ~Connection() override { core_->connections.erase(place_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Socket& socket() noexcept { return socket_; }
  Worker& worker() const noexcept { return core_->worker; }
  Executor executor() const { return core_->executor; }

  // Calls `read_it()` when a request begins to arrive, or at once if `buffered` bytes of it were read
  // already. If the connection ends instead, because the client closed it or an idle one must go, `read_it`
  // is destroyed uncalled.
  template <class Function>
  void wait_for_request(Function read_it, std::size_t buffered = 0) {
    const Scope outside = Domain::none();  // the next request is none of the last one's business
    auto begin = [self = shared_from_this(), next = std::move(read_it)]() mutable {
      self->call_in_domain(std::move(next));
    };
    if (buffered > 0) return boost::asio::post(core_->executor, std::move(begin));
    idle_ = true;
    if (core_->draining) leave_later();
    socket_.async_wait(Socket::wait_read, [this, begin = std::move(begin)](detail::ErrorCode error) mutable {
      if (request_arrives(error)) begin();
    });
  }

  // Whether the answer to the present request must carry Connection: close, and close() must follow it.
  bool must_close() const noexcept { return core_->worker.draining(); }

  // Ends the connection after its last answer, so that the answer arrives.
  void close() {
    leaving_ = true;
    shut_and_linger();
  }

  // Ends it in the midst of an answer, so that the client cannot take what it got for a whole one.
  void drop() noexcept {
    if (socket_.is_open()) detail::reset_on_close(socket_.native_handle());
    end();
  }

 private:
  friend class Server;

  // The one that this belongs to by now, whichever it was when the wait began.
  template <class Function>
  void call_in_domain(Function function) {
    const Domain bound = domain();
    (bound ? bound : core_->executor.otherwise()).bind(std::move(function), name())();
  }

  bool request_arrives(detail::ErrorCode error) {
    if (leaving_) {
      if (!error) keep_lingering(true);
      return false;
    }
    idle_ = false;
    if (core_->draining) timer_.cancel();
    if (error) end();
    return !error;
  }

  // While the worker drains: an idle connection is closed after the lame duck, unless a request is on its way
  // in.
  void leave_later() {
    const Scope outside = Domain::none();
    timer_.expires_after(core_->lame_duck);
    timer_.async_wait([weak = weak_from_this()](detail::ErrorCode error) {
      const auto self = weak.lock();
      if (!error && self && self->idle_) self->leave();
    });
  }

  void leave() {
    const detail::Client client = detail::peek(socket_.native_handle());
    if (client == detail::Client::sent) return;  // the wait under way will tell
    if (client == detail::Client::left) return end();
    leaving_ = true;
    ::shutdown(socket_.native_handle(), SHUT_WR);
    end_later();  // the wait under way goes on, for a request that crosses
  }

  void shut_and_linger() {
    if (!socket_.is_open()) return;
    ::shutdown(socket_.native_handle(), SHUT_WR);
    end_later();
    keep_lingering(false);
  }

  // Reads what still comes until the client closes.
  void keep_lingering(bool unanswered) {
    const detail::Client client = detail::discard(socket_.native_handle());
    if (client == detail::Client::left) return end();
    if (client == detail::Client::sent && unanswered) core_->worker.crossed();
    const bool still_unanswered = unanswered && client == detail::Client::silent;
    const Scope outside = Domain::none();
    socket_.async_wait(Socket::wait_read,
                       [self = shared_from_this(), still_unanswered](detail::ErrorCode error) {
                         if (!error) self->keep_lingering(still_unanswered);
                       });
  }

  void end_later() {
    const Scope outside = Domain::none();
    timer_.expires_after(detail::kLinger);
    timer_.async_wait([weak = weak_from_this()](detail::ErrorCode error) {
      const auto self = weak.lock();
      if (!error && self) self->end();
    });
  }

  void end() noexcept {
    detail::ErrorCode ignored;
    socket_.close(ignored);
    timer_.cancel();
    hold_.release();
  }

  const std::shared_ptr<detail::Core> core_;
  Socket socket_;
  detail::SteadyTimer timer_;
  Hold hold_;
  bool idle_ = false;
  bool leaving_ = false;  // our side is shut
  const std::list<Connection*>::iterator place_;
};

namespace detail {

// One listening socket. Waits for it to be readable and then accepts itself: nothing is ever accepted behind
// the back of a pause, and of workers that share the socket those who come too late just wait again.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  using Serve = std::function<void(std::shared_ptr<Connection>)>;

  Acceptor(std::shared_ptr<Core> core, const Listener& listener, const Serve& serve)
      : core_(std::move(core)),
        descriptor_(core_->executor, listener.fd),
        timer_(core_->executor),
        own_(is_own(core_->worker, listener)),
        serve_(serve),
        family_(family_of(listener.fd)) {
    make_nonblocking(listener.fd);
  }

  void start() {
    if (armed_ || paused_ || !descriptor_.is_open()) return;
    armed_ = true;
    const Scope outside = Domain::none();
    descriptor_.async_wait(Descriptor::wait_read, [self = shared_from_this()](ErrorCode error) {
      self->armed_ = false;
      std::shared_ptr<Connection> accepted;
      if (error || self->accept_one(accepted) != Accepted::exhausted)
        self->start();
      else
        self->start_later();
      if (accepted) self->serve_(std::move(accepted));  // last: what it throws must not end the accepting
    });
  }

  void pause() {
    paused_ = true;
    ErrorCode ignored;
    descriptor_.cancel(ignored);
  }

  void resume() {
    paused_ = false;
    start();
  }

  // The queue of a socket that nobody else holds dies with it: who is in it is still served.
  void stop() {
    if (!descriptor_.is_open()) return;
    std::shared_ptr<Connection> accepted;
    // What it throws drops that connection and no other.
    while (own_ && accept_one(accepted, true) == Accepted::one)
      core_->executor.otherwise().bind([&] { serve_(std::move(accepted)); })();
    paused_ = true;
    ErrorCode ignored;
    descriptor_.close(ignored);
  }

 private:
  using Descriptor = boost::asio::posix::basic_stream_descriptor<Executor>;
  Accepted accept_one(std::shared_ptr<Connection>& accepted, bool last = false) {
    Hold hold = core_->worker.hold();  // before it is asked whether the worker still accepts
    if (!last && (paused_ || core_->worker.draining())) return Accepted::none;
    const int fd = detail::accept(descriptor_.native_handle());
    if (fd < 0) return errno == EAGAIN ? Accepted::none : Accepted::exhausted;
    const Scope of_the_server = core_->executor.otherwise().enter();
    Socket socket(core_->executor, boost::asio::generic::stream_protocol(family_, 0), fd);
    accepted = std::make_shared<Connection>(core_, std::move(socket), std::move(hold));
    return Accepted::one;
  }

  void start_later() {
    const Scope outside = Domain::none();
    timer_.expires_after(kAcceptAgain);
    timer_.async_wait([self = shared_from_this()](ErrorCode) { self->start(); });
  }

  const std::shared_ptr<Core> core_;
  Descriptor descriptor_;
  SteadyTimer timer_;
  const bool own_;
  const Serve serve_;
  const int family_;
  bool armed_ = false;
  bool paused_ = false;
};

}  // namespace detail

// Accepts connections for a worker: pauses, resumes and drains as the worker says, and ends the loop once the
// worker has drained. Sets the worker's on_pause, on_resume, on_drain and on_drained.
class Server {
 public:
  using Serve = detail::Acceptor::Serve;

  Server(boost::asio::io_context& loop, Worker& worker, Serve serve)
      : core_(std::make_shared<detail::Core>(loop, worker)), serve_(std::move(serve)) {
    worker.on_pause([this] { in_loop([this] { for_all(&detail::Acceptor::pause); }); });
    worker.on_resume([this] { in_loop([this] { for_all(&detail::Acceptor::resume); }); });
    worker.on_drain([this](const Drain& drain) {
      // The hold: nobody in the queue of an own socket is lost because the worker was idle.
      in_loop([this, wait = drain.lame_duck, hold = core_->worker.hold()] { begin_drain(wait); });
    });
    worker.on_drained([this] { in_loop([this] { end_loop(); }); });
    boost::asio::post(loop, [weak = std::weak_ptr<detail::Core>(core_)] {
      if (const auto core = weak.lock()) detail::beat(core);
    });
  }
  ~Server() {
    core_->worker.on_pause({});
    core_->worker.on_resume({});
    core_->worker.on_drain({});
    core_->worker.on_drained({});
    core_->work.reset();
    const std::lock_guard lock(core_->mutex);
    core_->loop = nullptr;
    core_->beating.cancel();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves what arrives on this socket, which it takes: one of worker.listeners(), or the application's own.
  void listen(const Listener& listener) {
    acceptors_.push_back(std::make_shared<detail::Acceptor>(core_, listener, serve_));
    if (core_->draining)
      acceptors_.back()->stop();  // too late: who is in the queue is served
    else
      acceptors_.back()->start();
  }

  // For the application's own sockets and timers: their callbacks run in the domain that started them.
  Executor executor() const { return core_->executor; }

 private:
  // At once on the loop's own thread, so that not one more connection is accepted after a pause; posted from
  // others.
  template <class Function>
  void in_loop(Function function) {
    {
      const std::lock_guard lock(core_->mutex);
      if (core_->loop == nullptr) return;
      if (!core_->loop->get_executor().running_in_this_thread()) {
        boost::asio::post(*core_->loop, std::move(function));
        return;
      }
    }
    function();
  }

  void for_all(void (detail::Acceptor::*what)()) {
    for (std::size_t i = 0; i < acceptors_.size(); ++i) {  // one may be added meanwhile
      const auto acceptor = acceptors_[i];
      (acceptor.get()->*what)();
    }
  }

  void begin_drain(std::chrono::milliseconds lame_duck) {
    if (std::exchange(core_->draining, true)) return;
    core_->lame_duck = lame_duck;
    for (Connection* connection : core_->connections)
      if (connection->idle_) connection->leave_later();
    for_all(&detail::Acceptor::stop);
  }

  void end_loop() {
    core_->work.reset();
    const std::lock_guard lock(core_->mutex);
    if (core_->loop != nullptr) core_->loop->stop();
  }

  const std::shared_ptr<detail::Core> core_;
  const Serve serve_;
  std::vector<std::shared_ptr<detail::Acceptor>> acceptors_;
};

}  // namespace refork::asio
