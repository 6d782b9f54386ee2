// The walk over a thread's stack, and where on it the program's own part begins.
#include "domain/walk.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <unwind.h>

#include <algorithm>
#include <exception>
#include <string_view>

#include "domain/throw_hook.h"
#include "domain/trampoline.h"

namespace refork::detail {
namespace {

struct Walk {
  void** next;
  void** end;
  std::uintptr_t limit;
  bool to_domain;
  std::uintptr_t domain = 0;
};

bool in_trampoline(std::uintptr_t address) noexcept {
  return address > reinterpret_cast<std::uintptr_t>(&refork_domain_call) &&
         address <= reinterpret_cast<std::uintptr_t>(&refork_domain_landing);
}

_Unwind_Reason_Code step(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  if (walk.next == walk.end || _Unwind_GetCFA(context) > walk.limit) return _URC_END_OF_STACK;
  const std::uintptr_t address = _Unwind_GetIP(context);
  if (walk.to_domain && in_trampoline(address)) {
    walk.domain = _Unwind_GetCFA(context);
    return _URC_END_OF_STACK;
  }
  *walk.next++ = reinterpret_cast<void*>(address);
  return _URC_NO_REASON;
}

// Whether the address lies in one of the functions by which an exception starts on its way.
bool starts_exception(void* address) noexcept {
  void* function = _Unwind_FindEnclosingFunction(address);
  if (!function) return false;
  return function == reinterpret_cast<void*>(&abi::__cxa_throw) ||
         function == reinterpret_cast<void*>(&refork_throw) ||
         function == reinterpret_cast<void*>(runtimes_throw()) ||
         function == reinterpret_cast<void*>(&abi::__cxa_rethrow) ||
         function ==
             reinterpret_cast<void*>(static_cast<void (*)(std::exception_ptr)>(&std::rethrow_exception)) ||
         function == reinterpret_cast<void*>(&_Unwind_RaiseException) ||
         function == reinterpret_cast<void*>(&_Unwind_Resume_or_Rethrow);
}

// The same by name: where these functions are interposed (sanitizers do), their addresses are the
// interposer's. Slow, for it searches whole symbol tables.
bool starts_exception_by_name(void* address) noexcept {
  Dl_info info;
  if (!dladdr(address, &info) || !info.dli_sname) return false;
  const std::string_view name = info.dli_sname;
  return name == "__cxa_throw" || name == "__cxa_rethrow" ||
         name == "_ZSt17rethrow_exceptionNSt15__exception_ptr13exception_ptrE" ||
         name == "_Unwind_RaiseException" || name == "_Unwind_Resume_or_Rethrow";
}

template <class Starts>
std::size_t count(void* const* stack, std::size_t size, Starts starts) noexcept {
  std::size_t machinery = 0;
  for (std::size_t i = 0; i < size; ++i) {
    if (starts(stack[i]))
      machinery = i + 1;
    else if (machinery > 0)
      break;
  }
  return machinery;
}

}  // namespace

std::size_t walk(void** stack, std::size_t size, std::uintptr_t limit) noexcept {
  Walk state{stack, stack + size, limit, false};
  _Unwind_Backtrace(step, &state);
  return static_cast<std::size_t>(state.next - stack);
}

Walked walk_to_domain(void** stack, std::size_t size) noexcept {
  Walk state{stack, stack + size, UINTPTR_MAX, true};
  _Unwind_Backtrace(step, &state);
  return {static_cast<std::size_t>(state.next - stack), state.domain};
}

std::size_t count_machinery(void* const* stack, std::size_t size) noexcept {
  const std::size_t searched = std::min(size, machinery_limit);
  const std::size_t machinery = count(stack, searched, starts_exception);
  return machinery > 0 ? machinery : count(stack, searched, starts_exception_by_name);
}

}  // namespace refork::detail
