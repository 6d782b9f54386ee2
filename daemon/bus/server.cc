// The server: accepts peers on the private socket within the limits, tells them and the system bus what
// changed, buries those that left or were dropped.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <list>
#include <utility>

#include "bus/bus.h"
#include "bus/connection.h"
#include "bus/socket.h"
#include "bus/system_bus.h"

namespace refork::bus {

namespace {

using base::Result;
using base::UniqueFd;

// How long no peer is accepted after the process ran out of descriptors: the waiting one would wake the loop
// for ever.
constexpr std::uint64_t accept_pause_us = 1'000'000;
// Between two announcements of what has changed: each looks at every worker.
constexpr std::uint64_t publish_pause_us = 100'000;
constexpr std::uint64_t accuracy_us = 1'000;

class Server final : public Bus, private ConnectionHost {
 public:
  Server(sd_event* loop, core::Operations& operations, const Options& options)
      : loop_(loop), operations_(operations), options_(options) {
    policy_.owner = ::geteuid();
    policy_.operators = find_group(options.group);
  }
  ~Server() override { close(); }

  Result<void> start(const std::string& path, UniqueFd listening);
  void event(const core::Event& event) override;
  void failure_recorded(const core::FailureRow& row) override;
  void message(std::uint64_t worker, std::string_view json) override;
  void changed() override;
  int fd() const noexcept override { return socket_.fd(); }
  void close() override;
  void leave() override;

 private:
  core::Operations& operations() override { return operations_; }
  const AccessPolicy& policy() const override { return policy_; }
  const Limits& limits() const override { return options_.limits; }
  std::shared_ptr<const Snapshot> snapshot() override;
  void bury_soon() noexcept override { arm(burial_); }

  int add_sources();
  static void arm(const SourcePtr& source) noexcept {
    if (source) sd_event_source_set_enabled(source.get(), SD_EVENT_ONESHOT);
  }
  void accept_all();
  void pause_accepting() noexcept;
  void admit(UniqueFd fd);
  bool has_room_for(const Peer& peer) const;
  bool has_audience() const;
  void publish();
  // Calls emit(connection) for each peer that may hear it; what a leaving peer answers is of no interest.
  template <class Emit>
  void tell(Action needed, Emit&& emit);

  static int on_accept(sd_event_source*, int, std::uint32_t, void* userdata) noexcept {
    return guarded(nullptr, [&] { return static_cast<Server*>(userdata)->accept_all(), 0; });
  }
  static int on_resume(sd_event_source*, std::uint64_t, void* userdata) noexcept {
    return sd_event_source_set_enabled(static_cast<Server*>(userdata)->listener_.get(), SD_EVENT_ON);
  }
  static int on_publish_later(sd_event_source* source, std::uint64_t, void* userdata) noexcept {
    return on_publish(source, userdata);
  }
  static int on_publish(sd_event_source*, void* userdata) noexcept {
    guarded(nullptr, [&] { return static_cast<Server*>(userdata)->publish(), 0; });
    return 0;
  }
  static int on_burial(sd_event_source*, void* userdata) noexcept {
    static_cast<Server*>(userdata)->connections_.remove_if([](const auto& c) { return c->dropped(); });
    return 0;
  }

