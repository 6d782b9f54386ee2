#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace refork::os {

// Of systemd as a whole, when it is asked something at the end of reforkd.
inline constexpr std::chrono::milliseconds systemd_patience{2000};

// Whether systemd stops the unit that this process belongs to, and does not start it again. Nothing: it
// belongs to none, or systemd does not say so in time.
std::optional<bool> unit_stays_stopped();
// The same of any unit of the manager at this address.
std::optional<bool> unit_stays_stopped(const std::string& unit, const std::string& manager,
                                       std::chrono::milliseconds patience);

}  // namespace refork::os
