#pragma once

#include <unwind.h>
#include <cstdint>

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

// Asked in the unwinder's search phase, on the stack of the throw and before anything is unwound. A function
// pointer rather than a virtual function: a destructor need not restore it.
struct Catcher {
  using Search = Decision (*)(Catcher& self, const InFlight& thrown) noexcept;
  Search search;
};

}  // namespace refork::detail

extern "C" {

// Calls call(argument). Returns null, or the exception that the catcher decided to capture; others pass
// through.
__attribute__((visibility("hidden"))) _Unwind_Exception* refork_domain_call(void (*call)(void*),
                                                                            void* argument,
                                                                            refork::detail::Catcher* catcher);

__attribute__((visibility("hidden"))) extern const char refork_domain_landing[];
}
