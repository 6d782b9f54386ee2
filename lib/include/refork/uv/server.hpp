#pragma once

// An acceptor for a worker on one libuv loop, whose connections end the way a drain needs.

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refork/detail/sockets.hpp"
#include "refork/domain.hpp"
#include "refork/uv/callbacks.hpp"
#include "refork/uv/emitters.hpp"
#include "refork/worker.hpp"

namespace refork::uv {

class Connection;

namespace detail {

using namespace refork::detail;

class Acceptor;

// What the server and its connections share; outlives both.
struct Core {
  Core(uv_loop_t* on, Worker& of) : loop(on), worker(of) {}

  uv_loop_t* const loop;
  Worker& worker;
  const Domain domain{"connection"};
  std::list<Connection*> connections;
  std::atomic<bool> paused{false};
  bool draining = false;
  std::chrono::milliseconds lame_duck{0};
};

}  // namespace detail

// An accepted connection. Idle while it waits for a request, busy from the request's first byte until it
// waits again; the worker does not finish before it has ended. Used on the loop's thread, owned by whoever
// serves it: one that nobody holds any more is closed. An emitter of the server's own domain, until it is
// added to another one: there it receives. (Its writes belong to the domains that start them.)
class Connection : public Emitter {
 public:
  using Receive = std::function<void(std::string_view bytes)>;
  using Written = std::function<void(int status)>;

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uv_stream_t* stream() noexcept { return &handle_.stream; }
  uv_loop_t* loop() const noexcept { return core_->loop; }
  Worker& worker() const noexcept { return core_->worker; }

  // Waits for the next request: calls receive() with each piece that arrives, outside the domain of the
  // present one, until hold_reading(). If the connection ends instead, because the client closed it or an
  // idle one must go, `receive` is destroyed. What it throws outside of a domain of its own drops the
  // connection. `begun`: a part of the request was read already, so that the connection is busy.
  void wait_for_request(Receive receive, bool begun = false) {
    if (ended_ || leaving_ != Leaving::no) return;
    receive_ = std::move(receive);
    idle_ = !begun;
    if (idle_ && core_->draining) leave_later();
    read_on();
  }

  // A request is complete: what comes after it waits in the socket.
  void hold_reading() {
    idle_ = false;
    receive_ = nullptr;
    if (!ended_ && leaving_ == Leaving::no) read_stop(stream());
  }

  // Sends the bytes, then calls written(status) in the domain active now. A connection that cannot be written
  // to has ended by then.
  void write(std::string bytes, Written written) {
    auto sending = std::make_unique<Sending>(Sending{{}, std::move(bytes), std::move(written), this});
    sending->request.data = sending.get();
    const uv_buf_t buffer = uv_buf_init(sending->bytes.data(), static_cast<unsigned>(sending->bytes.size()));
    const int status = ended_ ? UV_ECANCELED : uv::write(&sending->request, stream(), &buffer, 1, on_written);
    Sending* const sent = sending.release();  // on_written's, which frees it
    if (status < 0) on_written(&sent->request, status);
  }

  // Whether the answer to the present request must carry Connection: close, and close() must follow it.
  bool must_close() const noexcept { return core_->worker.draining(); }

  // Ends the connection after its last answer, so that the answer arrives: once all that was given to write()
  // is out.
  void close() {
    if (ended_) return;
    if (uv_stream_get_write_queue_size(stream()) > 0) return leave_when_written();
    leave(Leaving::answered);
    read_on();
  }

  // Ends it in the midst of an answer, so that the client cannot take what it got for a whole one.
  void drop() noexcept {
    if (ended_) return;
    detail::reset_on_close(fd());
    end();
  }

 private:
  friend class Server;
  friend class detail::Acceptor;
  enum class Leaving {
    no,
    writing,     // the last answer is not out yet; nothing is read any more
    unanswered,  // our side is shut, and a request may still cross
    answered,    // our side is shut after the last answer
  };
  struct Sending {
    uv_write_t request;
    std::string bytes;
    Written written;
    Connection* connection;
  };

  Connection(std::shared_ptr<detail::Core> core, Hold hold)
      : Emitter("connection"),
        core_(std::move(core)),
        hold_(std::move(hold)),
        place_(core_->connections.insert(core_->connections.end(), this)) {}
  ~Connection() override { core_->connections.erase(place_); }

