#pragma once

#include <string>
#include <vector>

namespace refork::log {

inline constexpr const char* journal_socket = "/run/systemd/journal/socket";

// One entry in journald's native protocol; a field is "NAME=VALUE". Pure.
std::string journal_entry(const std::vector<std::string>& fields);
// Hands it over without waiting: false where nobody is there, or where the journal is behind.
bool send_to_journal(const std::string& entry, const char* socket = journal_socket) noexcept;

}  // namespace refork::log
