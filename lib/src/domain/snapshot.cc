// What is taken at the place of an error: raw return addresses and the domains active there. Names and lines
// are not looked up here, and nothing here decides anything.
#include "domain/snapshot.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <exception>
#include <string_view>
#include <typeinfo>

#include "domain/stack.h"

namespace refork::detail {
namespace {

// What the Itanium C++ ABI puts in front of every exception object.
struct CxaException {
  std::type_info* type;
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

// The last byte of a C++ runtime's exception class: 0 for an exception, 1 for a second reference to one,
// which std::rethrow_exception makes.
constexpr _Unwind_Exception_Class dependent_mask = 1;

bool is_rethrown(const InFlight& thrown) noexcept {
  if (thrown.exception_class & dependent_mask) return true;
  const char* header = reinterpret_cast<const char*>(thrown.exception) - offsetof(CxaException, unwind);
  return reinterpret_cast<const CxaException*>(header)->handler_count != 0;
}

struct Walk {
  void** next;
  void** end;
  std::uintptr_t limit;
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  if (walk.next == walk.end || _Unwind_GetCFA(context) > walk.limit) return _URC_END_OF_STACK;
  *walk.next++ = reinterpret_cast<void*>(_Unwind_GetIP(context));
  return _URC_NO_REASON;
}

// Whether the address lies in one of the functions by which an exception starts on its way.
bool starts_exception(void* address) noexcept {
  void* function = _Unwind_FindEnclosingFunction(address);
  if (!function) return false;
  return function == reinterpret_cast<void*>(&abi::__cxa_throw) ||
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

// How many entries stand above the throw: this library, then the unwinder, then the runtime.
template <class Starts>
std::size_t count_machinery(void* const* stack, std::size_t size, Starts starts) noexcept {
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

bool is_native(_Unwind_Exception_Class exception_class) noexcept {
  constexpr _Unwind_Exception_Class gnu = 0x474e5543432b2b00;   // "GNUCC++\0"
  constexpr _Unwind_Exception_Class llvm = 0x434c4e47432b2b00;  // "CLNGC++\0"
  const _Unwind_Exception_Class runtime = exception_class & ~dependent_mask;
  return runtime == gnu || runtime == llvm;
}

void Snapshot::drop_chain() noexcept {
  for (std::size_t i = 0; i < chain_length_; ++i) release(chain_[i]);
  release(own_);
}

void Snapshot::take(const InFlight& thrown, State* own) noexcept {
  native_ = is_native(thrown.exception_class);
  rethrown_ = native_ && is_rethrown(thrown);
  take_chain(own);
  walk(thrown.limit);
  const std::size_t searched = std::min<std::size_t>(frames_, machinery_limit);
  std::size_t machinery = count_machinery(stack_.data(), searched, starts_exception);
  if (machinery == 0) machinery = count_machinery(stack_.data(), searched, starts_exception_by_name);
  drop_newest(machinery);
}

void Snapshot::take(const void* reported_from, State* own) noexcept {
  take_chain(own);
  walk(UINTPTR_MAX);
  auto* end = stack_.begin() + std::min<std::size_t>(frames_, machinery_limit);
  auto* caller = std::find(stack_.begin(), end, reported_from);
  if (caller != end) drop_newest(static_cast<std::size_t>(caller - stack_.begin()));
}

void Snapshot::take_chain(State* own) noexcept {
  own_ = own;
  retain(own);
  for (Frame* frame = this_thread.top; frame && chain_length_ < chain_limit; frame = frame->below) {
    auto* end = chain_.begin() + chain_length_;
    if (!frame->state || std::find(chain_.begin(), end, frame->state) != end) continue;
    retain(frame->state);
    chain_[chain_length_++] = frame->state;
  }
}

void Snapshot::walk(std::uintptr_t limit) noexcept {
  Walk state{stack_.data(), stack_.data() + stack_.size(), limit};
  _Unwind_Backtrace(step, &state);
  frames_ = static_cast<std::uint32_t>(state.next - stack_.data());
}

void Snapshot::drop_newest(std::size_t count) noexcept { dropped_ = static_cast<std::uint32_t>(count); }

// The domains in the order in which they have a say: the own one, those around it, those inside it.
template <class Visit>
void Snapshot::visit(Visit visit) const {
  if (own_) visit(*own_);
  auto* end = chain_.begin() + chain_length_;
  auto* own = std::find(chain_.begin(), end, own_);
  if (own != end)
    for (auto* state = own + 1; state != end; ++state) visit(**state);
  for (auto* state = chain_.begin(); state != own; ++state) visit(**state);
}

std::uint64_t Snapshot::request() const noexcept {
  std::uint64_t found = 0;
  visit([&](State& state) {
    if (!found) found = state.request.load(std::memory_order_relaxed);
  });
  return found;
}

void add_missing(Context& context, const Context& more) {
  for (const auto& added : more) {
    auto same_key = [&](const auto& entry) { return entry.first == added.first; };
    if (std::none_of(context.begin(), context.end(), same_key)) context.push_back(added);
  }
}

void Snapshot::tell(Failure& failure) const noexcept {
  failure.rethrown = failure.rethrown || rethrown_;
  try {
    if (own_) failure.domain = own_->name;
    const auto kept = std::min<std::size_t>(frames_ - dropped_, stack_limit);
    failure.stack.assign(stack_.begin() + dropped_, stack_.begin() + dropped_ + kept);
    for (std::size_t i = 0; i < chain_length_; ++i) failure.domains.push_back(chain_[i]->name);
    auto* chain_end = chain_.begin() + chain_length_;
    if (own_ && std::find(chain_.begin(), chain_end, own_) == chain_end) {
      // Not active here, or too far outward to be kept.
      auto& domains = failure.domains;
      domains.insert(chain_length_ == chain_limit ? domains.end() : domains.begin(), own_->name);
    }
    visit([&](State& state) {
      std::lock_guard lock(state.mutex);
      add_missing(failure.context, state.context);
    });
  } catch (...) {
    // No memory: the record says as much as there was room for.
  }
}

}  // namespace refork::detail
