#pragma once

#include "domain/hooks.h"

namespace refork::domain {

bool has_sink() noexcept;

// Records with the sink, outside all domains; nothing without one.
void record(Failure& failure, Then then, std::uint64_t request) noexcept;

}  // namespace refork::domain
