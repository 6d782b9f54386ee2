// The call of a function inside a domain: what is done for every request, therefore in few instructions, and
// the frame in which exceptions are captured, by a personality routine of its own. Because the unwinder asks
// that routine before it unwinds anything, the decision whether to capture can be made, and the stack of the
// throw be taken, while all of it still stands; a compiler's catch block knows neither. It costs nothing
// until something is thrown. What is decided, and why, is capture.cc's.
#include "domain/trampoline.h"

#include <cstddef>

#include "domain/failed_handler.h"

using namespace refork::detail;

namespace {

// What takes more than taking the frame off the stack; also right for the usual case.
void leave(Call& call) noexcept {
  pop(call.frame);
  if (call.frame.previous) return;
  this_thread.unusual = false;
  if (this_thread.handler_failed) forget_failed_handler();
}

struct Leaving {
  Call& call;
  ~Leaving() { leave(call); }
};

}  // namespace

extern "C" {

__attribute__((visibility("hidden"), used)) _Unwind_Reason_Code refork_domain_personality(
    int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
    _Unwind_Exception* exception, _Unwind_Context* context) noexcept {
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  // What comes through one of the functions below, which see to themselves.
  if (_Unwind_GetIP(context) > reinterpret_cast<std::uintptr_t>(&refork_domain_landing))
    return _URC_CONTINUE_UNWIND;
  // The "CFA" of the context is the stack pointer at the call, where the trampoline has the call's data.
  const auto stack_pointer = static_cast<std::uintptr_t>(_Unwind_GetCFA(context));
  Call& call = *reinterpret_cast<Call*>(stack_pointer);  // NOLINT: an address from the unwinder
  if (actions & _UA_SEARCH_PHASE) {
    switch (call.kind->search(call, {exception, exception_class, stack_pointer})) {
      case Decision::capture:
        return _URC_HANDLER_FOUND;
      case Decision::pass:
        return _URC_CONTINUE_UNWIND;
      case Decision::terminate:
        return _URC_FATAL_PHASE1_ERROR;
    }
  }
  if (!(actions & _UA_HANDLER_FRAME)) {
    leave(call);
    return _URC_CONTINUE_UNWIND;
  }
  _Unwind_SetGR(context, __builtin_eh_return_data_regno(0), reinterpret_cast<_Unwind_Word>(exception));
  _Unwind_SetIP(context, reinterpret_cast<_Unwind_Ptr>(&refork_domain_landing));
  return _URC_INSTALL_CONTEXT;
}

__attribute__((visibility("hidden"), used)) void refork_domain_captured(Call& call,
                                                                        _Unwind_Exception* exception) {
  const Leaving leaving{call};
  call.kind->captured(call, exception);
}

__attribute__((visibility("hidden"), used)) void refork_domain_leave(Call& call) noexcept { leave(call); }

__attribute__((visibility("hidden"), used)) void refork_domain_greet() noexcept { greet_this_thread(); }
}

// What the assembly takes for granted.
static_assert(sizeof(Call) == 1408 && offsetof(Call, kind) == 0 && offsetof(Call, context) == 8 &&
              offsetof(Call, frame) == 16);
static_assert(offsetof(Frame, previous) == 0 && offsetof(Frame, state) == 8 && offsetof(Frame, owner) == 16 &&
              offsetof(Frame, call) == 17 && offsetof(Frame, hides) == 18 && offsetof(Frame, below) == 24);
static_assert(offsetof(Thread, top) == 0 && offsetof(Thread, unusual) == 18 &&
              offsetof(Thread, greeted) == 19);

