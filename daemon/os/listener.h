#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

// "tcp://HOST:PORT" (a numeric v4 address, [v6] or a name that resolves to one; port 0 asks the kernel) or
// "unix:PATH", a relative path being the daemon's. `[::]` takes IPv4 as well, so it does not go together with
// 0.0.0.0 on one port. A name is looked up when the socket is opened and stands for its first IPv4 address,
// or else its first IPv6 one.
struct Address {
  enum class Family {
    tcp,
    unix_socket
  };
  Family family = Family::tcp;
  std::string host, port;  // tcp
  std::string path;        // unix
};
base::Result<Address> parse_address(const std::string& text);  // a sentence that says what was expected

// A listening socket that reforkd keeps open: connections are queued, never refused, while workers change.
class ListenSocket {
 public:
  // Clear words for a taken port (EADDRINUSE), a privileged one, a path too long (107 bytes), a path that is
  // no socket. A socket file nobody listens on is removed first; one that somebody does is EADDRINUSE.
  // Sockets of this process are removed by unlink_path(), not by the destructor.
  static base::Result<ListenSocket> open(const std::string& address, bool nonblocking);

  // One that an earlier reforkd opened: `bound` is its address() and `inode` its inode(). An error if it does
  // not listen any more.
  static base::Result<ListenSocket> adopt(const std::string& address, const std::string& bound,
                                          base::UniqueFd fd, std::uint64_t inode, bool nonblocking);

  // How well a listening socket of which nothing is known serves this address: 0 not at all, 2 better than 1,
  // which only port 0 has. Not one that takes more than this address or less: [::] is not 0.0.0.0.
  static int suits(const std::string& address, int fd);
  // Whether nobody can listen at this address while that socket does; not of unix sockets.
  static bool in_the_way(const std::string& address, int fd);
  static std::string address_of(int fd);  // as it is bound; empty: it is no socket of a kind known here
  // That one, by its own address.
  static base::Result<ListenSocket> adopt(const std::string& address, base::UniqueFd fd, bool nonblocking);

  int fd() const noexcept { return fd_.get(); }
  std::uint64_t inode() const noexcept { return inode_; }  // of the file at a unix path
  // As bound: with the port the kernel chose for port 0.
  const std::string& address() const noexcept { return address_; }
  // Somebody called shutdown() on it. To be woken, watch for EPOLLHUP | EPOLLRDHUP.
  bool broken() const;
  // A fresh socket at the same address. After an error there is none (fd() is -1); it can be tried again.
  base::Result<void> reopen();
  void leave_path() noexcept { inode_ = 0; }  // its file is somebody else's, who made it
  void unlink_path() noexcept;                // only if the file there is still the one that was made here

 private:
  ListenSocket() = default;
  base::UniqueFd fd_;
  std::string address_;
  Address parsed_;
  bool nonblocking_ = true;
  ino_t inode_ = 0;  // of the file at a unix path
};

}  // namespace refork::os
