#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "domain/state.h"
#include "domain/trampoline.h"
#include "domain/walk.h"

namespace refork::detail {

inline constexpr std::size_t stack_limit = 128;  // return addresses kept; the oldest ones are dropped
inline constexpr std::size_t chain_limit = 16;   // active domains kept; the outermost ones are dropped

// What can only be seen where an error happens, before anything is unwound: the stack, and which domains were
// active. Taken without allocating, told later. Costs nothing to make and destroy as long as nothing is
// taken.
class Snapshot {
 public:
  Snapshot() {}  // NOLINT: the arrays are filled as far as the counts tell
  ~Snapshot() {
    if (own_ || chain_length_ > 0) drop_chain();
  }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // In the search phase. `own` is the domain that captures (null for none); it is kept alive, as are the
  // others.
  void take(const InFlight& thrown, State* own) noexcept;
  // Of an error that is reported from the function that returns to `reported_from`.
  void take(const void* reported_from, State* own) noexcept;
  // In the terminate handler; `uncaught` may be null.
  void take(const std::exception_ptr& uncaught) noexcept;

  // Tells failure.domain, domains, stack, context, and rethrown. What memory does not suffice for stays
  // empty.
  void tell(Failure& failure) const noexcept;
  // The in-flight request tied to the own domain, to the nearest around it, or else to the nearest inside it.
  std::uint64_t request() const noexcept;
  // Whether it is a C++ exception, rather than one that only the unwinder knows.
  bool native() const noexcept { return native_; }

 private:
  void take_chain(State* own) noexcept;
  void drop_chain() noexcept;
  void walk_to(std::uintptr_t limit) noexcept;
  void drop_newest(std::size_t count) noexcept;
  template <class Visit>
  void visit(Visit visit) const;

  State* own_ = nullptr;
  std::uint32_t frames_ = 0;
  std::uint32_t dropped_ = 0;
  std::uint16_t chain_length_ = 0;
  bool native_ = true;
  bool rethrown_ = false;
  std::array<void*, stack_limit + machinery_limit> stack_;
  std::array<State*, chain_limit> chain_;  // innermost first
};

using Context = std::vector<std::pair<std::string, std::string>>;

// Adds what has a key that is not there yet.
void add_missing(Context& context, const Context& more);

}  // namespace refork::detail
