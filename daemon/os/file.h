#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

// Opening files by name where others may own a directory on the way, and may change it at any moment: every
// step is taken from what is open already, and what was opened is looked at, not its name.
namespace refork::os {

// Nobody but root and this process's user decides what stands in it. Where it is sticky others can still add
// something.
bool is_ours(const struct stat& directory);
bool is_open_to_others(const struct stat& directory);

// The directory of a path, opened with O_PATH, and the name in it.
struct Place {
  base::UniqueFd directory;
  std::string name;  // "." of a directory itself
};
// Symbolic links on the way are followed only where they belong to root or to this process's user: ELOOP.
base::Result<Place> find_place(const std::string& path);

// As open(2), with find_place()'s rules for the way; a symbolic link at the end is not followed, whosever it
// is. In a directory that others can write to, a file must have no second name (EMLINK) and belong to the
// directory's owner, root or this process's user (EPERM). Never blocks, is never inherited and never becomes
// the terminal.
base::Result<base::UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0);

}  // namespace refork::os
