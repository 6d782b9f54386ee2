#pragma once

#include <optional>

namespace refork::os {

// What systemd is about to do with a unit.
enum class UnitJob {
  none,
  stop,     // and it stays stopped
  restart,  // stopped, and started again
  other
};
// With the one that this process belongs to. Nothing: it belongs to none, or systemd cannot be asked. Waits a
// few seconds at most.
std::optional<UnitJob> own_unit_job();

}  // namespace refork::os
