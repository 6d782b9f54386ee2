#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

// Where things are by default: /run/refork/control and /var/lib/refork for root, otherwise
// $XDG_RUNTIME_DIR/refork/control and ~/.local/state/refork. $REFORK_CONTROL overrides the first.
std::string default_control();
std::string default_state_dir();

// What others can do in a directory that reforkd keeps something in.
enum class Others {
  may_not_write,
  may_add,  // as in /tmp: what is there is safe from them
};
// Makes the directory (and its parents) with this mode if it is missing; a sentence if it cannot be used, or
// not safely.
base::Result<void> make_directory(const std::string& path, unsigned mode,
                                  Others others = Others::may_not_write);

// The same for the same file, whatever its name; empty: there is none.
std::string file_identity(const std::string& path);

// Taken for as long as the process lives: EBUSY with the pid of the holder if another reforkd has it. `path`
// + ".lock".
base::Result<base::UniqueFd> lock_instance(const std::string& path);
// Removes the lock's file, by whoever holds it; the lock itself ends with its descriptor.
void remove_lock(const std::string& path) noexcept;

}  // namespace refork::os
