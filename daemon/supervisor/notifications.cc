// A socket for what the workers of one service notify, so that nobody else can fill it. Whose a message is
// that came through, and what it means, is known elsewhere.
#include "supervisor/notifications.h"

#include <sys/epoll.h>

#include "log/log.h"

namespace refork::supervisor {

namespace {

// A process of the same user may send as much as it likes: the other services have their turn.
constexpr int notifications_a_turn = 64;

base::Result<std::optional<os::Credentials>> user_of(const core::ServiceConfig& config) {
  std::optional<os::Credentials> user;
  if (config.user.empty()) return user;
  auto found = os::find_user(config.user);
  if (!found) return found.error();
  user = *std::move(found);
  return user;
}

}  // namespace

void Notifications::warn(const std::string& what) const {
  log::warning("service " + service_ + ", NOTIFY_SOCKET: " + what);
}

void Notifications::open(const core::ServiceConfig& config, const std::string& path, Handover& handover) {
  service_ = config.name;
  const std::string kept_as = notify_fd(service_);
  auto kept = handover.take(kept_as, store_);
  if (!kept && config.ready != core::ReadyBy::notify) return;
  const auto user = user_of(config);
  if (kept) adopt(std::move(kept), user ? *user : User());
  if (!socket_) make(path, user);
  if (!socket_) return;
  name_ = socket_->name();
  if (!store_.kept().contains(kept_as)) store_.keep(kept_as, socket_->fd());
  source_ = loop_.watch(socket_->fd(), EPOLLIN, [this](std::uint32_t) { receive(); });
}

void Notifications::adopt(base::UniqueFd kept, const User& user) {
  auto socket = os::NotifySocket::adopt(std::move(kept));
  if (!socket || socket->name().empty()) {
    warn("the one that was kept cannot be used, another one is made");
    return store_.forget(notify_fd(service_));
  }
  if (const auto given = socket->give_to(user); !given) warn(given.error().what);
  socket_ = *std::move(socket);
}

void Notifications::make(const std::string& path, const base::Result<User>& user) {
  auto socket = user ? os::NotifySocket::open_file(path, *user) : user.error();
  if (!socket) {
    warn(socket.error().what + "; it is an abstract one, to which every local process may send");
    socket = os::NotifySocket::open_abstract();
  }
  if (!socket) return warn(socket.error().what);
  socket_ = *std::move(socket);
}

// What is left is read in the next turn.
void Notifications::receive() {
  for (int i = 0; i < notifications_a_turn; ++i) {
    const auto notification = socket_->receive();
    if (!notification) return;
    take_(*notification);
  }
}

void Notifications::close() {
  if (!socket_) return;
  source_.reset();
  store_.forget(notify_fd(service_));
  socket_->remove();
  socket_.reset();
}

}  // namespace refork::supervisor
