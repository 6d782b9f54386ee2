// The directories of one reforkd and their locks. What is kept in them is known to those who keep it.
#include "places.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "os/paths.h"

namespace refork {

using base::Result;

namespace {

constexpr const char* state_lock = "/reforkd";  // in the state directory, for its one user

// A state directory that cannot be written now (full, read-only) is no reason not to supervise; one that
// cannot be used is a mistake.
Result<void> make_state_directory(const std::string& path) {
  const auto made = os::make_directory(path, 0700);
  if (made || made.error().code == EROFS || made.error().code == ENOSPC) return {};
  return made;
}

}  // namespace

Places::~Places() {
  if (control_lock) os::remove_lock(control);
  if (state_lock) os::remove_lock(state);
}

Result<Places> take_places(const std::string& control, const std::string& state_dir) {
  Places places;
  const auto directory = std::filesystem::path(control).parent_path().string();
  if (!directory.empty())
    if (auto made = os::make_directory(directory, ::geteuid() == 0 ? 0755 : 0700, os::Others::may_add); !made)
      return base::Error{made.error().code, made.error().what + "; name another place by --control SOCKET"};
  if (auto made = make_state_directory(state_dir); !made) return made.error();
  auto lock = os::lock_instance(control);
  if (!lock) return lock.error();
  places.control = control;
  places.control_lock = std::move(*lock);

  places.state = state_dir + state_lock;
  auto held = os::lock_instance(places.state);
  if (!held && held.error().code == EBUSY)
    return base::Error{
        EBUSY, "another reforkd has the state directory " + state_dir + "; name another one by --state-dir"};
  if (held) places.state_lock = std::move(*held);  // a disk that cannot be written holds nobody else either
  return places;
}

}  // namespace refork
