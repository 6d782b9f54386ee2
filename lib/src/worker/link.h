#pragma once

#include <deque>
#include <mutex>

#include "proto/channel.h"

namespace refork::worker {

// This process's end of the channel, shared by its threads. What the queue of the peer has no room for is
// kept and sent by the next flush(); nothing ever waits.
class Link {
 public:
  static constexpr std::size_t max_pending = 256;  // of more nudges than that, one is as good as another

  explicit Link(base::UniqueFd fd) : channel_(std::move(fd)) {}

  int fd() const noexcept { return channel_.fd(); }
  bool open() const noexcept;  // false once the peer is known to be gone

  // A message of the protocol: goes out now or with a later flush. The oldest come first.
  void post(const proto::Message& message) noexcept;
  // A message of the application: goes out now or not at all (false).
  bool offer(const proto::Message& message);
  void flush() noexcept;
  bool pending() const noexcept;

  std::variant<proto::Message, proto::Channel::Empty, proto::Channel::Closed, proto::Channel::Violation>
  receive();
  void close() noexcept;  // nothing is sent or received any more; the descriptor stays open

 private:
  bool send(const proto::Message& message);  // mutex_ is held; false: no room
  void send_pending();

  mutable std::mutex mutex_;
  proto::Channel channel_;
  std::deque<proto::Message> pending_;
  bool open_ = true;
};

}  // namespace refork::worker
