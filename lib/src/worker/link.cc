// The channel with a lock and a queue. It knows how messages travel, not what they mean.

#include "worker/link.h"

#include <cerrno>

namespace refork::worker {

bool Link::open() const noexcept {
  const std::lock_guard lock(mutex_);
  return open_;
}

bool Link::pending() const noexcept {
  const std::lock_guard lock(mutex_);
  return open_ && !pending_.empty();
}

bool Link::send(const proto::Message& message) {
  const auto sent = channel_.send(message);
  if (!sent && sent.error().code == EAGAIN) return false;
  if (!sent && (sent.error().code == EPIPE || sent.error().code == ECONNRESET)) open_ = false;
  return true;
}

void Link::send_pending() {
  while (open_ && !pending_.empty() && send(pending_.front())) pending_.pop_front();
}

void Link::post(const proto::Message& message) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    send_pending();
    if (!open_ || (pending_.empty() && send(message))) return;
    if (pending_.size() < max_pending) pending_.push_back(message);
  } catch (...) {  // no memory: a message of the protocol is lost, the flight recorder is not
  }
}

bool Link::offer(const proto::Message& message) {
  const std::lock_guard lock(mutex_);
  send_pending();
  return open_ && pending_.empty() && send(message) && open_;
}

void Link::flush() noexcept {
  try {
    const std::lock_guard lock(mutex_);
    send_pending();
  } catch (...) {  // no memory: tried again at the next flush
  }
}

std::variant<proto::Message, proto::Channel::Empty, proto::Channel::Closed, proto::Channel::Violation>
Link::receive() {
  const std::lock_guard lock(mutex_);
  return channel_.receive();
}

void Link::close() noexcept {
  const std::lock_guard lock(mutex_);
  open_ = false;
  pending_.clear();
}

}  // namespace refork::worker
