#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>

#include "domain/state.h"
#include "refork/domain.hpp"
#include "refork/refork.h"

namespace refork::c {

// The handles that a C program holds are the objects themselves, under another name.
inline detail::State* unwrap(const refork_domain* domain) noexcept {
  return reinterpret_cast<detail::State*>(const_cast<refork_domain*>(domain));
}
inline refork_domain* wrap(detail::State* state) noexcept { return reinterpret_cast<refork_domain*>(state); }
inline const Failure& unwrap(const refork_failure* failure) noexcept {
  return *reinterpret_cast<const Failure*>(failure);
}
inline const refork_failure* wrap(const Failure& failure) noexcept {
  return reinterpret_cast<const refork_failure*>(&failure);
}
// The number in an enum that came from C, where it may be any.
template <class Enum>
int number_of(const Enum& given) noexcept {
  int number = 0;
  static_assert(sizeof number == sizeof given);
  std::memcpy(&number, &given, sizeof number);
  return number;
}
inline bool is_then(const refork_then& then) noexcept {
  const int number = number_of(then);
  return number == REFORK_THEN_DRAIN || number == REFORK_THEN_SERVE;
}

inline const char* or_empty(const char* text) noexcept { return text ? text : ""; }

// Remembers the sentence for refork_error_message(), and returns -errnum.
int fail(int errnum, const char* message) noexcept;
// The same for the exception that is being handled.
int fail_with_current_exception() noexcept;

// Runs a piece of this layer at the border to C: an exception becomes a negative errno.
template <class Call>
int guarded(Call call) noexcept {
  try {
    call();
    return 0;
  } catch (...) {
    return fail_with_current_exception();
  }
}

// What a C program reports, in the shape in which C++ code would.
Failure describe(const refork_error& given);

// Reports to the domain (null: only the sink) on behalf of the C function that returns to `reported_from`; a
// member is named as the emitter.
int report(detail::State* state, Failure failure, const void* reported_from) noexcept;

// A C program's error handler or listener as a C++ one.
class CHandler {
 public:
  // `own`: the domain it is the handler of, null for a listener; without a function there is none.
  CHandler(detail::State* own, refork_handler function, void* arg);
  Domain::Handler handler() const;
  // Once it is set: then its argument goes with it.
  void free_with(refork_free free) noexcept;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

// A struct of the program's, which may be of another version: what it does not have keeps our value, what we
// do not know is left alone.
template <class Struct>
void take_over(Struct& ours, const Struct& theirs) noexcept {
  std::memcpy(static_cast<void*>(&ours), &theirs, std::min(sizeof ours, theirs.size));
  ours.size = sizeof ours;
}
template <class Struct>
void hand_over(Struct& theirs, Struct ours) noexcept {
  ours.size = theirs.size;
  std::memcpy(static_cast<void*>(&theirs), &ours, std::min(sizeof ours, theirs.size));
}

}  // namespace refork::c
