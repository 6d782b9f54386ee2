#pragma once

#include <cstdint>
#include <exception>
#include <memory>

#include "domain/trampoline.h"
#include "refork/failure.hpp"

namespace refork::detail {

// An exception that an error handler threw, on its way outward through this thread's frames.
struct FailedHandler {
  _Unwind_Exception* exception = nullptr;
  std::exception_ptr kept;  // so that no later exception gets the same address
  std::shared_ptr<const Failure> original;
  std::uint64_t request = 0;
  std::uint32_t outward_depth =
      0;  // frames deeper than this one were left for the handler, and do not capture it
};

// Remembers it for this thread. In the search phase; what memory does not suffice for is not remembered.
void remember_failed_handler(const InFlight& thrown, const Failure& original, std::uint64_t request,
                             std::uint32_t outward_depth) noexcept;
// The one remembered, if it is this exception; otherwise null.
const FailedHandler* find_failed_handler(const _Unwind_Exception* exception) noexcept;
void forget_failed_handler() noexcept;

}  // namespace refork::detail
