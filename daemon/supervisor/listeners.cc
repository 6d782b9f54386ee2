// A worker can harm a shared listener: one shutdown() on it refuses everybody, and no listen() repairs it. So
// each is watched for EPOLLHUP and opened anew.
#include "supervisor/listeners.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "log/log.h"

namespace refork::supervisor {

base::Result<void> Listeners::open(const std::string& service, const std::vector<std::string>& addresses,
                                   bool nonblocking, const std::vector<state::Listener>& before,
                                   Handover& handover, Reopened reopened) {
  service_ = service;
  reopened_ = std::move(reopened);
  for (const auto& address : addresses)
    if (auto added = add(address, nonblocking, before, handover); !added) return added;
  return {};
}

void close_listeners(const std::vector<state::Listener>& listeners, Handover& handover, os::FdStore& store) {
  for (const auto& old : listeners) {
    auto fd = handover.take(old.fd_name, store);
    if (!fd) continue;
    store.forget(old.fd_name);
    if (auto socket = os::ListenSocket::adopt(old.configured, old.address, std::move(fd), old.inode, true))
      socket->unlink_path();
  }
}

base::Result<void> Listeners::add(const std::string& address, bool nonblocking,
                                  const std::vector<state::Listener>& before, Handover& handover) {
  const auto known = std::ranges::find(before, address, &state::Listener::configured);
  if (known != before.end()) {
    if (auto fd = handover.take(known->fd_name, store_)) {
      auto socket =
          os::ListenSocket::adopt(address, known->address, std::move(fd), known->inode, nonblocking);
      if (socket) {
        sockets_.push_back(
            std::make_unique<Socket>(Socket{known->fd_name, address, std::move(*socket), nullptr}));
        watch(*sockets_.back());
        return {};
      }
      log::warning(socket.error().what + "; it is opened anew");
      store_.forget(known->fd_name);
    }
  }
  if (adopt_stranger(address, nonblocking, handover) || adopt_given(address, nonblocking, handover))
    return {};
  auto socket = os::ListenSocket::open(address, nonblocking);
  if (!socket && socket.error().code == EADDRINUSE && make_way_(address))
    socket = os::ListenSocket::open(address, nonblocking);
  if (!socket) return socket.error();
  const std::string name = listener_fd(service_, next_number_());
  store_.keep(name, socket->fd());
  sockets_.push_back(std::make_unique<Socket>(Socket{name, address, std::move(*socket), nullptr}));
  watch(*sockets_.back());
  return {};
}

// One that a service manager opened for the service, by FileDescriptorName=. It is kept as every other one,
// so that nothing depends on being given it again; its file is the manager's.
bool Listeners::adopt_given(const std::string& address, bool nonblocking, Handover& handover) {
  auto fd =
      handover.take_given(service_, [&address](int one) { return os::ListenSocket::suits(address, one); });
  if (!fd) return false;
  auto socket = os::ListenSocket::adopt(address, std::move(fd), nonblocking);
  if (!socket) {
    log::warning(socket.error().what + "; it is opened anew");
    return false;
  }
  socket->leave_path();
  const std::string name = listener_fd(service_, next_number_());
  store_.keep(name, socket->fd());
  sockets_.push_back(std::make_unique<Socket>(Socket{name, address, std::move(*socket), nullptr}));
  watch(*sockets_.back());
  return true;
}

// One of an earlier reforkd of which nothing is known but its name: were it opened anew, the address would be
// taken.
bool Listeners::adopt_stranger(const std::string& address, bool nonblocking, Handover& handover) {
  auto name = handover.best(service_ + ".listen.",
                            [&address](int fd) { return os::ListenSocket::suits(address, fd); });
  // Of a service that has another name now, or has left the address to this one: the very same address only.
  if (name.empty())
    name = handover.best("", [&address, &handover](int fd) {
      return os::ListenSocket::suits(address, fd) == 2 && !handover.is_given(fd) ? 1 : 0;
    });
  if (name.empty()) return false;
  auto socket = os::ListenSocket::adopt(address, handover.take(name, store_), nonblocking);
  if (!socket) {
    store_.forget(name);
    return false;
  }
  // A manager that opened it gives it again; it is stored already, and not to be stored twice.
  if (handover.is_given(socket->fd())) socket->leave_path();
  sockets_.push_back(std::make_unique<Socket>(Socket{name, address, std::move(*socket), nullptr}));
  watch(*sockets_.back());
  return true;
}

void Listeners::watch(Socket& socket) {
  // A unix listener shut down for reading alone gives EPOLLRDHUP only. Connections are none of reforkd's
  // business.
  socket.source = loop_.watch(socket.socket.fd(), EPOLLRDHUP, [this, &socket](std::uint32_t) {
    if (socket.socket.broken()) shut_down(socket);
  });
}

void Listeners::shut_down(Socket& socket) {
  const auto now = core::Clock::now();
  const auto earliest = socket.reopened ? *socket.reopened + reopen_pause : now;
  if (now >= earliest) return reopen(socket);
  log::warning(socket.socket.address() + " was shut down again at once; it is opened again a little later");
  reopen_at(socket, earliest);
}

void Listeners::reopen_at(Socket& socket, core::Time at) {
  loop_.park(std::move(socket.source));
  socket.source = loop_.timer([this, &socket] { reopen(socket); });
  Loop::arm(socket.source, at);
}

void Listeners::reopen(Socket& socket) {
  const auto now = core::Clock::now();
  // Before its descriptor is closed: the workers hold the same socket, so epoll would report it for ever.
  loop_.park(std::move(socket.source));
  store_.forget(socket.name);
  if (const auto result = socket.socket.reopen(); !result) {
    log::error(result.error().what + "; trying again in 1 s");
    return reopen_at(socket, now + reopen_pause);
  }
  socket.reopened = now;
  socket.name = listener_fd(service_, next_number_());
  store_.keep(socket.name, socket.socket.fd());
  watch(socket);
  reopened_(socket.socket.address());
}

std::vector<int> Listeners::fds() const {
  std::vector<int> all;
  for (const auto& socket : sockets_) all.push_back(socket->socket.fd());
  return all;
}

std::vector<std::string> Listeners::addresses() const {
  std::vector<std::string> all;
  for (const auto& socket : sockets_) all.push_back(socket->socket.address());
  return all;
}

std::vector<state::Listener> Listeners::state() const {
  std::vector<state::Listener> all;
  for (const auto& socket : sockets_)
    all.push_back({socket->name, socket->configured, socket->socket.address(), socket->socket.inode()});
  return all;
}

void Listeners::close() {
  for (auto& socket : sockets_) {
    socket->source.reset();
    store_.forget(socket->name);
    socket->socket.unlink_path();
  }
  sockets_.clear();
}

}  // namespace refork::supervisor
