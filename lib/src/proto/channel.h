#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "base/result.h"
#include "base/unique_fd.h"
#include "proto/messages.h"

namespace refork::proto {

// One end of the SOCK_SEQPACKET socketpair between reforkd and a worker. Never blocks, never raises SIGPIPE.
// Not thread-safe.
class Channel {
 public:
  struct Pair;
  static base::Result<Pair> make_pair();  // both CLOEXEC
  explicit Channel(base::UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const noexcept { return fd_.get(); }

  // Error code EAGAIN: the peer's queue is full, nothing was sent; EPIPE or ECONNRESET: there is no peer any
  // more; EMSGSIZE: larger than the message table allows; EBADMSG: the body of an application message is not
  // JSON.
  base::Result<void> send(const Message& message);

  struct Empty {};    // nothing there now
  struct Closed {};   // no peer any more, and everything it sent was received
  struct Violation {  // what arrived is no message; the channel is useless from now on
    std::string what;
  };
  // Descriptors that came along against the table never become ours and are a Violation.
  using Received = std::variant<Message, Empty, Closed, Violation>;
  Received receive();
  // The same, but the packet stays the next one until consume(): should this process die before, whoever
  // holds the channel then finds it again.
  Received peek();
  void consume();

 private:
  Received receive(int flags);
  base::UniqueFd fd_;
  std::unique_ptr<char[]> packet_;  // max_packet bytes, made by the first receive()
};

struct Channel::Pair {
  base::UniqueFd primary, worker;
};

}  // namespace refork::proto
