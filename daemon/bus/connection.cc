// One peer's connection: authentication in time, the write queue's bound, and the way it ends. What can be
// asked over it is in objects.cc and methods.cc.
#include "bus/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "bus/objects.h"

namespace refork::bus {

namespace {

// Bytes that the kernel keeps for a peer that does not read; sd-bus would have it keep 8 MiB.
constexpr int send_buffer = 256 * 1024;

}  // namespace

base::Result<std::unique_ptr<Connection>> Connection::open(sd_event* loop, base::UniqueFd fd, Peer peer,
                                                           sd_id128_t server, ConnectionHost& host) {
  std::unique_ptr<Connection> connection(new Connection(std::move(peer), host));
  const int r = connection->start(loop, std::move(fd), server);
  if (r < 0) return base::errno_error("open a control connection", -r);
  return connection;
}

Connection::~Connection() = default;

// Who it is was clear when it connected.
int Connection::ask(sd_bus_message* message, const Request& request, sd_bus_error* error) {
  return perform(request, {host_, peer_, waiting_}, message, error);
}

int Connection::start(sd_event* loop, base::UniqueFd fd, sd_id128_t server) {
  sd_bus* made = nullptr;
  int r = sd_bus_new(&made);
  if (r < 0) return r;
  bus_.reset(made);
  if ((r = sd_bus_set_fd(made, fd.get(), fd.get())) < 0) return r;
  fd.release();  // closed with the bus
  if ((r = sd_bus_set_description(made, "reforkd control")) < 0) return r;
  if ((r = sd_bus_set_server(made, 1, server)) < 0) return r;
  if ((r = sd_bus_negotiate_fds(made, 0)) < 0) return r;
  if ((r = sd_bus_set_connected_signal(made, 1)) < 0) return r;
  if ((r = watch(loop)) < 0) return r;
  if ((r = add_objects(made, *this, slots_)) < 0) return r;
  if ((r = add_driver(made, slots_)) < 0) return r;
  if ((r = sd_bus_start(made)) < 0) return r;
  if (::setsockopt(sd_bus_get_fd(made), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer) < 0)
    return -errno;
  return sd_bus_attach_event(made, loop, SD_EVENT_PRIORITY_NORMAL);
}

int Connection::watch(sd_event* loop) {
  int r = add_callbacks(bus_.get(), {on_message, on_connected, on_disconnected}, this, slots_);
  if (r < 0) return r;
  sd_event_source* source = nullptr;
  if ((r = sd_event_add_defer(loop, &source, on_pump, this)) < 0) return r;
  pump_.reset(source);
  if ((r = sd_event_source_set_enabled(source, SD_EVENT_OFF)) < 0) return r;
  const auto patience = static_cast<std::uint64_t>(host_.limits().authentication.count());
  r = sd_event_add_time_relative(loop, &source, CLOCK_MONOTONIC, patience, 0, on_silence, this);
  if (r >= 0) silence_.reset(source);
  return r;
}

void Connection::drop() noexcept {
  if (dropped_) return;
  dropped_ = true;
  host_.bury_soon();
}

void Connection::drop_if_slow() noexcept {
  std::uint64_t queued = 0;
  if (sd_bus_get_n_queued_write(bus_.get(), &queued) >= 0 && queued > host_.limits().write_queue) drop();
}

void Connection::flush() noexcept {
  dropped_ = true;  // what it still says is read, but not acted on
  std::uint64_t before = 0, queued = 0;
  if (sd_bus_get_n_queued_write(bus_.get(), &queued) < 0) return;
  do {
    before = queued;
    if (queued == 0 || sd_bus_process(bus_.get(), nullptr) < 0) return;
    if (sd_bus_get_n_queued_write(bus_.get(), &queued) < 0) return;
  } while (queued < before);
}

// sd-bus leaves what a peer sent together with the end of its authentication in a buffer, and nothing wakes
// the loop for it: so it is asked once more, until it has nothing left to do.
int Connection::on_connected(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  auto& self = *static_cast<Connection*>(userdata);
  self.silence_.reset();
  sd_event_source_set_enabled(self.pump_.get(), SD_EVENT_ONESHOT);
  return 0;
}

int Connection::on_pump(sd_event_source* source, void* userdata) noexcept {
  auto& self = *static_cast<Connection*>(userdata);
  if (self.dropped_) return 0;
  const int r = sd_bus_process(self.bus(), nullptr);
  if (r < 0) self.drop();
  if (r > 0) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  return 0;
}

int Connection::on_disconnected(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  static_cast<Connection*>(userdata)->drop();
  return 0;
}

// Sees each message before anything answers it: who does not read the answers gets no further ones.
int Connection::on_message(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  auto& self = *static_cast<Connection*>(userdata);
  self.drop_if_slow();
  return self.dropped_ ? 1 : 0;
}

int Connection::on_silence(sd_event_source*, std::uint64_t, void* userdata) noexcept {
  static_cast<Connection*>(userdata)->drop();
  return 0;
}

}  // namespace refork::bus
