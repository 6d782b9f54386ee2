#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace refork::store {

// STATE_DIR/refork.db with every link in STATE_DIR resolved. Makes the directory (0700) if it is missing, not
// its parents. EPERM if anybody could put files of their own there.
base::Result<std::string> database_path(const std::string& state_dir);

// Makes the file if it is missing. Refuses what is not a plain file of ours (a symbolic link, a device,
// somebody else's), takes access from others and answers the version in the header of an SQLite file, 0 if it
// has none. Only while no connection has the file open: to close it would drop that connection's locks.
base::Result<std::uint32_t> prepare_file(const std::string& path);

// Renames PATH, PATH-wal and PATH-shm to PATH.corrupt-TIME…, TIME in UTC, and answers the new path of the
// first.
base::Result<std::string> set_aside(const std::string& path);

}  // namespace refork::store
