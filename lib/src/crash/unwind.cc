// From a handler back through the signal's frame into what it interrupted, by the unwinder that exceptions
// use. It looks its tables up without a lock.

#include "crash/unwind.h"

#include <unwind.h>

#include "crash/modules.h"
#include "crash/thread.h"

namespace refork::crash {
namespace {

#if defined(__x86_64__)
std::uintptr_t pc_of(const ucontext_t& context) noexcept {
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
}
// As if the call that led here had not been made: its return address lies on top of the stack.
void step_back(ucontext_t& context) noexcept {
  auto& sp = context.uc_mcontext.gregs[REG_RSP];
  const auto caller = *reinterpret_cast<const volatile std::uintptr_t*>(sp);
  context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(caller - 1);
  sp += 8;
}
#elif defined(__aarch64__)
std::uintptr_t pc_of(const ucontext_t& context) noexcept { return context.uc_mcontext.pc; }
void step_back(ucontext_t& context) noexcept { context.uc_mcontext.pc = context.uc_mcontext.regs[30] - 1; }
#else
#error "refork's handlers of signals are written for x86-64 and aarch64"
#endif

// Left on an alternate stack for the unwinder, and for a fault that it meets. Ours have it; one that the
// application gave its thread may be too small, and what lies below it is somebody's.
constexpr std::size_t unwinder_room = 16 * 1024;

bool has_room(const stack_t& alternate) noexcept {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto begin = reinterpret_cast<std::uintptr_t>(alternate.ss_sp);
  return here < begin || here - begin >= alternate.ss_size || here - begin >= unwinder_room;
}

// Frames of handlers (ours, a sanitizer's) above the interrupted one.
constexpr std::size_t most_handlers = 32;

struct Walk {
  recorder::Writer& writer;
  recorder::Place* next;
  recorder::Place* end;
  std::atomic<std::uint32_t>& count;
  bool begun = false;  // what was interrupted has been reached
  std::size_t passed = 0;

  _Unwind_Reason_Code add(std::uintptr_t instruction) noexcept {
    if (next == end) return _URC_END_OF_STACK;
    *next++ = place_of(writer, instruction);
    count.fetch_add(1, std::memory_order_release);
    return next == end ? _URC_END_OF_STACK : _URC_NO_REASON;
  }
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  int exact = 0;  // a signal interrupted it there; otherwise it is a return address
  const std::uintptr_t ip = _Unwind_GetIPInfo(context, &exact);
  walk.begun = walk.begun || exact != 0;
  if (!walk.begun) return ++walk.passed < most_handlers ? _URC_NO_REASON : _URC_END_OF_STACK;
  if (ip == 0 && exact == 0) return _URC_END_OF_STACK;
  return walk.add(exact != 0 ? ip : ip - 1);
}

}  // namespace

void warm_unwinder() noexcept {
  std::size_t frames = 0;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* argument) {
        int exact = 0;
        static_cast<void>(_Unwind_GetIPInfo(context, &exact));
        return ++*static_cast<std::size_t*>(argument) < 8 ? _URC_NO_REASON : _URC_END_OF_STACK;
      },
      &frames);
}

void unwind(recorder::Writer& writer, ucontext_t& interrupted, recorder::Place* frames, std::size_t size,
            std::atomic<std::uint32_t>& count) noexcept {
  // Restored in the end, whatever went wrong: who returns from the handler goes on there.
  const mcontext_t before = interrupted.uc_mcontext;
  guarded([&]() noexcept {
    Walk walk{writer, frames, frames + size, count};
    if (!has_room(interrupted.uc_stack)) {
      walk.add(pc_of(interrupted));
      return;
    }
    _Unwind_Backtrace(step, &walk);
    if (count.load(std::memory_order_relaxed) > 1) return;
    // A call to where there is no code: the place is named, and its caller is where the unwinder begins.
    if (walk.next == frames) walk.add(pc_of(interrupted));
    step_back(interrupted);
    if (!in_module(pc_of(interrupted))) return;
    walk.begun = false;
    _Unwind_Backtrace(step, &walk);
  });
  interrupted.uc_mcontext = before;
}

}  // namespace refork::crash
