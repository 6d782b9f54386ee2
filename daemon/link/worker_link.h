#pragma once

#include <optional>
#include <string>
#include <variant>

#include "core/pace.h"
#include "proto/channel.h"
#include "proto/messages.h"

namespace refork::link {

// Messages a worker may send: this many at once, then this many a second. One that sends more floods.
inline constexpr std::uint32_t message_burst = 10000;
inline constexpr std::uint32_t messages_per_second = 5000;

// reforkd's end of a worker's channel. The worker is not trusted: what is not legal in its state, before its
// hello, in that direction or in that number is a Violation. Passive: the loop owns the time and the
// descriptor's readiness.
//
// A message stays in the channel until it has been acted upon: acted() or the next receive(). So the death of
// reforkd loses none; the first one that the next reforkd finds may have been acted upon, and is passed over
// where it is not legal any more.
class WorkerLink {
 public:
  explicit WorkerLink(proto::Channel channel);
  // One that an earlier reforkd had.
  static WorkerLink adopt(proto::Channel channel, bool greeted);
  bool greeted() const noexcept { return greeted_; }

  int fd() const noexcept { return channel_.fd(); }
  using Received =
      std::variant<proto::Message, proto::Channel::Empty, proto::Channel::Closed, proto::Channel::Violation>;
  Received receive(proto::WorkerState state, core::Time now);
  void acted();
  base::Result<void> send(const proto::Message& message) { return channel_.send(message); }

 private:
  proto::Channel channel_;
  core::TokenBucket allowance_{message_burst, core::Millis(1000LL * message_burst / messages_per_second)};
  std::optional<std::string> objection(const proto::Message& message, proto::WorkerState state) const;
  bool greeted_ = false;
  bool peeked_ = false;
  bool may_repeat_ = false;  // the next message may have been acted upon by an earlier reforkd
};

}  // namespace refork::link