  // Takes the descriptor. It is deleted when its handles are closed and nobody holds it any more.
  static std::shared_ptr<Connection> make(const std::shared_ptr<detail::Core>& core, Hold hold, int fd,
                                          bool local) {
    const Scope of_the_server = core->domain.enter();
    auto* const made = new Connection(core, std::move(hold));
    std::shared_ptr<Connection> held(made, [](Connection* connection) { connection->abandon(); });
    uv_timer_init(core->loop, &made->timer_);
    if (local)
      uv_pipe_init(core->loop, &made->handle_.pipe, 0);
    else
      uv_tcp_init(core->loop, &made->handle_.tcp);
    made->timer_.data = made->handle_.handle.data = made;
    const int status = local ? uv_pipe_open(&made->handle_.pipe, fd) : uv_tcp_open(&made->handle_.tcp, fd);
    if (status == 0) return held;
    ::close(fd);
    return nullptr;
  }

  int fd() const noexcept {
    uv_os_fd_t fd = -1;
    uv_fileno(&handle_.handle, &fd);
    return fd;
  }

  void read_on() {
    const Scope outside = core_->domain.enter();  // the next request is none of the last one's business
    const int status = read_start(stream(), on_alloc, on_read);
    if (status < 0 && status != UV_EALREADY) end();
  }

  static void on_alloc(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    auto& self = *static_cast<Connection*>(handle->data);
    *buffer = uv_buf_init(self.buffer_, sizeof self.buffer_);
  }
  static void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t*) {
    auto& self = *static_cast<Connection*>(stream->data);
    if (size < 0) return self.end();
    if (size > 0) self.received({self.buffer_, static_cast<std::size_t>(size)});
  }

  void received(std::string_view bytes) {
    if (leaving_ == Leaving::unanswered) core_->worker.crossed();
    if (leaving_ != Leaving::no) {
      leaving_ = Leaving::answered;  // counted once
      return;
    }
    if (std::exchange(idle_, false) && core_->draining) timer_stop(&timer_);
    const Receive receive = receive_;  // it may be exchanged meanwhile
    struct DropUnlessDone {
      Connection& connection;
      bool done = false;
      ~DropUnlessDone() {
        if (!done) connection.drop();
      }
    } guard{*this};
    const Domain bound = domain();
    const auto tell = [&] {
      if (receive) receive(bytes);
      guard.done = true;
    };
    (bound ? bound : core_->domain).bind(tell, name())();
  }

  static void on_written(uv_write_t* request, int status) {
    const std::unique_ptr<Sending> sent(static_cast<Sending*>(request->data));
    if (status < 0)
      sent->connection->end();
    else if (sent->connection->leaving_ == Leaving::writing)
      sent->connection->close();
    if (sent->written) sent->written(status);
  }

  // While the worker drains: an idle connection is closed after the lame duck, unless a request is on its way
  // in.
  void leave_later() {
    const auto leave_if_idle = [](uv_timer_t* timer) {
      auto& self = *static_cast<Connection*>(timer->data);
      if (self.idle_) self.leave_unless_read();
    };
    const Scope outside = core_->domain.enter();
    timer_start(&timer_, leave_if_idle, detail::ms(core_->lame_duck), 0);
  }

  void leave_unless_read() {
    const detail::Client client = detail::peek(fd());
    if (client == detail::Client::sent) return;  // the read under way will tell
    if (client == detail::Client::left) return end();
    leave(Leaving::unanswered);
  }

  void leave_when_written() {
    leaving_ = Leaving::writing;
    idle_ = false;
    read_stop(stream());
    receive_ = nullptr;  // last: it may be what holds this
  }

  // Shuts our side, and ends for good some time later.
  void leave(Leaving how) {
    leaving_ = how;
    idle_ = false;
    ::shutdown(fd(), SHUT_WR);
    const Scope outside = core_->domain.enter();
    timer_start(
        &timer_, [](uv_timer_t* timer) { static_cast<Connection*>(timer->data)->end(); },
        detail::ms(detail::kLinger), 0);
    receive_ = nullptr;  // last: it may be what holds this
  }

  void abandon() noexcept {
    abandoned_ = true;
    domain().remove(*this);
    if (open_handles_ == 0) return delete this;
    if (leaving_ == Leaving::no) end();
  }

