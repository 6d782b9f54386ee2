#pragma once

#include <cstdint>
#include <exception>
#include <memory>

#include "domain/trampoline.h"
#include "refork/domain.hpp"

namespace refork::detail {

// An exception that an error handler threw, on its way outward through this thread's frames.
struct FailedHandler {
  _Unwind_Exception* exception = nullptr;
  std::exception_ptr kept;  // so that no later exception gets the same address
  std::shared_ptr<const Failure> original;
  std::uint64_t request = 0;
  const Frame* outward = nullptr;  // those above it were left for the handler, and do not capture this
};

// Remembers it for this thread. In the search phase; what memory does not suffice for is not remembered.
void remember_failed_handler(const InFlight& thrown, const Failure& original, std::uint64_t request,
                             const Frame* outward) noexcept;
// The one remembered, if it is this exception; otherwise null.
const FailedHandler* find_failed_handler(const _Unwind_Exception* exception) noexcept;
void forget_failed_handler() noexcept;

}  // namespace refork::detail
