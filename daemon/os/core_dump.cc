// Core dumps, as the kernel tells and limits them. What crashed, and why, is none of its business.
#include "os/core_dump.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace refork::os {
namespace {

// core(5): too little for a file, and the one value that also stops a dump into a pipe.
constexpr rlim_t no_dump = 1;

rlim_t usual_limit(const std::optional<core::Limit>& usual) {
  if (usual) return usual->value ? static_cast<rlim_t>(*usual->value) : RLIM_INFINITY;
  rlimit own{};
  return ::getrlimit(RLIMIT_CORE, &own) == 0 ? own.rlim_cur : RLIM_INFINITY;
}

}  // namespace

bool dumps_core(pid_t pid) {
  constexpr std::string_view key = "CoreDumping:";
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return line.find('1', key.size()) != std::string::npos;
  return false;
}

// The hard limit stays, so that it can be taken back.
void allow_core(pid_t pid, bool allowed, const std::optional<core::Limit>& usual) {
  rlimit limit{};
  if (pid <= 0 || ::prlimit(pid, RLIMIT_CORE, nullptr, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, allowed ? usual_limit(usual) : no_dump);
  ::prlimit(pid, RLIMIT_CORE, &limit, nullptr);
}

}  // namespace refork::os