  void end() noexcept {
    if (std::exchange(ended_, true)) return;
    idle_ = false;
    hold_.release();
    const Scope outside = core_->domain.enter();
    uv::close(&handle_.handle, on_closed);
    uv::close(&timer_, on_closed);
    receive_ = nullptr;  // last: it may be what holds this
  }
  static void on_closed(uv_handle_t* handle) {
    auto* const self = static_cast<Connection*>(handle->data);
    if (--self->open_handles_ == 0 && self->abandoned_) delete self;
  }

  const std::shared_ptr<detail::Core> core_;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle_{};
  uv_timer_t timer_{};
  int open_handles_ = 2;
  Hold hold_;
  Receive receive_;
  bool idle_ = false;
  bool ended_ = false;
  bool abandoned_ = false;  // nobody outside holds it
  Leaving leaving_ = Leaving::no;
  char buffer_[16 * 1024];
  const std::list<Connection*>::iterator place_;
};

namespace detail {

// One listening socket. Waits for it to be readable and then accepts itself: nothing is ever accepted behind
// the back of a pause, and of workers that share the socket those who come too late just wait again. Deletes
// itself when its handles are closed.
class Acceptor {
 public:
  using Serve = std::function<void(std::shared_ptr<Connection>)>;

  Acceptor(std::shared_ptr<Core> core, const Listener& listener, Serve serve)
      : core_(std::move(core)),
        fd_(listener.fd),
        own_(is_own(core_->worker, listener)),
        local_(family_of(fd_) == AF_UNIX),
        serve_(std::move(serve)) {
    uv_poll_init(core_->loop, &poll_, fd_);
    uv_timer_init(core_->loop, &timer_);
    poll_.data = timer_.data = this;
    start();
  }

  void start() {
    const Scope outside = core_->domain.enter();
    if (core_->paused)
      poll_stop(&poll_);
    else
      poll_start(&poll_, UV_READABLE,
                 [](uv_poll_t* poll, int, int) { static_cast<Acceptor*>(poll->data)->accept(); });
  }

  // The queue of a socket that nobody else holds dies with it: who is in it is still served.
  void stop() {
    std::shared_ptr<Connection> accepted;
    while (own_ && accept_one(accepted, true) == Accepted::one) give(std::move(accepted));
    end();
  }

  void end() {
    const Scope outside = core_->domain.enter();
    uv::close(&poll_, on_closed);
    uv::close(&timer_, on_closed);
  }

 private:
  void accept() {
    std::shared_ptr<Connection> accepted;
    switch (accept_one(accepted, false)) {
      case Accepted::one:
        return give(std::move(accepted));
      case Accepted::none:
        return;
      case Accepted::exhausted:
        break;
    }
    poll_stop(&poll_);
    const Scope outside = core_->domain.enter();
    timer_start(
        &timer_, [](uv_timer_t* timer) { static_cast<Acceptor*>(timer->data)->start(); }, ms(kAcceptAgain),
        0);
  }

  // What it throws drops that connection and no other.
  void give(std::shared_ptr<Connection> accepted) {
    core_->domain.bind([&] { serve_(std::move(accepted)); })();
  }

  Accepted accept_one(std::shared_ptr<Connection>& accepted, bool last) {
    Hold hold = core_->worker.hold();  // before it is asked whether the worker still accepts
    if (!last && (core_->paused || core_->worker.draining())) return Accepted::none;
    const int fd = detail::accept(fd_);
    if (fd < 0) return errno == EAGAIN ? Accepted::none : Accepted::exhausted;
    accepted = Connection::make(core_, std::move(hold), fd, local_);
    return accepted ? Accepted::one : Accepted::exhausted;
  }

  static void on_closed(uv_handle_t* handle) {
    auto* const self = static_cast<Acceptor*>(handle->data);
    if (--self->open_handles_ > 0) return;
    ::close(self->fd_);
    delete self;
  }

  const std::shared_ptr<Core> core_;
  const int fd_;
  const bool own_;
  const bool local_;
  const Serve serve_;
  uv_poll_t poll_{};
  uv_timer_t timer_{};
  int open_handles_ = 2;
};

// Runs functions on the loop's thread, called from any, and beats for it. Deletes itself when it is closed.
class Mailbox {
 public:
  explicit Mailbox(const Core& core) : worker_(core.worker), domain_(core.domain) {
    const Scope outside = core.domain.enter();
    async_init(core.loop, &async_, [](uv_async_t* async) { static_cast<Mailbox*>(async->data)->run(); });
    async_.data = this;
    uv_timer_init(core.loop, &beat_);
    beat_.data = this;
    uv_unref(reinterpret_cast<uv_handle_t*>(&beat_));  // it keeps no loop running
    beat();
  }

