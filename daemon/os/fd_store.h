#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

// Descriptors that outlive this process: the FDSTORE part of sd_notify(3) and its way back, sd_listen_fds(3).
namespace refork::os {

// As systemd has them: printable ASCII without ':', at most this long.
inline constexpr std::size_t max_fd_name = 255;
bool is_fd_name(std::string_view name);

// One that was handed over at the start.
struct InheritedFd {
  std::string name;
  base::UniqueFd fd;
};
// $LISTEN_FDS and $LISTEN_FDNAMES, taken out of the environment; CLOEXEC. Call once, first of all.
std::vector<InheritedFd> take_inherited();

// Whoever listens on $NOTIFY_SOCKET, or at the other end of a pair, keeps what is given to it, under a name,
// and hands it to the next reforkd. It is told as systemd is: "FDSTORE=1\nFDNAME=web.3.17.pidfd\nFDPOLL=0",
// and FDSTOREREMOVE=1. Without either all is remembered here only.
class FdStore {
 public:
  // An empty address: nobody keeps anything.
  explicit FdStore(std::string address);
  explicit FdStore(base::UniqueFd sender);  // NotifyPair's

  // Of what waits to be sent, before it is looked through for what has become needless.
  static constexpr std::size_t many_pending = 4096;

  // Borrows `fd`, which must stay open until forget(). What the other end has no room for is sent later:
  // however much that is, and however long it takes, both ends agree in the end.
  void keep(const std::string& name, int fd);
  void forget(const std::string& name);
  void forget_unless(const std::function<bool(const std::string& name)>& stays);
  // Already there, from before this process.
  void assume(const std::string& name, int fd) { kept_[name] = fd; }
  const std::map<std::string, int>& kept() const noexcept { return kept_; }

  // Another keeper, which gets everything anew.
  void move_to(base::UniqueFd sender);
  int sender() const noexcept { return address_.empty() ? socket_.get() : -1; }  // -1: it has an address
  // A service manager, at an address; not a keeper, and not nobody.
  bool has_manager() const noexcept { return !address_.empty(); }
  bool pending() const noexcept { return !pending_.empty(); }
  // Called when something begins to wait: flush() is due then, until nothing is pending.
  void on_pending(std::function<void()> call) { on_pending_ = std::move(call); }
  void flush();  // tries again what had no place
  // Before this process ends, or executes another program: waits until all is sent, but no longer than this.
  static constexpr std::chrono::milliseconds last_patience{2000};
  void finish(std::chrono::milliseconds at_most = last_patience);
  // Anything else that is to be said there, in order.
  void say(std::string_view state);

 private:
  struct Packet {
    std::string text;
    base::UniqueFd fd;  // none: none is sent
    std::string name;   // of the descriptor that it is about; empty: it is about none
  };
  bool send(const std::string& text, int fd, int flags) const;
  void post(std::string text, int fd, const std::string& name);
  void store(const std::string& name, int fd);
  void compact();

  std::string address_;  // empty: none is needed, the socket is connected
  base::UniqueFd socket_;
  std::map<std::string, int> kept_;
  std::deque<Packet> pending_;
  std::size_t compact_at_ = many_pending;
  std::function<void()> on_pending_;
};

}  // namespace refork::os
