#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/pace.h"
#include "os/fd_store.h"
#include "os/listener.h"
#include "state/state.h"
#include "supervisor/handover.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// A service's listening sockets: opened once, kept for as long as the service is there, whatever becomes of
// reforkd; watched for a shutdown() by a worker.
class Listeners {
 public:
  // One that is shut down again this soon is opened again only then: its workers may do that as they start.
  static constexpr core::Millis reopen_pause{1000};

  // Called when a socket had been shut down and was opened again.
  using Reopened = std::function<void(const std::string& address)>;
  using NextNumber = std::function<std::uint64_t()>;  // for the names of stored descriptors
  // Called where an address is in use: whether something was, and has been given up for it.
  using MakeWay = std::function<bool(const std::string& address)>;

  Listeners(Loop& loop, os::FdStore& store, NextNumber next_number, MakeWay make_way)
      : loop_(loop), store_(store), next_number_(std::move(next_number)), make_way_(std::move(make_way)) {}

  // Those of `before` that are still wanted are taken from `handover`, as are those that a service manager
  // has opened: they have the service's name, and one of its addresses.
  base::Result<void> open(const std::string& service, const std::vector<std::string>& addresses,
                          bool nonblocking, const std::vector<state::Listener>& before, Handover& handover,
                          Reopened reopened);
  std::vector<int> fds() const;
  std::vector<std::string> addresses() const;
  std::vector<state::Listener> state() const;
  void close();  // removes socket files, too

 private:
  struct Socket {
    std::string name, configured;
    os::ListenSocket socket;
    Loop::Source source;
    std::optional<core::Time> reopened = {};
  };
  base::Result<void> add(const std::string& address, bool nonblocking,
                         const std::vector<state::Listener>& before, Handover& handover);
  bool adopt_given(const std::string& address, bool nonblocking, Handover& handover);
  bool adopt_stranger(const std::string& address, bool nonblocking, Handover& handover);
  void watch(Socket& socket);
  void shut_down(Socket& socket);
  void reopen(Socket& socket);
  void reopen_at(Socket& socket, core::Time at);

  Loop& loop_;
  os::FdStore& store_;
  NextNumber next_number_;
  MakeWay make_way_;
  Reopened reopened_;
  std::string service_;
  std::vector<std::unique_ptr<Socket>> sockets_;
};

// Those that nobody has taken from `handover`; their socket files, too.
void close_listeners(const std::vector<state::Listener>& listeners, Handover& handover, os::FdStore& store);

}  // namespace refork::supervisor
