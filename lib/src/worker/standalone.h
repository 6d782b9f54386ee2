#pragma once

#include <string_view>

namespace refork::worker {

// Without reforkd: sd_notify(3) in its simplest form. Does nothing without $NOTIFY_SOCKET.
void notify_manager(std::string_view state) noexcept;

// One line on stderr, in one write. Never throws.
void write_line(std::string_view line) noexcept;
// "refork: TEXT", likewise.
void complain(std::string_view text) noexcept;

}  // namespace refork::worker