  void post(std::function<void()> function) {
    const std::lock_guard lock(mutex_);
    functions_.push_back(std::move(function));
    uv_async_send(&async_);
  }

  // On the loop's thread, and nobody posts any more.
  void close(bool stop_loop) {
    stop_loop_ = stop_loop;
    uv::close(&async_, on_closed);
    uv::close(&beat_, on_closed);
  }

 private:
  void run() {
    std::vector<std::function<void()>> now;
    {
      const std::lock_guard lock(mutex_);
      now.swap(functions_);
    }
    for (const auto& function : now) function();
  }

  static void on_closed(uv_handle_t* handle) {
    auto* const self = static_cast<Mailbox*>(handle->data);
    if (--self->open_handles_ > 0) return;
    if (self->stop_loop_) uv_stop(handle->loop);
    delete self;
  }

  // Tells the watchdog that the loop runs, as often as it wants to know.
  void beat() {
    worker_.beat();
    const auto every = worker_.beat_every();
    if (!every) return;
    const Scope outside = domain_.enter();
    timer_start(
        &beat_, [](uv_timer_t* timer) { static_cast<Mailbox*>(timer->data)->beat(); }, ms(*every), 0);
  }

  Worker& worker_;
  const Domain domain_;
  uv_async_t async_{};
  uv_timer_t beat_{};
  int open_handles_ = 2;
  std::mutex mutex_;
  std::vector<std::function<void()>> functions_;
  bool stop_loop_ = false;
};

}  // namespace detail

// Accepts connections for a worker: pauses, resumes and drains as the worker says, and stops the loop once
// the worker has drained. Sets the worker's on_pause, on_resume, on_drain and on_drained. Made and ended on
// the loop's thread, and ended while the loop does not run; one that ends before the worker has drained
// leaves handles to be closed by running the loop once more.
class Server {
 public:
  using Serve = detail::Acceptor::Serve;

  Server(uv_loop_t* loop, Worker& worker, Serve serve)
      : core_(std::make_shared<detail::Core>(loop, worker)),
        serve_(std::move(serve)),
        mailbox_(new detail::Mailbox(*core_)) {
    // What is accepted meanwhile is known at once; the sockets rest as soon as the loop hears of it.
    worker.on_pause([this] { set_paused(true); });
    worker.on_resume([this] { set_paused(false); });
    worker.on_drain([this](const Drain& drain) {
      // The hold: nobody in the queue of an own socket is lost because the worker was idle. (Shared, because
      // a std::function is copyable.)
      mailbox_->post([this, wait = drain.lame_duck, hold = std::make_shared<Hold>(core_->worker.hold())] {
        begin_drain(wait);
      });
    });
    worker.on_drained([this] { mailbox_->post([this] { end(true); }); });
  }
  ~Server() {
    core_->worker.on_pause({});
    core_->worker.on_resume({});
    core_->worker.on_drain({});
    core_->worker.on_drained({});
    end(false);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves what arrives on this socket, which it takes: one of worker.listeners(), or the application's own.
  void listen(const Listener& listener) {
    auto* const acceptor = new detail::Acceptor(core_, listener, serve_);
    if (core_->draining) return acceptor->stop();  // too late: who is in the queue is served
    acceptors_.push_back(acceptor);
  }

 private:
  void set_paused(bool paused) {
    core_->paused = paused;
    mailbox_->post([this] {
      for (detail::Acceptor* acceptor : acceptors_) acceptor->start();
    });
  }

  void begin_drain(std::chrono::milliseconds lame_duck) {
    if (std::exchange(core_->draining, true)) return;
    core_->lame_duck = lame_duck;
    for (Connection* connection : core_->connections)
      if (connection->idle_) connection->leave_later();
    for (detail::Acceptor* acceptor : std::exchange(acceptors_, {})) acceptor->stop();
  }

  void end(bool stop_loop) {
    if (std::exchange(ended_, true)) return;
    for (detail::Acceptor* acceptor : std::exchange(acceptors_, {})) acceptor->end();
    const std::list<Connection*> left = core_->connections;
    for (Connection* connection : left) connection->end();
    mailbox_->close(stop_loop);
  }

  const std::shared_ptr<detail::Core> core_;
  const Serve serve_;
  detail::Mailbox* mailbox_;
  std::vector<detail::Acceptor*> acceptors_;
  bool ended_ = false;
};

}  // namespace refork::uv
