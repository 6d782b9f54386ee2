#pragma once

#include <chrono>

#include "symbolizer/resolver.h"

namespace refork::symbolizer {

struct Limits {
  std::chrono::milliseconds idle{30000};  // without a question for so long, it is not needed
  unsigned question_s = 20;               // one that takes longer ends the program (SIGALRM)
};

// Answers what comes in on a SOCK_SEQPACKET socket until its end or until idle; false: it is no such socket,
// or broke. A packet that is no question gets no answer.
bool serve(int socket, Resolver& resolver, const Limits& limits = {});

}  // namespace refork::symbolizer
