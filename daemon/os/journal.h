#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

// The journal as a place for the output of other programs.
namespace refork::os {

inline constexpr const char* journal_stream_socket = "/run/systemd/journal/stdout";

// What is written to it, by whatever process, becomes entries under this identifier, a line each, of priority
// info, or of N where the line begins with "<N>". Does not wait: an error where the journal is not there, or
// is behind.
base::Result<base::UniqueFd> open_journal_stream(const std::string& identifier,
                                                 const char* socket = journal_stream_socket);

// The last lines that a process wrote to such a stream since a moment (Unix time), a few more bytes than
// `most` at most. Waits a moment for what is on its way, so not on the loop. Empty if there is nothing, or if
// the journal may not be read.
std::string read_journal_end(const std::string& identifier, pid_t pid, std::uint64_t since_ms,
                             std::size_t most);

}  // namespace refork::os
