#pragma once

#include <string>
#include <variant>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

// "tcp://HOST:PORT" (a numeric v4 address, [v6] or a name that resolves to one; port 0 asks the kernel) or "unix:PATH".
struct Address {
  enum class Family { tcp, unix_socket };
  Family family = Family::tcp;
  std::string host, port;  // tcp
  std::string path;        // unix
};
base::Result<Address> parse_address(const std::string& text);  // a sentence that says what was expected

// A listening socket that reforkd keeps open: connections are queued, never refused, while workers change.
class ListenSocket {
 public:
  // Clear words for a taken port (EADDRINUSE), a privileged one, a path too long (107 bytes), a path that is no socket.
  // A socket file nobody listens on is removed first; one that somebody does is EADDRINUSE. Sockets of this process
  // are removed by unlink_path(), not by the destructor.
  static base::Result<ListenSocket> open(const std::string& address, bool nonblocking);

  int fd() const noexcept { return fd_.get(); }
  // As bound: with the port the kernel chose for port 0.
  const std::string& address() const noexcept { return address_; }
  bool broken() const;        // somebody called shutdown() on it: poll gives POLLHUP
  base::Result<void> reopen();  // a fresh socket at the same address
  void unlink_path() noexcept;

 private:
  ListenSocket() = default;
  base::UniqueFd fd_;
  std::string address_;
  Address parsed_;
  bool nonblocking_ = true;
};

}  // namespace refork::os
