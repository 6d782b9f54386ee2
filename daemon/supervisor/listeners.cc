// A worker can harm a shared listener: one shutdown() on it refuses everybody, and no listen() repairs it. So
// each is watched for EPOLLHUP and opened anew.
#include "supervisor/listeners.h"

#include <sys/epoll.h>

#include "log/log.h"

namespace refork::supervisor {

base::Result<void> Listeners::open(Loop& loop, const std::vector<std::string>& addresses, bool nonblocking,
                                   Reopened reopened) {
  loop_ = &loop;
  reopened_ = std::move(reopened);
  for (const auto& address : addresses) {
    auto socket = os::ListenSocket::open(address, nonblocking);
    if (!socket) {
      close();
      return socket.error();
    }
    sockets_.push_back(std::move(*socket));
  }
  sources_.resize(sockets_.size());
  for (std::size_t i = 0; i < sockets_.size(); ++i) watch(i);
  return {};
}

void Listeners::watch(std::size_t index) {
  // A unix listener shut down for reading alone gives EPOLLRDHUP only. Connections are none of reforkd's
  // business.
  sources_[index] = loop_->watch(sockets_[index].fd(), EPOLLRDHUP, [this, index](std::uint32_t) {
    if (sockets_[index].broken()) reopen(index);
  });
}

void Listeners::reopen(std::size_t index) {
  loop_->park(std::move(sources_[index]));
  if (const auto result = sockets_[index].reopen(); !result) {
    log::error(result.error().what + "; trying again in 1 s");
    sources_[index] = loop_->timer([this, index] { reopen(index); });
    Loop::arm(sources_[index], core::Clock::now() + std::chrono::seconds(1));
    return;
  }
  watch(index);
  reopened_(sockets_[index].address());
}

std::vector<std::string> Listeners::addresses() const {
  std::vector<std::string> all;
  for (const auto& socket : sockets_) all.push_back(socket.address());
  return all;
}

void Listeners::close() {
  sources_.clear();
  for (auto& socket : sockets_) socket.unlink_path();
  sockets_.clear();
}

}  // namespace refork::supervisor
