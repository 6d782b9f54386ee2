#pragma once

#include <unwind.h>

#include <cstddef>
#include <exception>
#include <typeinfo>

namespace refork::detail {

// What the Itanium C++ ABI puts in front of every exception object (libsupc++'s unwind-cxx.h, libc++abi's
// cxa_exception.h).
struct CxaException {
  void* type_or_primary;  // its type; of a second reference to an exception, the first one's object
  void (*destructor)(void*);
  void (*unexpected)();
  std::terminate_handler terminate;
  CxaException* next;
  int handler_count;  // negative while it is being rethrown
  int handler_switch;
  const unsigned char* action;
  const unsigned char* language_data;
  void* catch_temporary;
  void* adjusted;
  _Unwind_Exception unwind;
};

inline const CxaException& header_of(const _Unwind_Exception* exception) noexcept {
  const char* header = reinterpret_cast<const char*>(exception) - offsetof(CxaException, unwind);
  return *reinterpret_cast<const CxaException*>(header);
}

// The last byte of a C++ runtime's exception class: 0 for an exception, 1 for a second reference to one,
// which std::rethrow_exception makes.
inline constexpr _Unwind_Exception_Class dependent_mask = 1;

// Whether it is a C++ exception, rather than one that only the unwinder knows.
inline bool is_native(_Unwind_Exception_Class exception_class) noexcept {
  constexpr _Unwind_Exception_Class gnu = 0x474e5543432b2b00;   // "GNUCC++\0"
  constexpr _Unwind_Exception_Class llvm = 0x434c4e47432b2b00;  // "CLNGC++\0"
  const _Unwind_Exception_Class runtime = exception_class & ~dependent_mask;
  return runtime == gnu || runtime == llvm;
}

// The object that was thrown in the first place; of a native exception.
inline const void* thrown_object(const _Unwind_Exception* exception,
                                 _Unwind_Exception_Class exception_class) noexcept {
  if (exception_class & dependent_mask) return header_of(exception).type_or_primary;
  return exception + 1;
}

// Whether the object was ever thrown itself. One of std::make_exception_ptr was not: what is thrown are
// references to it. The unwinder leaves the frame that it found in the second word.
inline bool was_thrown(const void* object) noexcept {
  return (static_cast<const _Unwind_Exception*>(object) - 1)->private_2 != 0;
}

}  // namespace refork::detail
