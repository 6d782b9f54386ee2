// Fatal signals in words, the same in a worker's last line and in reforkd's record.

#include "base/signals.h"

#include <csignal>

namespace refork::base {
namespace {

struct Name {
  int signal;
  std::string_view name;
};
constexpr Name names[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"},  {SIGILL, "SIGILL"},
                          {SIGABRT, "SIGABRT"}, {SIGSYS, "SIGSYS"}, {SIGTRAP, "SIGTRAP"}};

struct Code {
  int signal;
  int code;
  std::string_view name;
};
// sigaction(2)
constexpr Code codes[] = {
    {SIGSEGV, SEGV_MAPERR, "address not mapped"},
    {SIGSEGV, SEGV_ACCERR, "access not permitted"},
    {SIGBUS, BUS_ADRALN, "invalid alignment"},
    {SIGBUS, BUS_ADRERR, "no such physical address"},
    {SIGBUS, BUS_OBJERR, "hardware error"},
    {SIGFPE, FPE_INTDIV, "integer division by zero"},
    {SIGFPE, FPE_INTOVF, "integer overflow"},
    {SIGFPE, FPE_FLTDIV, "floating-point division by zero"},
    {SIGFPE, FPE_FLTOVF, "floating-point overflow"},
    {SIGFPE, FPE_FLTINV, "invalid floating-point operation"},
    {SIGILL, ILL_ILLOPC, "illegal opcode"},
    {SIGILL, ILL_ILLOPN, "illegal operand"},
    {SIGILL, ILL_PRVOPC, "privileged opcode"},
    {SIGTRAP, TRAP_BRKPT, "breakpoint"},
    {SIGTRAP, TRAP_TRACE, "trace trap"},
};
// Of any signal.
constexpr Code senders[] = {
    {0, SI_KERNEL, "by the kernel"},
    {0, SI_USER, "by kill"},
    {0, SI_QUEUE, "by sigqueue"},
    {0, SI_TKILL, "by tgkill"},
};

}  // namespace

std::string_view signal_name(int signal) noexcept {
  for (const Name& known : names)
    if (known.signal == signal) return known.name;
  return "a signal";
}

std::string_view signal_code_name(int signal, int code) noexcept {
  for (const Code& known : codes)
    if (known.signal == signal && known.code == code) return known.name;
  for (const Code& known : senders)
    if (known.code == code) return known.name;
  return "";
}

}  // namespace refork::base