  sd_event* loop_;
  core::Operations& operations_;
  const Options options_;
  AccessPolicy policy_;
  sd_id128_t id_{};
  ControlSocket socket_;
  std::list<std::unique_ptr<Connection>> connections_;
  std::shared_ptr<const Snapshot> current_;  // what was read in the loop turn `read_in_`
  std::uint64_t read_in_ = 0;
  std::shared_ptr<const Snapshot> published_;  // what the peers know
  std::uint64_t publish_at_us_ = 0;            // the next time at the earliest, monotonic
  SourcePtr listener_, resume_, publisher_, later_publisher_, burial_;
  std::unique_ptr<SystemBus> system_;
};

Result<void> Server::start(const std::string& path, UniqueFd listening) {
  const bool root = policy_.owner == 0;
  auto socket = listening ? ControlSocket::adopt(std::move(listening), path)
                          : Result<ControlSocket>(base::Error{ENOENT, ""});
  if (!socket)
    socket = ControlSocket::open(path, root ? 0660 : 0600, root ? policy_.operators : std::nullopt);
  if (!socket) return socket.error();
  socket_ = std::move(*socket);
  int r = sd_id128_randomize(&id_);
  if (r >= 0) r = add_sources();
  if (r < 0) return base::errno_error("serve control socket " + path, -r);
  if (options_.system_bus) {
    Host& host = *this;
    system_ = std::make_unique<SystemBus>(loop_, host, *options_.system_bus, [this] {
      if (!has_audience()) published_ = snapshot();
    });
  }
  return {};
}

int Server::add_sources() {
  sd_event_source* source = nullptr;
  int r = sd_event_add_io(loop_, &source, socket_.fd(), EPOLLIN, on_accept, this);
  if (r < 0) return r;
  listener_.reset(source);
  for (const auto& [owner, handler] : {std::pair{&publisher_, &on_publish}, {&burial_, &on_burial}}) {
    if ((r = sd_event_add_defer(loop_, &source, handler, this)) < 0) return r;
    owner->reset(source);
    if ((r = sd_event_source_set_enabled(source, SD_EVENT_OFF)) < 0) return r;
  }
  if ((r = sd_event_add_time(loop_, &source, CLOCK_MONOTONIC, 0, accuracy_us, on_publish_later, this)) < 0)
    return r;
  later_publisher_.reset(source);
  return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

void Server::accept_all() {
  while (true) {
    UniqueFd fd(::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      admit(std::move(fd));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      return pause_accepting();
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

void Server::pause_accepting() noexcept {
  sd_event_source* source = nullptr;
  if (sd_event_add_time_relative(loop_, &source, CLOCK_MONOTONIC, accept_pause_us, 0, on_resume, this) < 0)
    return;
  resume_.reset(source);
  sd_event_source_set_enabled(listener_.get(), SD_EVENT_OFF);
}

bool Server::has_room_for(const Peer& peer) const {
  const auto open = static_cast<std::size_t>(
      std::count_if(connections_.begin(), connections_.end(), [](const auto& c) { return !c->dropped(); }));
  const auto& limits = options_.limits;
  return open < (is_owner(peer, policy_) ? limits.connections : limits.connections - limits.reserved);
}

void Server::admit(UniqueFd fd) {
  auto peer = peer_of(fd.get());
  if (!peer || !has_room_for(*peer)) return;  // closes: the peer reads end of file
  if (!has_audience()) published_ = snapshot();
  auto connection = Connection::open(loop_, std::move(fd), std::move(*peer), id_, *this);
  if (connection) connections_.push_back(std::move(*connection));
}

std::shared_ptr<const Snapshot> Server::snapshot() {
  std::uint64_t turn = 0;
  sd_event_get_iteration(loop_, &turn);
  if (!current_ || turn != read_in_) {
    current_ = std::make_shared<const Snapshot>(operations_.status());
    read_in_ = turn;
  }
  return current_;
}

template <class Emit>
void Server::tell(Action needed, Emit&& emit) {
  for (const auto& connection : connections_) {
    if (!connection->ready() || !connection->may(needed)) continue;
    emit(*connection);
    connection->drop_if_slow();
  }
}

void Server::event(const core::Event& event) {
  const std::string type = wire_line(event.type.name()), service = wire_line(event.service),
                    text = wire_line(event.text),
                    whole = event.detail.empty() ? text : wire_line(event.text + ": " + event.detail);
  const std::int32_t slot = event.slot ? static_cast<std::int32_t>(*event.slot) : -1;
  tell(Action::read_status, [&](const Connection& to) {
    sd_bus_emit_signal(to.bus(), manager_path, manager_interface, "Event", "ttssitis", event.sequence,
                       event.time_ms, type.c_str(), service.c_str(), slot, event.worker, event.pid,
                       (to.may(Action::read_failures) ? whole : text).c_str());
  });
  if (system_) system_->event(event);
}

void Server::failure_recorded(const core::FailureRow& row) {
  tell(Action::read_status, [&](const Connection& to) { emit_failure(to.bus(), row); });
  if (system_) system_->failure_recorded(row);
}

void Server::message(std::uint64_t worker, std::string_view json) {
  const std::string text = wire_text(json);
  tell(Action::read_messages, [&](const Connection& to) {
    sd_bus_emit_signal(to.bus(), manager_path, manager_interface, "Message", "ts", worker, text.c_str());
  });
}

void Server::changed() {
  current_.reset();
  if (!has_audience()) return;
  std::uint64_t now = 0;
  sd_event_now(loop_, CLOCK_MONOTONIC, &now);
  arm(now < publish_at_us_ ? later_publisher_ : publisher_);
}

bool Server::has_audience() const { return !connections_.empty() || (system_ && system_->joined()); }

void Server::publish() {
  if (!has_audience()) return;
  if (sd_event_now(loop_, CLOCK_MONOTONIC, &publish_at_us_) >= 0) publish_at_us_ += publish_pause_us;
  sd_event_source_set_time(later_publisher_.get(), publish_at_us_);
  const auto before = std::exchange(published_, snapshot());
  const auto changes = difference(*before, *published_);
  tell(Action::read_status, [&](const Connection& to) { emit_changes(to.bus(), changes); });
  if (system_) system_->changed(changes);
}

void Server::close() {
  leave();
  socket_.remove();
}

void Server::leave() {
  listener_.reset();
  resume_.reset();
  publisher_.reset();
  later_publisher_.reset();
  for (const auto& connection : connections_) connection->flush();
  connections_.clear();
  burial_.reset();
  system_.reset();
}

}  // namespace

Result<std::unique_ptr<Bus>> Bus::listen(sd_event* loop, const std::string& path,
                                         core::Operations& operations, const Options& options,
                                         UniqueFd listening) {
  auto server = std::make_unique<Server>(loop, operations, options);
  if (auto started = server->start(path, std::move(listening)); !started) return started.error();
  return std::unique_ptr<Bus>(std::move(server));
}

}  // namespace refork::bus
