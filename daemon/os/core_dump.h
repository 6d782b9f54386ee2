#pragma once

#include <sys/types.h>

#include <optional>

#include "core/service_config.h"

namespace refork::os {

bool dumps_core(pid_t pid);  // now, as long as it takes

// Whether a process may dump core; `usual` is its soft limit where it may, nothing: reforkd's own.
void allow_core(pid_t pid, bool allowed, const std::optional<core::Limit>& usual);

}  // namespace refork::os
