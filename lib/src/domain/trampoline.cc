// The frame in which exceptions are captured: a few instructions with a personality routine of its own.
// Because the unwinder asks that routine before it unwinds anything, the decision whether to capture can be
// made, and the stack of the throw be taken, while all of it still stands; a compiler's catch block knows
// neither. It costs nothing until something is thrown. What is decided, and why, is capture.cc's.
#include "domain/trampoline.h"

using namespace refork::detail;

extern "C" {

__attribute__((visibility("hidden"), used)) _Unwind_Reason_Code refork_domain_personality(
    int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
    _Unwind_Exception* exception, _Unwind_Context* context) noexcept {
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if (actions & _UA_FORCE_UNWIND) return _URC_CONTINUE_UNWIND;
  if (actions & _UA_SEARCH_PHASE) {
    // The "CFA" of the context is the stack pointer at the call, where the trampoline left its third
    // argument.
    const auto stack_pointer = static_cast<std::uintptr_t>(_Unwind_GetCFA(context));
    Catcher* catcher = *reinterpret_cast<Catcher**>(stack_pointer);  // NOLINT: an address from the unwinder
    switch (catcher->search(*catcher, {exception, exception_class, stack_pointer})) {
      case Decision::capture:
        return _URC_HANDLER_FOUND;
      case Decision::pass:
        return _URC_CONTINUE_UNWIND;
      case Decision::terminate:
        return _URC_FATAL_PHASE1_ERROR;
    }
  }
  if (!(actions & _UA_HANDLER_FRAME)) return _URC_CONTINUE_UNWIND;
  _Unwind_SetGR(context, __builtin_eh_return_data_regno(0), reinterpret_cast<_Unwind_Word>(exception));
  _Unwind_SetIP(context, reinterpret_cast<_Unwind_Ptr>(&refork_domain_landing));
  return _URC_INSTALL_CONTEXT;
}
}

// The landing pad finds the exception in the register that holds the return value, and returns it.
#if defined(__x86_64__)
__asm__(R"(
 .pushsection .text
 .globl refork_domain_call
 .hidden refork_domain_call
 .type refork_domain_call,@function
refork_domain_call:
 .cfi_startproc
 .cfi_personality 0x9b, DW.ref.refork_domain_personality
 endbr64
 subq $8,%rsp
 .cfi_adjust_cfa_offset 8
 movq %rdx,(%rsp)
 movq %rdi,%rax
 movq %rsi,%rdi
 callq *%rax
 xorl %eax,%eax
 addq $8,%rsp
 .cfi_adjust_cfa_offset -8
 ret
 .cfi_adjust_cfa_offset 8
 .globl refork_domain_landing
 .hidden refork_domain_landing
refork_domain_landing:
 endbr64
 addq $8,%rsp
 .cfi_adjust_cfa_offset -8
 ret
 .cfi_endproc
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
 .globl refork_domain_call
 .hidden refork_domain_call
 .type refork_domain_call,%function
refork_domain_call:
 .cfi_startproc
 .cfi_personality 0x9b, DW.ref.refork_domain_personality
 sub sp,sp,32
 .cfi_def_cfa_offset 32
 stp x29,x30,[sp,16]
 .cfi_offset 29,-16
 .cfi_offset 30,-8
 add x29,sp,16
 str x2,[sp]
 mov x9,x0
 mov x0,x1
 blr x9
 mov x0,xzr
 .globl refork_domain_landing
 .hidden refork_domain_landing
refork_domain_landing:
 ldp x29,x30,[sp,16]
 add sp,sp,32
 .cfi_restore 29
 .cfi_restore 30
 .cfi_def_cfa_offset 0
 ret
 .cfi_endproc
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
