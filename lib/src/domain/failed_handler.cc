// The memory of a thread that an exception on its way outward was thrown by an error handler, and while
// handling what. An exception has no room for it, so it is kept beside it.
#include "domain/failed_handler.h"

#include <cstring>

#include "domain/exception_object.h"
#include "domain/stack.h"

namespace refork::detail {
namespace {

thread_local FailedHandler remembered;

// A counted reference to an exception that nobody has caught yet. An exception_ptr is a pointer to the
// exception object, which follows its unwind header; copying one counts.
std::exception_ptr keep(const InFlight& thrown) noexcept {
  static_assert(sizeof(std::exception_ptr) == sizeof(void*));
  if (!is_native(thrown.exception_class) || (thrown.exception_class & dependent_mask)) return nullptr;
  void* object = thrown.exception + 1;
  std::exception_ptr borrowed;
  std::memcpy(static_cast<void*>(&borrowed), &object, sizeof object);
  std::exception_ptr counted = borrowed;
  std::memset(static_cast<void*>(&borrowed), 0, sizeof borrowed);
  return counted;
}

}  // namespace

void remember_failed_handler(const InFlight& thrown, const Failure& original, std::uint64_t request,
                             const Frame* outward) noexcept {
  std::shared_ptr<const Failure> copy;
  try {
    copy = std::make_shared<const Failure>(original);
  } catch (...) {
    // No memory: that it was a handler is remembered all the same.
  }
  remembered = {thrown.exception, keep(thrown), std::move(copy), request, outward};
  this_thread.handler_failed = this_thread.unusual = true;
}

const FailedHandler* find_failed_handler(const _Unwind_Exception* exception) noexcept {
  if (!this_thread.handler_failed || remembered.exception != exception) return nullptr;
  return &remembered;
}

void forget_failed_handler() noexcept {
  this_thread.handler_failed = false;
  FailedHandler forgotten;
  std::swap(forgotten, remembered);
}

}  // namespace refork::detail
