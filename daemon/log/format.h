#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "log/log.h"

// How a message looks; pure.
namespace refork::log {

// "web/0 worker 17 (pid 4711): ready after 12 ms"; what an event does not have is left out.
std::string event_text(const core::Event& event);
// One line with its "reforkd: ", its end of line, and at most `longest_line` bytes; control characters become
// spaces.
inline constexpr std::size_t longest_line = 4096;  // PIPE_BUF: a pipe takes it whole or not at all
std::string line(std::string_view text);
// "NAME=VALUE" for journal_entry(); `event` may be null. A datagram takes so much and no more.
inline constexpr std::size_t longest_message = 32 * 1024;
std::vector<std::string> journal_fields(Level level, std::string_view text, const core::Event* event);
// Does $JOURNAL_STREAM ("DEVICE:INODE", or null) name this file?
bool is_journal_stream(const char* variable, dev_t device, ino_t inode);

}  // namespace refork::log
