// The daemon's judgement of what a worker says: the message table of proto, applied.
#include "link/worker_link.h"

#include <string>
#include <utility>

namespace refork::link {

using proto::Channel;
using proto::Message;
using proto::MessageType;

WorkerLink::WorkerLink(Channel channel) : channel_(std::move(channel)) {}

WorkerLink WorkerLink::adopt(Channel channel, bool greeted) {
  WorkerLink link(std::move(channel));
  link.greeted_ = greeted;
  link.may_repeat_ = true;
  return link;
}

void WorkerLink::acted() {
  if (std::exchange(peeked_, false)) channel_.consume();
}

// Why this message is not legal now.
std::optional<std::string> WorkerLink::objection(const Message& message, proto::WorkerState state) const {
  const proto::MessageSpec& spec = proto::spec(proto::type_of(message));
  const std::string name(base::to_name(spec.type));
  if (spec.direction == proto::Direction::to_worker) return name + " is not for a worker to send";
  if (!greeted_ && spec.type != MessageType::hello) return name + " before hello";
  if (greeted_ && spec.type == MessageType::hello) return "a second hello";
  if (!(spec.legal & proto::states({state})))
    return name + " is not legal while " + std::string(base::to_name(state));
  return std::nullopt;
}

WorkerLink::Received WorkerLink::receive(proto::WorkerState state, core::Time now) {
  for (;;) {
    acted();
    Received received = channel_.peek();
    const auto* message = std::get_if<Message>(&received);
    if (!message) return received;
    peeked_ = true;
    const bool repeated = std::exchange(may_repeat_, false);
    if (auto why = objection(*message, state)) {
      if (repeated) continue;
      return Channel::Violation{*std::move(why)};
    }
    if (!allowance_.take(now))
      return Channel::Violation{"it floods its channel: more than " + std::to_string(messages_per_second) +
                                " messages a second"};
    greeted_ = true;
    return received;
  }
}

}  // namespace refork::link
