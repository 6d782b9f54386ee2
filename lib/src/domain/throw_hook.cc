// Stands before the C++ runtime's __cxa_throw, to keep the stack of what is thrown inside a domain: an
// exception that is caught and thrown again, as coroutines and futures do with every one, would otherwise
// only show where it was thrown last. Outside all domains it costs a look at the thread's own state and one
// at the table, beside a throw's microseconds.
//
// The symbol is weak: a program that has the runtime in itself (-static-libstdc++) keeps the runtime's, and
// its records say that they tell of a rethrow. The reference to __cxa_init_primary_exception, which stands in
// the same object file, is what brings that one in.
#include "domain/throw_hook.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <unwind.h>

#include <atomic>
#include <cstdlib>

#include "domain/first_throw.h"
#include "domain/stack.h"

namespace refork::detail {

Throw runtimes_throw() noexcept {
  static std::atomic<void*> found{nullptr};
  void* function = found.load(std::memory_order_relaxed);
  if (!function) {
    function = ::dlsym(RTLD_NEXT, "__cxa_throw");
    found.store(function, std::memory_order_relaxed);
  }
  return reinterpret_cast<Throw>(function);
}

}  // namespace refork::detail

using namespace refork::detail;

extern "C" void refork_throw(void* object, std::type_info* type, void (*destroy)(void*)) {
  if (this_thread.top)
    note_throw(object);
  else
    forget_throw(object);
  if (const Throw next = runtimes_throw()) next(object, type, destroy);
  // Nobody behind us: what __cxa_throw consists of.
  auto* const header = abi::__cxa_init_primary_exception(object, type, destroy);
  *reinterpret_cast<int*>(header) = 1;  // its reference count comes first
  _Unwind_RaiseException(static_cast<_Unwind_Exception*>(object) - 1);
  abi::__cxa_begin_catch(static_cast<_Unwind_Exception*>(object) - 1);
  std::terminate();
}

extern "C" __attribute__((weak, visibility("default"), alias("refork_throw"))) void __cxxabiv1::__cxa_throw(
    void*, std::type_info*, void (*)(void*));
