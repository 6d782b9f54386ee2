#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/service_config.h"

namespace refork::os {

bool dumps_core(pid_t pid);  // now, as long as it takes

// Whether a process may dump core; `usual` is its soft limit where it may, nothing: reforkd's own.
void allow_core(pid_t pid, bool allowed, const std::optional<core::Limit>& usual);

// Of a process that is not yet reaped: what a core's name is made of.
struct CoreTraits {
  pid_t pid = 0;
  std::uint32_t uid = 0, gid = 0;
  std::string name;       // of its program, as the kernel keeps it
  std::string directory;  // where it was started: what a relative name is taken from
};
CoreTraits core_traits(pid_t pid, const std::string& directory);  // empty: this process's own

// Where the kernel has put a core: a path, or the command that finds it; empty: that cannot be known. core(5)
// has the grammar of the pattern. Pure.
std::string core_place(std::string_view pattern, bool uses_pid, const CoreTraits& traits, int signal);
// By the kernel's own settings, and only where the file is there.
std::string find_core(const CoreTraits& traits, int signal);

}  // namespace refork::os
