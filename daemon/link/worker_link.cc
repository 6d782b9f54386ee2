// The daemon's judgement of what a worker says: the message table of proto, applied.
#include "link/worker_link.h"

#include <string>

namespace refork::link {

using proto::Channel;
using proto::Message;
using proto::MessageType;

WorkerLink::WorkerLink(Channel channel) : channel_(std::move(channel)) {}

WorkerLink::Received WorkerLink::receive(proto::WorkerState state, core::Time now) {
  Received received = channel_.receive();
  const auto* message = std::get_if<Message>(&received);
  if (!message) return received;

  const proto::MessageSpec& spec = proto::spec(proto::type_of(*message));
  const std::string name(base::to_name(spec.type));
  if (spec.direction == proto::Direction::to_worker)
    return Channel::Violation{name + " is not for a worker to send"};
  if (!greeted_ && spec.type != MessageType::hello) return Channel::Violation{name + " before hello"};
  if (greeted_ && spec.type == MessageType::hello) return Channel::Violation{"a second hello"};
  if (!(spec.legal & proto::states({state})))
    return Channel::Violation{name + " is not legal while " + std::string(base::to_name(state))};
  if (!allowance_.take(now))
    return Channel::Violation{"it floods its channel: more than " + std::to_string(messages_per_second) +
                              " messages a second"};
  greeted_ = true;
  return received;
}

}  // namespace refork::link
