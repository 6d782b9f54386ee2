#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/listener.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// A service's listening sockets: opened once, kept for as long as reforkd runs, watched for a shutdown() by a
// worker.
class Listeners {
 public:
  // Called when a socket had been shut down and was opened again.
  using Reopened = std::function<void(const std::string& address)>;

  base::Result<void> open(Loop& loop, const std::vector<std::string>& addresses, bool nonblocking,
                          Reopened reopened);
  const std::vector<os::ListenSocket>& sockets() const noexcept { return sockets_; }
  std::vector<std::string> addresses() const;
  void close();  // removes socket files, too

 private:
  void watch(std::size_t index);
  void reopen(std::size_t index);
  Loop* loop_ = nullptr;
  Reopened reopened_;
  std::vector<os::ListenSocket> sockets_;
  std::vector<Loop::Source> sources_;
};

}  // namespace refork::supervisor
