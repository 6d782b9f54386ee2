#pragma once

#include <optional>
#include <string>

#include "core/effects.h"
#include "core/service.h"

namespace refork::core {

std::string say_duration(Clock::duration duration);  // "12 ms", "10s", "2m30s"
std::string say_signal(int signal);                  // "SIGSEGV"

// What a process's end means.
struct EndOfLife {
  Ended ended;
  std::optional<Kind> report;  // it is a failure of this kind that nobody has reported yet
  std::string sentence;        // "killed by SIGSEGV (core dumped) while serving"
};

struct EndFacts {
  const Worker& worker;
  const Exit& exit;
  Time now;
  bool linked;
  bool by_exec;  // ready as soon as it ran
};

// It got further than a start that failed.
bool booted(const EndFacts& facts);
EndOfLife classify(const EndFacts& facts);

}  // namespace refork::core