// Returned refork::detail::run(State* state, Thunk call, void* argument), which goes on as
// Returned refork_domain_call(State* state, void* context, Thunk call, void* argument, const CallKind* kind).
//
// What the call returned is passed on in the first of the two registers that hold the Returned. The landing
// pad finds the exception there.
#if defined(__x86_64__)
__asm__(R"(
 .pushsection .text
 .balign 64
 .globl _ZN6refork6detail3runEPNS0_5StateEPFvvEPv
 .type _ZN6refork6detail3runEPNS0_5StateEPFvvEPv,@function
_ZN6refork6detail3runEPNS0_5StateEPFvvEPv:
 .cfi_startproc
 .cfi_personality 0x9b, DW.ref.refork_domain_personality
 endbr64
 testq %rdi,%rdi
 jz 3f
 movq %rdx,%rcx
 movq %rsi,%rdx
 xorl %esi,%esi
 leaq refork_domain_run_kind(%rip),%r8

 .globl refork_domain_call
 .hidden refork_domain_call
 .type refork_domain_call,@function
refork_domain_call:
 subq $1416,%rsp
 .cfi_adjust_cfa_offset 1416
 movq _ZN6refork6detail11this_threadE@gottpoff(%rip),%rax
 cmpb $0,%fs:19(%rax)   # this_thread.greeted
 je 4f
5:
 movq %fs:(%rax),%r9
 movq %r8,(%rsp)        # kind
 movq %rsi,8(%rsp)      # context
 movq %r9,16(%rsp)      # frame.previous = this_thread.top
 movq %rdi,24(%rsp)     # frame.state
 movl $0x100,32(%rsp)   # not frame.owner, frame.call, not frame.hides
 leaq 16(%rsp),%r9
 movq %r9,%fs:(%rax)    # this_thread.top = &frame
 movq %rcx,%rdi
 callq *%rdx
 movq _ZN6refork6detail11this_threadE@gottpoff(%rip),%rcx
 leaq 16(%rsp),%r9
 cmpq %r9,%fs:(%rcx)
 jne 2f
 cmpb $0,%fs:18(%rcx)   # this_thread.unusual
 jne 2f
 movq 16(%rsp),%r9
 movq %r9,%fs:(%rcx)    # this_thread.top = frame.previous
 movl $1,%edx
1:
 addq $1416,%rsp
 .cfi_remember_state
 .cfi_adjust_cfa_offset -1416
 ret
 .cfi_restore_state

 .globl refork_domain_landing
 .hidden refork_domain_landing
refork_domain_landing:
 endbr64
 movq %rsp,%rdi
 movq %rax,%rsi
 callq refork_domain_captured
 xorl %edx,%edx
 jmp 1b
2:
 movq %rax,8(%rsp)      # where the context was
 movq %rsp,%rdi
 callq refork_domain_leave
 movq 8(%rsp),%rax
 movl $1,%edx
 jmp 1b
4:                      # once a thread
 movq %rdi,64(%rsp)
 movq %rsi,72(%rsp)
 movq %rdx,80(%rsp)
 movq %rcx,88(%rsp)
 movq %r8,96(%rsp)
 callq refork_domain_greet
 movq 64(%rsp),%rdi
 movq 72(%rsp),%rsi
 movq 80(%rsp),%rdx
 movq 88(%rsp),%rcx
 movq 96(%rsp),%r8
 movq _ZN6refork6detail11this_threadE@gottpoff(%rip),%rax
 jmp 5b
 .cfi_endproc

3:                      # an empty handle: just the call
 .cfi_startproc
 subq $8,%rsp
 .cfi_adjust_cfa_offset 8
 movq %rdx,%rdi
 callq *%rsi
 movl $1,%edx
 addq $8,%rsp
 .cfi_adjust_cfa_offset -8
 ret
 .cfi_endproc
 .size _ZN6refork6detail3runEPNS0_5StateEPFvvEPv,refork_domain_call-_ZN6refork6detail3runEPNS0_5StateEPFvvEPv
 .size refork_domain_call,.-refork_domain_call
 .popsection
 .hidden DW.ref.refork_domain_personality
 .weak DW.ref.refork_domain_personality
 .pushsection .data.rel.local.DW.ref.refork_domain_personality,"awG",@progbits,DW.ref.refork_domain_personality,comdat
 .balign 8
 .type DW.ref.refork_domain_personality,@object
 .size DW.ref.refork_domain_personality,8
DW.ref.refork_domain_personality: .quad refork_domain_personality
 .popsection
)");
#elif defined(__aarch64__)
__asm__(R"(
 .pushsection .text
 .balign 64
 .globl _ZN6refork6detail3runEPNS0_5StateEPFvvEPv
 .type _ZN6refork6detail3runEPNS0_5StateEPFvvEPv,%function
_ZN6refork6detail3runEPNS0_5StateEPFvvEPv:
 .cfi_startproc
 .cfi_personality 0x9b, DW.ref.refork_domain_personality
 hint 34                // bti c
 cbz x0,3f
 mov x3,x2
 mov x2,x1
 mov x1,xzr
 adrp x4,refork_domain_run_kind
 add x4,x4,:lo12:refork_domain_run_kind

 .globl refork_domain_call
 .hidden refork_domain_call
 .type refork_domain_call,%function
refork_domain_call:
 hint 34                // a far call comes here by a branch to a register
 stp x29,x30,[sp,-16]!
 .cfi_def_cfa_offset 16
 .cfi_offset 29,-16
 .cfi_offset 30,-8
 mov x29,sp
 sub sp,sp,1408
 .cfi_def_cfa_offset 1424
 adrp x5,:gottprel:_ZN6refork6detail11this_threadE
 ldr x5,[x5,:gottprel_lo12:_ZN6refork6detail11this_threadE]
 mrs x6,tpidr_el0
 add x5,x5,x6
 ldrb w6,[x5,19]        // this_thread.greeted
 cbz w6,4f
5:
 ldr x6,[x5]
 stp x4,x1,[sp]         // kind, context
 stp x6,x0,[sp,16]      // frame.previous = this_thread.top, frame.state
 mov w7,0x100
 str w7,[sp,32]         // not frame.owner, frame.call, not frame.hides
 add x7,sp,16
 str x7,[x5]            // this_thread.top = &frame
 mov x0,x3
 blr x2
 adrp x5,:gottprel:_ZN6refork6detail11this_threadE
 ldr x5,[x5,:gottprel_lo12:_ZN6refork6detail11this_threadE]
 mrs x6,tpidr_el0
 add x5,x5,x6
 ldr x6,[x5]
 add x7,sp,16
 cmp x6,x7
 b.ne 2f
 ldrb w6,[x5,18]        // this_thread.unusual
 cbnz w6,2f
 ldr x6,[sp,16]
 str x6,[x5]            // this_thread.top = frame.previous
 mov x1,1
1:
 add sp,sp,1408
 .cfi_remember_state
 .cfi_def_cfa_offset 16
 ldp x29,x30,[sp],16
 .cfi_def_cfa_offset 0
 .cfi_restore 29
 .cfi_restore 30
 ret
 .cfi_restore_state

 .globl refork_domain_landing
 .hidden refork_domain_landing
refork_domain_landing:
 hint 36                // bti j
 mov x1,x0
 mov x0,sp
 bl refork_domain_captured
 mov x1,xzr
 b 1b
2:
 str x0,[sp,8]          // where the context was
 mov x0,sp
 bl refork_domain_leave
 ldr x0,[sp,8]
 mov x1,1
 b 1b
4:                      // once a thread
 stp x0,x1,[sp,64]
 stp x2,x3,[sp,80]
 stp x4,x5,[sp,96]
 bl refork_domain_greet
 ldp x0,x1,[sp,64]
 ldp x2,x3,[sp,80]
 ldp x4,x5,[sp,96]
 b 5b
 .cfi_endproc

3:                      // an empty handle: just the call
 .cfi_startproc
 stp x29,x30,[sp,-16]!
 .cfi_def_cfa_offset 16
 .cfi_offset 29,-16
 .cfi_offset 30,-8
 mov x29,sp
 mov x0,x2
 blr x1
 mov x1,1
 ldp x29,x30,[sp],16
 .cfi_def_cfa_offset 0
 .cfi_restore 29
 .cfi_restore 30
 ret
 .cfi_endproc
 .size _ZN6refork6detail3runEPNS0_5StateEPFvvEPv,refork_domain_call-_ZN6refork6detail3runEPNS0_5StateEPFvvEPv
 .size refork_domain_call,.-refork_domain_call
 .popsection
 .hidden DW.ref.refork_domain_personality
 .weak DW.ref.refork_domain_personality
 .pushsection .data.rel.local.DW.ref.refork_domain_personality,"awG",%progbits,DW.ref.refork_domain_personality,comdat
 .balign 8
 .type DW.ref.refork_domain_personality,%object
 .size DW.ref.refork_domain_personality,8
DW.ref.refork_domain_personality: .xword refork_domain_personality
 .popsection
)");
#else
#error "refork's trampoline is written for x86-64 and aarch64"
#endif
