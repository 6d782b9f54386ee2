#pragma once

#include <unwind.h>
#include <cstdint>

#include "domain/stack.h"

namespace refork::detail {

// An exception on its way, as the unwinder shows it.
struct InFlight {
  _Unwind_Exception* exception;
  _Unwind_Exception_Class exception_class;
  std::uintptr_t limit;  // stack addresses above belong to the callers of the trampoline
};

enum class Decision {
  capture,    // unwind to the trampoline, which then returns the exception
  pass,       // none of our business
  terminate,  // nobody may catch it: std::terminate at the throw, with nothing unwound
};

struct Call;

// What becomes of an exception that comes to a call. Functions of a constant rather than virtual ones: the
// assembly need only store one address.
struct CallKind {
  // Asked in the unwinder's search phase, on the stack of the throw and before anything is unwound.
  Decision (*search)(Call& call, const InFlight& thrown) noexcept;
  // After a decision to capture, when the stack is unwound to the trampoline and the frame still on it.
  void (*captured)(Call& call, _Unwind_Exception* exception);
};

// A call under way: the trampoline makes it on its stack, and leaves `room` as it is.
struct Call {
  const CallKind* kind;
  void* context;  // the kind's own
  Frame frame;
  alignas(16) unsigned char room[1352];
};

}  // namespace refork::detail

extern "C" {

// Calls call(argument) with a new frame of the domain (null: of none) on the thread's stack; what the kind
// decides to let pass is passed on. The stack of active domains is as before in any case.
__attribute__((visibility("hidden"))) refork::detail::Returned refork_domain_call(
    refork::detail::State* state, void* context, refork::detail::Thunk call, void* argument,
    const refork::detail::CallKind* kind);

__attribute__((visibility("hidden"))) extern const char refork_domain_landing[];

// That of refork::detail::run, which is part of the trampoline.
__attribute__((visibility("hidden"))) extern const refork::detail::CallKind refork_domain_run_kind;
}
