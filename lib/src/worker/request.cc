// Request and Hold: what is in flight. They know only the process's state, so they may outlive the Worker;
// without one, and in the child of a fork, they do nothing. While draining, each end wakes the driver, which
// counts what is left.

#include <algorithm>
#include <utility>

#include "refork/worker.hpp"
#include "worker/process.h"

namespace refork {

using worker::process;

Request::Request(Request&& other) noexcept : token_(std::exchange(other.token_, 0)) {}

Request& Request::operator=(Request&& other) noexcept {
  if (this != &other) {
    end();
    token_ = std::exchange(other.token_, 0);
  }
  return *this;
}

Request::~Request() { end(); }

void Request::end() noexcept {
  const auto token = std::exchange(token_, 0);
  if (token == 0) return;
  auto* const writer = process.writer.load(std::memory_order_acquire);
  if (writer == nullptr) return;
  writer->end(token);
  // Sequentially consistent, as the writer's end and the driver's count are: one of the two sees the other.
  if (process.draining.load()) worker::wake();
}

void Request::timeout(std::chrono::milliseconds limit) noexcept {
  constexpr std::chrono::milliseconds longest{0xFFFFFFFF};
  auto* const writer = process.writer.load(std::memory_order_acquire);
  if (token_ == 0 || writer == nullptr) return;
  const auto within = std::clamp(limit, std::chrono::milliseconds::zero(), longest).count();
  if (writer->set_timeout(token_, static_cast<std::uint32_t>(within))) worker::wake();  // to tell reforkd
}

Hold::Hold(Hold&& other) noexcept : held_(std::exchange(other.held_, false)) {}

Hold& Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    release();
    held_ = std::exchange(other.held_, false);
  }
  return *this;
}

Hold::~Hold() { release(); }

void Hold::release() noexcept {
  if (!std::exchange(held_, false)) return;
  if (process.holds.fetch_sub(1) == 1 && process.draining.load()) worker::wake();
}

}  // namespace refork
