#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bus/sdbus.h"

namespace refork::bus {

// The answer to one method call, given once: now or much later, whether or not the peer is still there. One
// that is forgotten answers that it was canceled.
class PendingReply {
 public:
  PendingReply(sd_bus_message* call, std::shared_ptr<std::size_t> waiting);
  PendingReply(const PendingReply&) = delete;
  PendingReply& operator=(const PendingReply&) = delete;
  ~PendingReply();

  bool answered() const noexcept { return !call_; }
  void answer(const base::Result<void>& result) noexcept;
  void answer(const base::Result<std::string>& result) noexcept;
  void answer(const base::Result<std::uint64_t>& result) noexcept;
  void answer(const base::Result<std::vector<std::string>>& result) noexcept;

 private:
  template <class Fill>
  void send(Fill&& fill) noexcept;
  void send_error(const base::Error& error) noexcept;

  MessagePtr call_;  // keeps its bus alive as well
  std::shared_ptr<std::size_t> waiting_;
};

}  // namespace refork::bus
